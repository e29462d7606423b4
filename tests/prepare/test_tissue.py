"""The published tissue rule is OpenCV's arithmetic; Osler's own parts stain from glass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.prepare.tissue import (
    area_means,
    chroma_of,
    chroma_threshold,
    gray_of,
    overview_of,
    published_tissue,
)
from tests.prepare.slides_in_memory import slide_of


def test_gray_is_the_published_luminance() -> None:
    rgb = np.random.RandomState(0).randint(0, 256, (50, 40, 3)).astype(np.uint8)
    expected = np.rint(rgb @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(gray_of(rgb).astype(int) - expected).max() <= 1
    assert (gray_of(rgb) == expected).mean() > 0.99
    assert gray_of(np.full((1, 1, 3), 255, np.uint8)).item() == 255


def test_gray_and_area_are_opencvs() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    rgb = np.random.RandomState(1).randint(0, 256, (103, 77, 3)).astype(np.uint8)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(gray_of(rgb), gray)
    for columns, rows in ((7, 9), (11, 13), (77, 103), (1, 1)):
        reference = cv2.resize(gray, (columns, rows), interpolation=cv2.INTER_AREA)
        ours = area_means(gray, columns=columns, rows=rows)
        assert np.abs(ours.astype(int) - reference).max() <= 1  # half a gray level may round either way


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(1, 7))
def test_whole_cells_are_plain_averages(rows: int, columns: int, down: int, across: int) -> None:
    gray = np.random.RandomState(rows * 10 + columns).randint(0, 256, (rows * down, columns * across)).astype(np.uint8)
    expected = np.rint(gray.reshape(rows, down, columns, across).mean(axis=(1, 3)))
    assert np.abs(area_means(gray, columns=columns, rows=rows) - expected).max() <= 1
    mirrored = area_means(gray[:, ::-1], columns=columns, rows=rows)
    assert np.abs(mirrored[:, ::-1].astype(int) - area_means(gray, columns=columns, rows=rows)).max() <= 1


def test_the_ends_of_the_published_rule() -> None:
    gray = np.array([0, 1, 204, 205, 255], dtype=np.uint8)
    assert published_tissue(gray).tolist() == [False, True, True, False, False]


def test_chroma_parts_stain_from_glass_of_any_brightness() -> None:
    glass = np.repeat(np.random.RandomState(2).randint(90, 256, (100, 100, 1)), 3, axis=2)
    glass = np.clip(glass + np.random.RandomState(3).randint(-3, 4, glass.shape), 0, 255)
    stain = np.random.RandomState(4).randint(-10, 10, (100, 100, 3)) + np.array([190, 120, 170])
    picture = np.concatenate([glass, stain]).astype(np.uint8)
    chroma = chroma_of(picture)
    found = chroma > chroma_threshold(chroma)
    assert found[:100].mean() < 0.01
    assert found[100:].mean() > 0.99


def test_bare_glass_is_not_split_in_two() -> None:
    glass = np.full((50, 50, 3), 240, np.uint8) - np.random.RandomState(5).randint(0, 5, (50, 50, 3)).astype(np.uint8)
    chroma = chroma_of(glass)
    assert (chroma > chroma_threshold(chroma)).sum() == 0
    assert chroma_threshold(np.zeros((4, 4), np.uint8)) == 10


def test_an_overview_reads_the_nearest_level_and_averages_the_rest() -> None:
    array = np.random.RandomState(6).randint(0, 256, (400, 320, 3)).astype(np.uint8)
    slide = slide_of(array, steps=(4,))
    overview = overview_of(slide, downsample=8.0)
    assert overview is not None
    assert overview.rgb.shape == (50, 40, 3)
    assert overview.factor == (8.0, 8.0)
    expected = array[::4, ::4].reshape(50, 2, 40, 2, 3).mean(axis=(1, 3))
    assert np.abs(overview.rgb - expected).max() <= 0.5
    assert sum(slide.pixels.reads) == 100 * 80


def test_a_level_that_is_too_large_is_not_read() -> None:
    huge = np.broadcast_to(np.uint8(200), (9000, 9000, 3))
    slide = slide_of(huge)
    assert overview_of(slide, downsample=16.0) is None
    assert slide.pixels.reads == []
    with_coarse = slide_of(huge, steps=(50,))
    overview = overview_of(with_coarse, downsample=16.0)
    assert overview is not None
    assert overview.rgb.shape == (180, 180, 3)
