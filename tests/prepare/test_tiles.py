"""Tiles of a slide: the published recipe's arithmetic, and the properties of Osler's own."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.prepare.tiles import PATCH, Tile, TilePlan, microns_of, plan_tiles
from osler.study import Slide
from tests.prepare.slides_in_memory import GLASS, slide_of, stained_cells

# A slide at 8 microns a pixel has no level finer than 1.25x, so a patch is 896 of its pixels;
# that would need huge arrays. At 112 px a patch the arithmetic is the same.
SMALL = 112


def at_10x(mask: np.ndarray, *, extra: tuple[int, int] = (0, 0)) -> Slide:
    """A slide whose finest level is 1.25x of a 10x pyramid: level 0 is never made, its tiles are planned only."""
    coarse = stained_cells(mask, side=SMALL, extra=extra)
    fine = np.broadcast_to(np.uint8(0), (coarse.shape[0] * 8, coarse.shape[1] * 8, 3))
    slide = slide_of(fine, microns=1.0)
    object.__setattr__(slide.pixels, "arrays", (fine, coarse))
    return slide


def boxes(plan: TilePlan) -> list[tuple[float, ...]]:
    return [(tile.box.x0, tile.box.y0, tile.box.x1, tile.box.y1) for tile in plan.tiles]


def reference_patches(coarse: np.ndarray, *, width: int, height: int, cap: int) -> list[tuple[int, int]]:
    """The published recipe, written again: gray at 1.25x, averaged to (W // 896, H // 896), 1/255 to 0.8, a random
    sample without replacement in the order of the slide."""
    columns, rows = width // 896, height // 896
    gray = np.rint(coarse @ np.array([0.299, 0.587, 0.114]))
    step_y, step_x = gray.shape[0] / rows, gray.shape[1] / columns
    places = []
    for row in range(rows):
        for column in range(columns):
            band = gray[round(row * step_y) : round((row + 1) * step_y)]
            cell = band[:, round(column * step_x) : round((column + 1) * step_x)]
            if 1 / 255 <= round(cell.mean()) / 255 <= 0.8:
                places.append((column * 896, row * 896))
    if len(places) > cap:
        keep = sorted(random.Random(0).sample(range(len(places)), cap))
        places = [places[index] for index in keep]
    return places


@pytest.mark.parametrize(("shape", "cap"), [((5, 7), 126), ((14, 15), 126), ((14, 15), 10)])
def test_the_published_recipe(shape: tuple[int, int], cap: int) -> None:
    mask = np.random.RandomState(1).rand(*shape) < 0.8
    slide = at_10x(mask)
    plan = plan_tiles(slide, sampling="published", limit=cap)
    width, height = slide.size
    expected = reference_patches(slide.pixels.arrays[1], width=width, height=height, cap=cap)
    assert [(tile.x, tile.y) for tile in plan.tiles] == expected
    assert {(tile.level, tile.side, tile.magnification) for tile in plan.tiles} == {(0, 896, 10.0)}
    assert plan.found == mask.sum()
    assert plan.cells == mask.size
    assert plan.notes == ()


def test_the_published_cap_is_126_and_row_by_row() -> None:
    plan = plan_tiles(at_10x(np.ones((12, 13), bool)), sampling="published", limit=126)
    assert len(plan.tiles) == 126
    places = [(tile.y, tile.x) for tile in plan.tiles]
    assert places == sorted(places)
    assert len(set(places)) == 126


@pytest.mark.parametrize(
    ("microns", "steps", "level", "side"),
    [(0.25, (4, 32), 1, 896), (0.5, (32,), 0, 1792), (0.4, (2, 16), 1, 1120)],
)
def test_the_level_nearest_to_10x_is_read(microns: float, steps: tuple[int, ...], level: int, side: int) -> None:
    slide = slide_of(np.broadcast_to(np.uint8(120), (9000, 9000, 3)), steps=steps, microns=microns)
    plan = plan_tiles(slide, sampling="published", limit=126)
    assert {(tile.level, tile.side) for tile in plan.tiles} == {(level, side)}
    assert all(abs(tile.magnification - 10) < 0.01 for tile in plan.tiles)
    assert plan.tiles[0].box.x1 * microns == pytest.approx(896, rel=0.01)


def test_what_the_grid_leaves_out_is_said() -> None:
    plan = plan_tiles(at_10x(np.ones((1, 1), bool), extra=(90, 60)), sampling="published", limit=126)
    assert len(plan.tiles) == 1
    assert "leaves out 64% of the slide" in plan.notes[0]


def test_a_slide_smaller_than_a_patch_is_shown_whole() -> None:
    slide = slide_of(np.full((300, 500, 3), 120, np.uint8), microns=1.0)
    for sampling in ("published", "spread"):
        plan = plan_tiles(slide, sampling=sampling, limit=126)
        (tile,) = plan.tiles
        assert (tile.x, tile.y, tile.side) == (0, -100, 500)
        assert any("smaller than one patch" in note for note in plan.notes)


def test_bare_glass_is_shown_whole_and_said() -> None:
    glass = slide_of(np.broadcast_to(np.uint8(GLASS), (1800, 1800, 3)), steps=(8,), microns=1.0)
    for sampling in ("published", "spread"):
        plan = plan_tiles(glass, sampling=sampling, limit=126)
        assert len(plan.tiles) == 1
        assert any("No" in note and "tissue was found" in note for note in plan.notes)


def test_the_size_of_a_pixel_where_the_file_is_silent() -> None:
    slide = slide_of(np.zeros((10, 10, 3), np.uint8), microns=None)
    assert microns_of(slide) == 0.5
    assert microns_of(replace(slide, magnification=40.0)) == 0.25


def tissue_masks() -> st.SearchStrategy[np.ndarray]:
    sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
    return st.builds(
        lambda size, seed, share: np.random.RandomState(seed).rand(*size) < share,
        sizes, st.integers(0, 1000), st.floats(0.3, 1.0),
    )  # fmt: skip


def overlap(one: Tile, other: Tile) -> bool:
    a, b = one.box, other.box
    return min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0)


@settings(max_examples=30, deadline=None)
@given(mask=tissue_masks(), limit=st.integers(1, 30), sampling=st.sampled_from(["published", "spread"]))
def test_tiles_never_overlap_and_lie_on_tissue(mask: np.ndarray, limit: int, sampling: str) -> None:
    slide = at_10x(mask)
    plan = plan_tiles(slide, sampling=sampling, limit=limit)
    assert 1 <= len(plan.tiles) <= limit
    if plan.found == 0:
        return
    for index, tile in enumerate(plan.tiles):
        alike = [other for other in plan.tiles[:index] if other.magnification == tile.magnification]
        assert not any(overlap(tile, other) for other in alike)
        assert 0 <= tile.box.x0
        assert tile.box.x1 <= slide.size[0]
        x0, y0, x1, y1 = (round(edge / 8) for edge in (tile.box.x0, tile.box.y0, tile.box.x1, tile.box.y1))
        assert (slide.pixels.arrays[1][y0:y1, x0:x1] != GLASS).any(axis=-1).mean() >= 0.1


@settings(max_examples=12, deadline=None)
@given(mask=tissue_masks(), limit=st.integers(1, 30), sampling=st.sampled_from(["published", "spread"]))
def test_the_same_slide_gives_the_same_tiles(mask: np.ndarray, limit: int, sampling: str) -> None:
    first, second = (plan_tiles(at_10x(mask), sampling=sampling, limit=limit) for _ in range(2))
    assert first == second


@settings(max_examples=12, deadline=None)
@given(mask=tissue_masks(), limit=st.integers(1, 30), side=st.sampled_from(["columns", "rows"]))
def test_a_mirrored_slide_gives_mirrored_tiles(mask: np.ndarray, limit: int, side: str) -> None:
    slide = at_10x(mask)
    mirrored = at_10x(mask)
    turn = (slice(None), slice(None, None, -1)) if side == "columns" else (slice(None, None, -1),)
    object.__setattr__(mirrored.pixels, "arrays", (slide.pixels.arrays[0], slide.pixels.arrays[1][turn]))
    width, height = slide.size
    found = plan_tiles(slide, sampling="spread", limit=limit)
    expected = {
        (width - x1, y0, width - x0, y1) if side == "columns" else (x0, height - y1, x1, height - y0)
        for x0, y0, x1, y1 in boxes(found)
    }
    assert set(boxes(plan_tiles(mirrored, sampling="spread", limit=limit))) == expected


def test_spread_shows_all_tissue_at_the_finest_magnification_that_fits() -> None:
    slide = at_10x(np.ones((8, 8), bool))
    fine = plan_tiles(slide, sampling="spread", limit=64)
    assert {tile.magnification for tile in fine.tiles} == {10.0}
    assert len(fine.tiles) == fine.found == 64
    coarse = plan_tiles(slide, sampling="spread", limit=40)
    assert [tile.magnification for tile in coarse.tiles] == [5.0] * 16 + [10.0] * 24
    assert coarse.found == 16


def test_spread_details_lie_far_apart() -> None:
    plan = plan_tiles(at_10x(np.ones((8, 8), bool)), sampling="spread", limit=20)
    details = [tile for tile in plan.tiles if tile.magnification == 10.0]
    assert len(details) == 4
    quarters = {(tile.x // (4 * PATCH), tile.y // (4 * PATCH)) for tile in details}
    assert len(quarters) == 4


def test_a_slide_without_a_small_level_is_judged_by_samples() -> None:
    mask = np.random.RandomState(3).rand(11, 10) < 0.5
    fine = stained_cells(mask, side=PATCH)
    slide = slide_of(fine, microns=1.0)
    assert fine.shape[0] * fine.shape[1] > 2**26
    for sampling in ("published", "spread"):
        plan = plan_tiles(slide, sampling=sampling, limit=126)
        assert [[tile.y // PATCH, tile.x // PATCH] for tile in plan.tiles] == np.argwhere(mask).tolist()
    assert sum(slide.pixels.reads) < 0.1 * fine.shape[0] * fine.shape[1]
