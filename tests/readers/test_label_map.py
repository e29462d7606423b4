"""Label maps are told from scans, and left out beside one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from osler.readers import limits, open_study
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


def test_a_volume_too_large_for_this_machine_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "large.nii", np.tile(scan(), (8, 8, 1)))
    save(tmp_path / "small.nii.gz", scan())
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    study = open_study(tmp_path)
    assert [Path(volume.series).name for volume in study.volumes()] == ["small.nii.gz"]
    (left_out,) = study.left_out
    assert left_out.what.endswith("large.nii")
    assert "needs" in left_out.why
    assert "of memory" in left_out.why


def test_a_label_map_beside_a_damaged_scan_is_opened(tmp_path: Path) -> None:
    save(tmp_path / "organs.nii.gz", labels())
    save(tmp_path / "scan.nii.gz", scan())
    raw = bytearray((tmp_path / "scan.nii.gz").read_bytes())
    raw[-8:-4] = bytes(4)  # the checksum, which is looked at when all is unpacked
    (tmp_path / "scan.nii.gz").write_bytes(raw)
    study = open_study(tmp_path)
    assert [Path(volume.series).name for volume in study.volumes()] == ["organs.nii.gz"]
    assert "scan.nii.gz" in study.left_out[0].what


def test_an_absurd_header_beside_a_scan_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "scan.nii.gz", scan())
    save(tmp_path / "absurd.nii", scan())
    raw = bytearray((tmp_path / "absurd.nii").read_bytes())
    raw[40:48] = np.array([3, 32767, 32767, 32767], "<i2").tobytes()
    (tmp_path / "absurd.nii").write_bytes(raw)
    study = open_study(tmp_path)
    assert len(study.volumes()) == 1
    assert "64.0 TiB" in study.left_out[0].why


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
