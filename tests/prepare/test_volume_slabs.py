"""Volumes as slabs: the same pixels as slice by slice, fewer tokens, and places in the patient."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import DataError, RequestError
from osler.prepare import Preprocess, assemble, prepare_images, with_visual_tokens
from osler.prepare.volume_slabs import plan_volumes
from osler.study import Affine, ArrayPixels, Box2D, Image, Study, TimePoint, Volume

SLICES = Preprocess(image_size=64, image_tokens=16, sampling="equidistant")


def volume(
    *,
    slices: int,
    spacing: tuple[float, float, float] = (5.0, 5.0, 5.0),
    direction: np.ndarray | None = None,
    shape: tuple[int, int] = (40, 48),
    series: str = "1.2.3",
) -> Volume:
    pixels = np.random.default_rng(slices).integers(-1500, 2500, (slices, *shape)).astype(np.int16)
    affine = Affine.from_parts(spacing=spacing, direction=direction, origin=(-100.0, 30.0, 700.0))
    return Volume(series=series, pixels=ArrayPixels(pixels), affine=affine, modality="CT", units="HU")


def study(*series: Volume | Image) -> Study:
    return Study(timepoints=(TimePoint(series=series),))


def slabs(tokens: int, **changes: object) -> Preprocess:
    return replace(with_visual_tokens(SLICES, tokens), **changes)


def test_slices_look_as_they_do_slice_by_slice() -> None:
    scan = study(volume(slices=10))
    one_by_one, joined = (prepare_images(scan, preprocess=contract) for contract in (SLICES, slabs(64)))
    assert np.array_equal(one_by_one.pixels.rgb, joined.pixels.rgb)
    assert [image.slice for image in joined.images] == list(range(10))
    assert [image.number for image in joined.images] == list(range(1, 11))


def test_a_group_of_slabs_is_one_image_of_the_prompt(tokenizer, tokens) -> None:
    scan = study(volume(slices=40), volume(slices=9, spacing=(5.0, 5.0, 20.0), series="4.5.6"))
    contract = slabs(60)
    prepared = prepare_images(scan, preprocess=contract)
    inputs = assemble(prepared, "What is shown?", preprocess=contract, tokenizer=tokenizer, tokens=tokens)
    grids = [plan.grid for plan in prepared.volumes.values()]
    spent = int((inputs.token_ids == tokens.image).sum())
    assert spent == sum(grid.tokens for grid in grids) == sum(used.tokens for used in prepared.used) <= 60
    starts = int((inputs.token_ids == tokens.start_of_image).sum())
    assert starts == prepared.places == sum(grid.groups for grid in grids)
    text = tokenizer.decode(inputs.token_ids.tolist())
    assert text.count("SLICES 1-") == 2
    assert f"-{40}" in text
    assert "SERIES 2" in text
    assert list(inputs.volumes) == [0, 40]


def test_a_single_slice_is_one_slab_that_repeats_it() -> None:
    prepared = prepare_images(study(volume(slices=1)), preprocess=slabs(1000))
    (plan,) = prepared.volumes.values()
    assert plan.slots.tolist() == [[0, 0, 0, 0]]
    assert plan.labels == ("SLICE 1",)
    assert (plan.grid.groups, plan.grid.rows, plan.grid.columns) == (1, 4, 4)


def test_5000_slices_are_thinned_out_and_it_is_said() -> None:
    prepared = prepare_images(study(volume(slices=5000, spacing=(5.0, 5.0, 0.1), shape=(8, 8))), preprocess=slabs(128))
    (plan,) = prepared.volumes.values()
    assert len(plan.slabs) == 85
    assert len(prepared.images) == 340
    (left,) = prepared.left_out
    assert left.count == 4660
    assert "340 of 5000 slices are read, evenly spread over 85 slabs" in left.why


@pytest.mark.parametrize("slices", [2, 5, 85, 300])
def test_within_the_limit_every_slice_is_read(slices: int) -> None:
    prepared = prepare_images(study(volume(slices=slices, spacing=(5.0, 5.0, 1.0), shape=(8, 8))), preprocess=slabs(32))
    (plan,) = prepared.volumes.values()
    assert plan.picks == tuple(range(slices))
    assert prepared.left_out == ()
    assert sorted(np.unique(plan.slots)) == list(range(slices))


@given(
    slices=st.integers(1, 400),
    spacing=st.tuples(*[st.floats(0.1, 20)] * 3),
    tokens=st.integers(1, 5000),
)
def test_any_depth_and_spacing_gives_a_plan_within_the_budget(
    slices: int, spacing: tuple[float, float, float], tokens: int
) -> None:
    scan = volume(slices=slices, spacing=spacing, shape=(2, 2))
    prepared = prepare_images(study(scan), preprocess=slabs(tokens))
    (plan,) = prepared.volumes.values()
    assert plan.grid.tokens <= tokens
    assert len(plan.slabs) <= 85
    assert [stop for _, stop in plan.groups][-1] == slices
    assert [first for first, _ in plan.groups][1:] == [stop for _, stop in plan.groups][:-1]
    assert np.isfinite(plan.positions_mm(side=4)).all()


@pytest.mark.parametrize("aspect", ["stretch", "pad-square"])
@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIL", "oblique"])
def test_cells_lie_where_boxes_around_them_lie(aspect: str, axes: str) -> None:
    unit = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    if axes == "oblique":
        angle = np.radians(20)
        direction = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    else:
        direction = np.array([unit[letter] for letter in axes]).T
    scan = volume(slices=3, spacing=(2.0, 1.5, 25.0), direction=direction, shape=(48, 48))
    prepared = prepare_images(study(scan), preprocess=slabs(1000, aspect=aspect))
    (plan,) = prepared.volumes.values()
    assert [slab.slots for slab in plan.slabs] == [(0,) * 4, (1,) * 4, (2,) * 4]
    positions = plan.positions_mm(side=4)
    for cell in range(16):
        row, column = divmod(cell, 4)
        box = Box2D(x0=16 * column, y0=16 * row, x1=16 * column + 16, y1=16 * row + 16)
        around = prepared.images[2].to_patient(box)
        np.testing.assert_allclose(positions[2, cell], (np.array(around.low) + around.high) / 2, atol=1e-3)


def test_the_middle_of_a_slab_is_the_middle_of_its_slices() -> None:
    (plan,) = prepare_images(study(volume(slices=8)), preprocess=slabs(1000)).volumes.values()
    heights = plan.positions_mm(side=2)[:, :, 2]
    assert len(plan.slabs) == 2
    np.testing.assert_allclose(heights, [[700 + 1.5 * 5] * 4, [700 + 5.5 * 5] * 4])


def test_tokens_are_near_cubes_whatever_the_spacing() -> None:
    for spacing in ((1.0, 1.0, 1.0), (1.0, 1.0, 5.0), (0.4, 0.4, 2.0)):
        depth = round(256 / spacing[2])
        side = round(256 / spacing[0])
        scan = volume(slices=depth, spacing=spacing, shape=(side, side))
        (plan,) = prepare_images(study(scan), preprocess=slabs(64)).volumes.values()
        assert max(plan.token_mm) / min(plan.token_mm) < 1.5


def test_images_beside_a_volume_keep_their_own_tokens(tokenizer, tokens) -> None:
    picture = Image(series="9", pixels=ArrayPixels(np.arange(4096, dtype=np.uint8).reshape(64, 64)), modality="DX")
    contract = slabs(20)
    prepared = prepare_images(study(volume(slices=12), picture), preprocess=contract)
    inputs = assemble(prepared, "Why?", preprocess=contract, tokenizer=tokenizer, tokens=tokens)
    (plan,) = prepared.volumes.values()
    assert int((inputs.token_ids == tokens.image).sum()) == plan.grid.tokens + 16
    assert prepared.images[-1].number is None


def test_fewer_tokens_than_volumes_are_refused() -> None:
    three = [volume(slices=4, series=str(number)) for number in range(3)]
    with pytest.raises(RequestError, match=r"2 visual tokens for 3 volumes.*At least 3"):
        prepare_images(study(*three), preprocess=slabs(2))
    prepared = prepare_images(study(*three), preprocess=slabs(3))
    assert [plan.grid.tokens for plan in prepared.volumes.values()] == [1, 1, 1]


def test_more_volumes_than_slabs_leave_some_out_and_say_so() -> None:
    three = [volume(slices=4, series=str(number)) for number in range(3)]
    prepared = prepare_images(study(*three), preprocess=slabs(64, max_slabs=2))
    assert len(prepared.volumes) == 2
    assert [left.count for left in prepared.left_out] == [4]


def test_a_budget_does_not_change_the_slabs() -> None:
    scan = volume(slices=90)
    plans = [
        plan_volumes(
            [scan],
            maps=[next(iter(prepare_images(study(scan), preprocess=slabs(8)).images)).pixel_map],
            preprocess=slabs(tokens),
        )[0]
        for tokens in (1, 64, 10_000)
    ]
    assert plans[0].slabs == plans[1].slabs == plans[2].slabs
    assert plans[0].grid.tokens == 1


def test_a_volume_without_pixels_is_refused() -> None:
    empty = replace(volume(slices=1), pixels=ArrayPixels(np.zeros((0, 4, 4), dtype=np.int16)))
    with pytest.raises(DataError, match="has no pixels"):
        prepare_images(study(empty), preprocess=slabs(64))


def test_only_the_slices_that_are_shown_are_read() -> None:
    asked: list[int] = []

    def read(*, slices=None):
        asked.extend(slices)
        return np.zeros((len(slices), 8, 8), dtype=np.int16)

    source = SimpleNamespace(shape=(2000, 8, 8), read=read)
    scan = replace(volume(slices=1, spacing=(30.0, 30.0, 1.0)), pixels=source)
    prepared = prepare_images(study(scan), preprocess=slabs(64))
    assert len(asked) == len(set(asked)) == len(prepared.images) == 340
