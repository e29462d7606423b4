"""Memory: a 500-slice CT is opened and read in less than one and a half times its size."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.study import Affine
from tests.readers.make_dicom import base_dataset, geometry, save
from tests.readers.measured import measured

_SLICES, _SIDE = 500, 512
_READ = """
import sys
from osler.readers import open_study
(volume,) = open_study(sys.argv[1]).volumes()
array = volume.read()
result = {"shape": array.shape, "bytes": array.nbytes, "dtype": str(array.dtype), "last": int(array[-1, -1, -1])}
"""


def _slice(index: int) -> np.ndarray:
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    return ((rows * columns + index) % 4096).astype(np.uint16)


def _dicom(folder: Path) -> Path:
    """Slices that differ in their headers only: what is measured is the reader."""
    affine = Affine.from_parts(spacing=(0.7, 0.7, 1.0))
    ds = base_dataset(_slice(0), BitsStored=12, HighBit=11, RescaleIntercept=-1024)
    for index in range(_SLICES):
        for keyword, value in geometry(affine, index=index).items():
            setattr(ds, keyword, value)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{index + 1}"
        ds.InstanceNumber = index + 1
        save(ds, folder / f"{index:04d}.dcm")
    return folder


def _nifti(folder: Path) -> Path:
    array = np.zeros((_SIDE, _SIDE, _SLICES), np.int16, order="F")
    array[0], array[1], array[-1, -1, -1] = -1024, 1500, 77
    path = folder / "ct.nii"
    nibabel.Nifti1Image(array, np.diag([0.7, 0.7, 1.0, 1.0])).to_filename(path)
    return path


def _require_little(path: Path, *, last: int) -> None:
    found = measured(_READ, path)
    result = found["result"]
    assert result["shape"] == [_SLICES, _SIDE, _SIDE]
    assert result["dtype"] == "int16"
    assert result["last"] == last
    assert found["peak"] < 1.5 * result["bytes"], f"{found['peak'] / result['bytes']:.2f} times the decoded size"


@pytest.mark.slow
def test_a_dicom_ct_of_500_slices(tmp_path: Path) -> None:
    _require_little(_dicom(tmp_path), last=int(_slice(0)[-1, -1]) - 1024)


@pytest.mark.slow
def test_a_nifti_ct_of_500_slices(tmp_path: Path) -> None:
    _require_little(_nifti(tmp_path), last=77)


def test_opening_costs_headers_only(tmp_path: Path) -> None:
    """Opening a volume holds none of its pixels."""
    path = _nifti(tmp_path)
    opened = measured(_READ.partition("array =")[0] + "result = volume.shape[0]\n", path)
    small = tmp_path / "small.nii"
    nibabel.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)).to_filename(small)
    least = measured(_READ.partition("array =")[0] + "result = volume.shape[0]\n", small)
    assert (opened["result"], least["result"]) == (_SLICES, 9)
    assert opened["peak"] - least["peak"] < 40 << 20
