from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import DataError
from osler.prepare import Preprocess
from osler.prepare.windows import (
    FiniteRange,
    color_to_rgb,
    ct_to_rgb,
    fill,
    grey_range,
    normalizer,
    range_to_rgb,
    require_numbers,
)
from osler.study import ArrayPixels, Image, Window

CONTRACT = Preprocess(image_size=8, image_tokens=1)
TISSUES = {"air": -1000, "lung": -800, "fat": -100, "water": 0, "gray matter": 37, "blood": 60, "bone": 700}


def show(value: float) -> list[int]:
    return ct_to_rgb(np.array([[value]]), windows=CONTRACT.ct_windows)[0, 0].tolist()


@pytest.mark.parametrize(
    ("tissue", "rgb"),
    [
        ("air", [3, 0, 0]),
        ("lung", [28, 0, 0]),
        ("fat", [115, 26, 0]),
        ("water", [128, 98, 0]),
        ("gray matter", [132, 125, 118]),
        ("blood", [135, 142, 191]),
        ("bone", [215, 255, 255]),
    ],
)
def test_tissues_have_their_colors(tissue, rgb):
    """Fat is seen in green: with the window 135..215 HU it would be black."""
    assert show(TISSUES[tissue]) == rgb


def test_unsigned_pixels_do_not_wrap():
    stored = np.array([[0, 24, 2048]], dtype=np.uint16)
    assert ct_to_rgb(stored, windows=CONTRACT.ct_windows)[0, :, 0].tolist() == [128, 130, 255]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
@pytest.mark.parametrize(
    "windows",
    [
        CONTRACT.ct_windows,
        (Window(low=-159.5, high=240.25), Window(low=-0.3, high=80.7), Window(low=0.1, high=0.2)),
        (Window(low=0, high=1e6),),  # further than a table reaches
        tuple(Window(low=-10 * n, high=n) for n in (1, 2, 3, 4, 5)),  # more than a table holds
    ],
)
def test_looking_colors_up_changes_none(dtype, windows):
    ends = np.iinfo(dtype)
    spread = np.linspace(ends.min, ends.max, 500, dtype=np.float64)
    near = np.arange(max(ends.min, -1500), min(ends.max, 1500))
    values = np.concatenate([near, spread]).astype(dtype)[None, ::-1]
    np.testing.assert_array_equal(
        ct_to_rgb(values, windows=windows), ct_to_rgb(values.astype(np.float32), windows=windows)
    )


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_whole_numbers_and_floats_look_the_same(values):
    whole = np.array([values], dtype=np.int16)
    windows = CONTRACT.ct_windows
    np.testing.assert_array_equal(
        ct_to_rgb(whole, windows=windows), ct_to_rgb(whole.astype(np.float64), windows=windows)
    )


@given(st.lists(st.floats(-2000, 4000, width=32), min_size=2, max_size=50))
def test_denser_is_never_darker(values):
    rgb = ct_to_rgb(np.sort(np.array(values, dtype=np.float32))[None], windows=CONTRACT.ct_windows)
    assert (np.diff(rgb[0].astype(int), axis=0) >= 0).all()


def test_range_is_black_to_white_and_constant_is_black():
    assert range_to_rgb(np.array([[5, 10, 15]]), low=5, high=15)[0, :, 0].tolist() == [0, 128, 255]
    assert range_to_rgb(np.full((2, 2), 7.0), low=7, high=7).max() == 0


def test_range_of_huge_numbers_does_not_overflow():
    values = np.array([[-3e38, 0, 3e38]], dtype=np.float32)
    assert range_to_rgb(values, low=-3e38, high=3e38)[0, :, 0].tolist() == [0, 128, 255]


def test_color_is_kept():
    rgb = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert color_to_rgb(rgb) is rgb
    assert color_to_rgb(rgb.astype(np.float32) * 100).max() == 255


@pytest.mark.parametrize(
    ("values", "window", "expected"),
    [
        (np.array([[3, 9]], dtype=np.uint8), None, (0, 255, "as it is")),
        (np.array([[3, 9]], dtype=np.uint8), Window(low=2, high=9), (2, 9, "the file's window")),
        (np.array([[3, 9]], dtype=np.uint16), Window(low=0, high=4), (0, 4, "the file's window")),
        (np.arange(10001, dtype=np.uint16)[None], None, (10, 9990, "percentiles")),
    ],
)
def test_grey_images_are_shown_by_window_as_they_are_or_by_percentiles(values, window, expected):
    image = Image(series="x", pixels=ArrayPixels(values), window=window)
    assert grey_range(values, image=image, preprocess=CONTRACT) == pytest.approx(expected)


def test_grey_image_with_one_bright_dot_falls_back_to_its_whole_range():
    values = np.zeros((100, 100), dtype=np.uint16)
    values[0, 0] = 500
    image = Image(series="x", pixels=ArrayPixels(values))
    assert grey_range(values, image=image, preprocess=CONTRACT)[:2] == (0, 500)


def test_finite_range_counts_what_is_not_a_number():
    extent = FiniteRange().including(np.array([1.0, np.nan, np.inf])).including(np.array([-4, 9], dtype=np.int16))
    assert (extent.low, extent.high, extent.bad, extent.values) == (-4, 9, 2, 5)


def test_nothing_finite_is_refused():
    with pytest.raises(DataError, match="series 'a' has no finite value: all 3 are NaN or infinite"):
        FiniteRange().including(np.array([np.nan, np.inf, -np.inf])).require_some("series 'a'")
    with pytest.raises(DataError, match="has no pixels"):
        FiniteRange().including(np.array([])).require_some("series 'a'")


def test_fill_replaces_by_the_ends():
    filled = fill(np.array([np.nan, -np.inf, np.inf, 3.0]), low=-1, high=8)
    assert filled.tolist() == [-1, -1, 8, 3]


def test_other_types_are_refused():
    with pytest.raises(DataError, match="pixels of type complex128"):
        require_numbers(np.array([1j]), name="series 'a'")


def test_network_sees_minus_one_to_one():
    table = normalizer(CONTRACT)
    assert table.dtype == np.float32
    assert (table[0], table[255]) == (-1.0, 1.0)
    assert (np.diff(table) > 0).all()
