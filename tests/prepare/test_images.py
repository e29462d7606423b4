from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from osler.errors import DataError, FileFormatError, RequestError, UnsupportedError
from osler.model.config import get_config
from osler.prepare import Preprocess, prepare_images, preprocess_for
from osler.study import Affine, ArrayPixels, LeftOut, SliceOrigin, Study, TimePoint, Volume


class CountingPixels:
    """A source that remembers which slices were decoded."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.asked: list[int] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def read(self, *, slices=None) -> np.ndarray:
        picked = list(range(len(self.array))) if slices is None else list(slices)
        self.asked.extend(picked)
        return self.array[picked]


def test_only_shown_ct_slices_are_decoded(make, contract):
    source = CountingPixels(make.ct_pixels(slices=60))
    volume = replace(make.volume(source.array), pixels=source)
    prepared = prepare_images(make.study(volume), preprocess=replace(contract, max_slices=10))
    assert source.asked == list(prepared.used[0].slices)
    assert len(source.asked) == 10


def test_every_image_says_where_it_came_from(make, contract):
    origins = tuple(SliceOrigin(file=f"{index}.dcm", sop_uid=f"9.{index}") for index in range(30))
    volume = replace(make.volume(make.ct_pixels(slices=30)), origins=origins)
    study = make.study(volume, make.image(make.xray_pixels()))
    prepared = prepare_images(study, preprocess=replace(contract, max_slices=4))
    assert [image.slice for image in prepared.images] == [0, 14, 29, None]
    assert [image.number for image in prepared.images] == [1, 2, 3, None]
    assert prepared.images[1].origin.sop_uid == "9.14"
    assert prepared.images[3].origin is None
    assert prepared.images[0].size == (48, 64)
    assert prepared.used[0].slices == (0, 14, 29)
    assert (prepared.used[0].of, prepared.used[0].view, prepared.used[0].tokens) == (30, "CT windows", 12)
    assert prepared.used[1].view == "as it is"
    assert prepared.left_out == (
        LeftOut(
            what="slices of CT volume '1.2.3'",
            why="3 of 30 slices are shown, evenly spread (equidistant sampling)",
            count=27,
        ),
    )


def test_the_caption_of_an_image_reaches_the_prompt(make, contract):
    study = make.study(
        replace(make.image(make.xray_pixels()), caption="Figure A"), make.volume(make.ct_pixels(slices=3))
    )
    assert [series.caption for series in prepare_images(study, preprocess=contract).series] == ["Figure A", ""]


def test_rows_match_images_one_by_one(make, contract, monkeypatch):
    """Each row of the batch is that slice, also across the border of a chunk and of a series."""
    array = np.repeat(np.arange(40, dtype=np.float32)[:, None, None] * 20, 8, axis=1).repeat(8, axis=2)
    monkeypatch.setattr("osler.prepare.images._READ_VOXELS", 7 * 64)
    study = make.study(make.volume(array, series="a"), make.volume(array[::-1], series="b"))
    prepared = prepare_images(study, preprocess=replace(contract, max_slices=80))
    red = prepared.pixels.rgb[:, 5, 5, 0].astype(int)
    expected = np.round((np.concatenate([array, array[::-1]])[:, 0, 0] + 1024) / 2048 * 255)
    np.testing.assert_array_equal(red, expected)


def test_mr_range_is_of_the_whole_volume_not_of_the_slices_shown(make, contract):
    array = np.full((9, 8, 8), 100, dtype=np.uint16)
    array[1] = 0
    array[2] = 200
    study = make.study(make.volume(array, modality="MR", units="arbitrary"))
    prepared = prepare_images(study, preprocess=replace(contract, max_slices=3))
    assert prepared.used[0].slices == (0, 4, 8)
    assert set(np.unique(prepared.pixels.rgb)) == {128}


def test_mr_too_large_to_hold_is_read_in_chunks_with_the_same_result(make, contract, monkeypatch):
    study = make.study(make.volume(make.mr_pixels(slices=40), modality="MR", units="arbitrary"))
    small = replace(contract, max_slices=7)
    whole = prepare_images(study, preprocess=small).pixels.rgb
    monkeypatch.setattr("osler.prepare.images._WHOLE_VOXELS", 10)
    monkeypatch.setattr("osler.prepare.images._READ_VOXELS", 6 * 40 * 56)
    np.testing.assert_array_equal(prepare_images(study, preprocess=small).pixels.rgb, whole)


def test_newest_time_points_are_kept_and_shown_oldest_first(make, contract):
    days = [dt.date(2020 + year, 1, 1) for year in range(4)]
    study = Study(
        timepoints=tuple(
            TimePoint(series=(make.image(make.xray_pixels(rows=20, columns=20), series=str(day.year)),), date=day)
            for day in days
        )
    )
    prepared = prepare_images(study, preprocess=replace(contract, max_slices=2))
    assert [image.series for image in prepared.images] == ["2022", "2023"]
    assert [series.timepoint for series in prepared.series] == [0, 1]
    assert [entry.what for entry in prepared.left_out] == ["DX image '2020'", "DX image '2021'"]
    assert "at most 2 images" in prepared.left_out[0].why


def test_nan_and_infinite_voxels_are_said_and_shown_at_the_ends(make, contract):
    array = np.zeros((5, 4, 4), dtype=np.float32)
    array[0, 0, 0], array[1], array[2] = np.nan, np.inf, -np.inf
    prepared = prepare_images(make.study(make.volume(array)), preprocess=contract)
    assert prepared.warnings == (
        "CT volume '1.2.3': 33 of 80 values are NaN or infinite; they are shown as the lowest or highest value.",
        "CT volume '1.2.3' is constant: every value read is 0.",
        "CT volume '1.2.3' is only 4x4 px; little can be seen.",
    )
    assert set(np.unique(prepared.pixels.rgb[1])) == {255}
    assert set(np.unique(prepared.pixels.rgb[2])) == {0}


@pytest.mark.parametrize(("modality", "units"), [("CT", "HU"), ("MR", "arbitrary")])
def test_nothing_but_nan_is_refused(make, contract, modality, units):
    volume = make.volume(np.full((5, 4, 4), np.nan), modality=modality, units=units)
    with pytest.raises(DataError, match=f"{modality} volume '1.2.3' has no finite value: all 80"):
        prepare_images(make.study(volume), preprocess=contract)


def test_nan_in_a_grey_image(make, contract):
    array = np.linspace(0, 100, 400, dtype=np.float32).reshape(20, 20)
    array[3, 3] = np.nan
    prepared = prepare_images(make.study(make.image(array)), preprocess=contract)
    assert "1 of 400 values are NaN" in prepared.warnings[0]
    with pytest.raises(DataError, match="all 4 are NaN"):
        prepare_images(make.study(make.image(np.full((2, 2), np.nan))), preprocess=contract)


def test_constant_mr_is_black_and_said(make, contract):
    volume = make.volume(np.full((6, 20, 20), 7.5), modality="MR", units="arbitrary")
    prepared = prepare_images(make.study(volume), preprocess=contract)
    assert prepared.pixels.rgb.max() == 0
    assert prepared.warnings == ("MR volume '1.2.3' is constant: every value read is 7.5.",)


def test_one_pixel_is_shown_and_said(make, contract):
    prepared = prepare_images(make.study(make.image(np.array([[200]], dtype=np.uint8))), preprocess=contract)
    assert set(np.unique(prepared.pixels.rgb)) == {200}
    assert "DX image '4.5.6' is only 1x1 px; little can be seen." in prepared.warnings


def test_single_ct_slice_and_single_mr_slice_are_shown_like_volumes(make, contract):
    ct, mr = make.ct_pixels()[:1], make.mr_pixels()[:1]
    study = make.study(make.image(ct[0], modality="CT", units="HU"), make.image(mr[0], modality="MR"))
    prepared = prepare_images(study, preprocess=contract)
    volumes = make.study(make.volume(ct), make.volume(mr, modality="MR", units="arbitrary"))
    np.testing.assert_array_equal(prepared.pixels.rgb, prepare_images(volumes, preprocess=contract).pixels.rgb)
    assert [used.view for used in prepared.used] == ["CT windows", "min-max"]


def test_color_volume_keeps_its_colors(make, contract):
    array = np.zeros((6, 20, 20, 3), dtype=np.uint8)
    array[..., 1] = 77
    volume = Volume(series="us", pixels=ArrayPixels(array), affine=Affine.from_parts(), modality="US", units="RGB")
    prepared = prepare_images(make.study(volume), preprocess=contract)
    assert prepared.pixels.rgb[3, 9, 9].tolist() == [0, 77, 0]
    assert prepared.used[0].view == "color"


@pytest.mark.parametrize("shape", [(0, 8, 8), (5, 0, 8)])
def test_volume_without_pixels_is_refused(make, contract, shape):
    with pytest.raises(DataError, match=r"has no pixels: its shape is"):
        prepare_images(make.study(make.volume(np.zeros(shape))), preprocess=contract)


def test_endless_strip_is_refused_before_memory_is_spent(make, contract):
    strip = make.image(np.zeros((1, 100_000), dtype=np.uint8))
    padded = replace(contract, aspect="pad-square")
    with pytest.raises(UnsupportedError, match="100000x1 px, too large"):
        prepare_images(make.study(strip), preprocess=padded)


def test_text_only_model_refuses_images(make):
    text_only = preprocess_for(get_config("gemma-2-2b"))
    with pytest.raises(RequestError, match="reads text only"):
        prepare_images(make.study(make.image(make.xray_pixels())), preprocess=text_only)
    assert len(prepare_images(Study(timepoints=()), preprocess=text_only).images) == 0


def test_reader_errors_pass_through(make, contract):
    class Broken:
        shape = (6, 8, 8)

        def read(self, *, slices=None):
            raise FileFormatError("a.dcm is truncated.")

    volume = replace(make.volume(np.zeros((6, 8, 8))), pixels=Broken())
    with pytest.raises(FileFormatError, match=r"a\.dcm is truncated"):
        prepare_images(make.study(volume), preprocess=contract)


def test_problems_of_study_and_series_are_passed_on(make, contract):
    volume = replace(make.volume(make.ct_pixels()), problems=("Slice 4 is missing.",), description="Chest")
    study = Study(
        timepoints=(TimePoint(series=(volume,)),),
        problems=("Two dates differ.",),
        left_out=(LeftOut(what="a.txt", why="not an image"),),
    )
    prepared = prepare_images(study, preprocess=contract)
    assert prepared.warnings == ("Two dates differ.", "CT volume 'Chest': Slice 4 is missing.")
    assert prepared.left_out == study.left_out


def test_progress_counts_to_the_end(make, contract):
    steps: list[tuple[str, int, int]] = []
    study = make.study(make.volume(make.ct_pixels(slices=20)), make.image(make.xray_pixels()))
    prepare_images(study, preprocess=contract, progress=lambda *step: steps.append(step))
    assert steps == [("images", done, 21) for done in range(22)]


@pytest.mark.parametrize("modality", ["CT", "MR", "DX"])
def test_mirrored_study_gives_mirrored_pixels(make, contract, modality):
    """No step turns or mirrors what it is given: laterality is that of the file."""
    if modality == "DX":
        array = make.xray_pixels(rows=64, columns=64)
        plain, mirrored = make.image(array), make.image(array[:, ::-1])
    else:
        array = (make.ct_pixels if modality == "CT" else make.mr_pixels)(rows=64, columns=64)
        units = "HU" if modality == "CT" else "arbitrary"
        plain = make.volume(array, modality=modality, units=units)
        mirrored = make.volume(array[:, :, ::-1], modality=modality, units=units)
    rgb = prepare_images(make.study(plain), preprocess=contract).pixels.rgb
    turned = prepare_images(make.study(mirrored), preprocess=contract).pixels.rgb
    np.testing.assert_array_equal(rgb[:, :, ::-1], turned)
    assert (rgb != turned).any()


def test_a_series_without_a_date_does_not_push_out_a_dated_one():
    def stack(name: str, slices: int) -> Volume:
        return Volume(
            series=name,
            pixels=ArrayPixels(np.zeros((slices, 4, 4), np.int16)),
            affine=Affine.from_parts(),
            modality="MR",
        )

    dated = TimePoint(series=(stack("dated", 30),), date=dt.date(2024, 1, 2))
    loose = TimePoint(series=tuple(stack(f"loose-{number}", 40) for number in range(3)))
    contract = Preprocess(image_size=8, image_tokens=1, max_slices=24, sampling="equidistant")
    shown = {used.series for used in prepare_images(Study(timepoints=(dated, loose)), preprocess=contract).used}
    assert "dated" in shown
    assert len(shown) == 2
