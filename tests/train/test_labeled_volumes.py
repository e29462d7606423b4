"""Volumes keep their boxes through preparation, cutting and the file, in their own coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osler.model.config import get_config
from osler.prepare.contract import preprocess_for
from osler.study import Affine, ArrayPixels, Box3D, Study, TimePoint, Volume
from osler.train.labeled_volumes import (
    LabeledVolume,
    cut_volume,
    hippocampus_volumes,
    labeled_volume,
    phantom_volumes,
    read_volumes,
    spread,
    write_volumes,
)
from tests.shared_data import SHARED_DATA, needs_shared_data

PREPROCESS = preprocess_for(get_config("debug"))
MINI = preprocess_for(get_config("osler-mini"))


def _bright(volume: LabeledVolume) -> tuple[float, ...]:
    """Box of what is bright, x0, y0, z0, x1, y1, z1 in 0 to 1, to half a pixel and half a slice."""
    mask = volume.slices[..., 0] > 127
    side, step = mask.shape[1], float(np.diff(volume.depth).mean())
    depth = volume.depth[mask.any((1, 2))]
    rows, columns = np.flatnonzero(mask.any((0, 2))), np.flatnonzero(mask.any((0, 1)))
    low = (columns[0] / side, rows[0] / side, depth.min() - step / 2)
    high = ((columns[-1] + 1) / side, (rows[-1] + 1) / side, depth.max() + step / 2)
    return (*low, *high)


def _ball(count: int = 12) -> LabeledVolume:
    slices = np.zeros((count, 32, 32, 3), np.uint8)
    slices[3:8, 8:24, 10:20] = 255
    return LabeledVolume(
        slices=slices,
        depth=((np.arange(count) + 0.5) / count).astype(np.float32),
        boxes={"ball": (10 / 32, 8 / 32, 3 / count, 20 / 32, 24 / 32, 8 / count)},
        source="drawn",
        patient="1",
    )


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_the_cut(seed: int) -> None:
    rgb, depth, boxes = cut_volume(_ball(), slices=12, rng=np.random.default_rng(seed))
    cut = LabeledVolume(slices=rgb, depth=depth, boxes=boxes, source="drawn", patient="1")
    assert boxes["ball"] == pytest.approx(_bright(cut), abs=0.09)


def test_without_a_generator_nothing_is_cut() -> None:
    rgb, depth, boxes = cut_volume(_ball(), slices=12, rng=None)
    assert np.array_equal(rgb, _ball().slices)
    assert depth == pytest.approx(_ball().depth)
    assert boxes["ball"] == pytest.approx(_ball().boxes["ball"])


def test_few_slices_are_repeated() -> None:
    rgb, depth, _ = cut_volume(_ball(3), slices=5, rng=None)
    assert len(rgb) == 5
    assert depth.tolist() == sorted(depth.tolist())


def test_spread_takes_both_ends() -> None:
    assert spread(5, most=9) == [0, 1, 2, 3, 4]
    assert spread(100, most=3)[0] == 0
    assert spread(100, most=3)[-1] == 99


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (-1.0, 1.0, 3.0), (1.0, -1.0, -3.0)])
def test_a_box_in_millimeters_lies_on_what_is_seen(spacing: tuple[float, float, float]) -> None:
    """Whatever the direction of the voxel axes, the box lies around the bright block that the network sees."""
    voxels = np.zeros((12, 32, 32), np.int16)
    voxels[3:8, 8:24, 10:20] = 1000
    matrix = np.diag([*spacing, 1.0])
    affine = Affine(matrix)
    volume = Volume(series="1", pixels=ArrayPixels(voxels), affine=affine, modality="MR")
    box = Box3D(low=(10, 8, 3), high=(20, 24, 8), frame="voxel").to_patient(affine)
    found = labeled_volume(
        Study(timepoints=(TimePoint(series=(volume,)),)),
        boxes={"ball": box}, preprocess=PREPROCESS, slices=12, source="drawn", patient="1",
    )  # fmt: skip
    assert found.boxes["ball"] == pytest.approx(_bright(found), abs=0.05)


def test_volumes_come_back_from_their_file(tmp_path: Path) -> None:
    write_volumes(tmp_path / "kept.npz", [_ball(), _ball()])
    found = list(read_volumes(tmp_path / "kept.npz"))
    assert len(found) == 2
    assert np.array_equal(found[1].slices, _ball().slices)
    assert found[1].boxes == _ball().boxes


def test_phantoms_have_organs_where_they_lie() -> None:
    (found,) = (
        volume
        for volume, _ in zip(
            phantom_volumes(seed=3, patients=range(60), preprocess=PREPROCESS, slices=8, shape=(16, 48, 48)),
            range(1),
            strict=False,
        )
    )
    assert found.boxes
    for x0, y0, z0, x1, y1, z1 in found.boxes.values():
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert 0 <= z0 < z1 <= 1
    if {"right lung", "left lung"} <= found.boxes.keys():
        # The patient's right is at the left of the picture.
        assert found.boxes["right lung"][0] < found.boxes["left lung"][0]


@needs_shared_data
def test_hippocampi_of_both_splits_are_of_other_patients() -> None:
    assert SHARED_DATA is not None
    patients = {}
    for split in ("train", "held-out"):
        first = (
            volume
            for volume, _ in zip(
                hippocampus_volumes(SHARED_DATA, split=split, preprocess=MINI, slices=12), range(4), strict=False
            )
        )
        patients[split] = {volume.patient for volume in first}
        assert len(patients[split]) == 4
    assert not patients["train"] & patients["held-out"]
