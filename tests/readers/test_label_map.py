"""Label maps are told from scans, and left out beside one."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.readers import open_study
from osler.readers.label_map import is_label_map
from tests.readers.make_dicom import ramp, write_series
from tests.shared_data import SHARED_DATA, needs_shared_data


def save(path: Path, array: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)


def scan(seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).normal(400, 60, (24, 20, 12)).clip(0).astype(np.int16)


def labels() -> np.ndarray:
    array = np.zeros((24, 20, 12), dtype=np.uint8)
    array[4:12, 4:12, 2:10] = 1
    array[12:20, 6:16, 3:9] = 7
    return array


def test_a_segmentation_beside_its_scan_is_left_out_and_said(tmp_path):
    save(tmp_path / "scan.nii.gz", scan())
    save(tmp_path / "organs.nii.gz", labels())
    study = open_study(tmp_path)
    assert [Path(volume.series).name for volume in study.volumes()] == ["scan.nii.gz"]
    (left_out,) = study.left_out
    assert left_out.what.endswith("organs.nii.gz")
    assert "a label map" in left_out.why


def test_two_scans_both_stay(tmp_path):
    save(tmp_path / "t1.nii.gz", scan(0))
    save(tmp_path / "flair.nii.gz", scan(1))
    assert len(open_study(tmp_path).volumes()) == 2


@pytest.mark.parametrize("files", [1, 2])
def test_label_maps_alone_are_opened(tmp_path, files):
    for number in range(files):
        save(tmp_path / f"{number}.nii.gz", labels())
    assert len(open_study(tmp_path).volumes()) == files


@needs_shared_data
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ct/torso-3mm/example_ct.nii.gz", False),
        ("ct/torso-3mm/example_seg_fast.nii.gz", True),
        ("mr/torso/example_mr_sm.nii.gz", False),
        ("mr/torso/example_seg_mr.nii.gz", True),
        ("mr/aseg/norm.mgz", False),
        ("mr/aseg/aparc.a2009s+aseg.mgz", True),
        ("mr/hippocampus/images/hippocampus_001.nii.gz", False),
        ("mr/hippocampus/labels/hippocampus_001.nii.gz", True),
        ("mr/ms-lesions/patient07/FLAIR.nii.gz", False),
        ("mr/ms-lesions/patient07/GOLD.nii.gz", True),
        ("mr/ms-longitudinal/patient01/brainmask.nii.gz", True),
    ],
)
def test_real_scans_and_real_segmentations_are_told_apart(path, expected):
    (volume,) = open_study(SHARED_DATA / path).volumes()
    assert is_label_map(volume) is expected


def test_a_segmentation_beside_a_dicom_scan_is_left_out(tmp_path):
    write_series(tmp_path / "scan", volume=ramp(4))
    save(tmp_path / "organs.nii.gz", labels())
    study = open_study(tmp_path)
    assert [volume.modality for volume in study.volumes()] == ["CT"]
    assert [Path(entry.what).name for entry in study.left_out] == ["organs.nii.gz"]
