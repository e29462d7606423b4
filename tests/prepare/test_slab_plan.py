"""Slabs and token grids: every depth and spacing, near cubes in millimeters, never over the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.prepare.slab_plan import cut_slabs, natural_slabs, slot_slices, token_grid


@pytest.mark.parametrize(
    ("count", "slots"), [(1, (0, 0, 0, 0)), (2, (0, 0, 1, 1)), (3, (0, 1, 1, 2)), (4, (0, 1, 2, 3)), (8, (1, 3, 5, 7))]
)
def test_slots_take_the_nearest_slice(count: int, slots: tuple[int, ...]) -> None:
    assert slot_slices(count, depth=4) == slots


@given(slices=st.integers(1, 5000), share=st.floats(0, 1), depth=st.sampled_from([1, 2, 4, 8]))
def test_slabs_cover_every_slice_once(slices: int, share: float, depth: int) -> None:
    slabs = cut_slabs(slices, slabs=max(1, round(share * slices)), depth=depth)
    assert [slabs[0].first, *(slab.stop for slab in slabs)] == [0, *(slab.first for slab in slabs[1:]), slices]
    sizes = {slab.stop - slab.first for slab in slabs}
    assert max(sizes) - min(sizes) <= 1
    for slab in slabs:
        assert len(slab.slots) == depth
        assert all(slab.first <= slot < slab.stop for slot in slab.slots)
        if slab.stop - slab.first <= depth:
            assert set(slab.slots) == set(range(slab.first, slab.stop))


@given(slices=st.integers(1, 5000), slice_mm=st.floats(0.1, 20), cell_mm=st.floats(1, 60))
def test_no_slab_holds_more_slices_than_a_tubelet(slices: int, slice_mm: float, cell_mm: float) -> None:
    count = natural_slabs(slices, slice_mm=slice_mm, cell_mm=cell_mm, depth=4)
    assert 1 <= count <= slices
    assert all(slab.stop - slab.first <= 4 for slab in cut_slabs(slices, slabs=count, depth=4))


def test_thick_slices_stay_apart_and_thin_ones_are_joined() -> None:
    assert natural_slabs(24, slice_mm=20, cell_mm=14, depth=4) == 24
    assert natural_slabs(24, slice_mm=6, cell_mm=14, depth=4) == 12
    assert natural_slabs(85, slice_mm=1.5, cell_mm=22, depth=4) == 22


@given(
    slabs=st.integers(1, 100),
    side=st.sampled_from([1, 2, 8, 16]),
    extent=st.tuples(st.floats(0.1, 2000), st.floats(10, 600), st.floats(10, 600)),
    budget=st.integers(1, 100_000),
)
def test_a_grid_keeps_to_the_budget(slabs: int, side: int, extent: tuple[float, float, float], budget: int) -> None:
    grid = token_grid(slabs=slabs, side=side, extent_mm=extent, budget=budget)
    assert 1 <= grid.tokens <= budget
    assert grid.groups <= slabs
    assert side % grid.rows == 0
    assert side % grid.columns == 0


def test_a_budget_above_the_cells_merges_nothing() -> None:
    grid = token_grid(slabs=9, side=8, extent_mm=(90, 300, 300), budget=10_000)
    assert (grid.groups, grid.rows, grid.columns) == (9, 8, 8)


def test_tokens_are_near_cubes() -> None:
    cube = token_grid(slabs=64, side=16, extent_mm=(320, 320, 320), budget=512)
    assert (cube.groups, cube.rows, cube.columns) == (8, 8, 8)
    flat = token_grid(slabs=64, side=16, extent_mm=(80, 320, 320), budget=128)
    assert (flat.groups, flat.rows, flat.columns) == (2, 8, 8)
    long = token_grid(slabs=64, side=16, extent_mm=(1280, 320, 320), budget=256)
    assert (long.groups, long.rows, long.columns) == (16, 4, 4)


def test_one_token_is_the_whole_volume() -> None:
    grid = token_grid(slabs=22, side=16, extent_mm=(300, 350, 350), budget=1)
    assert (grid.groups, grid.rows, grid.columns) == (1, 1, 1)


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    with pytest.raises(RequestError, match=rf"{budget} visual tokens.*--visual-tokens"):
        token_grid(slabs=3, side=8, extent_mm=(10, 10, 10), budget=budget)


@pytest.mark.parametrize("slabs", [0, 6])
def test_more_slabs_than_slices_are_refused(slabs: int) -> None:
    with pytest.raises(RequestError, match=f"{slabs} slabs of 5 slices"):
        cut_slabs(5, slabs=slabs, depth=4)
