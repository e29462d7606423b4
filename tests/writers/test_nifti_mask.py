"""Label maps: boxes on the grid of a NIfTI image, read back by nibabel and by Osler."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from osler.errors import RequestError
from osler.readers import open_study
from osler.study import Box3D, FoundBox
from osler.writers.nifti_mask import is_nifti_name, write_label_map
from tests.writers.imaging import answer_about, ct_study, oblique


@pytest.mark.parametrize("packed", [True, False])
def test_a_box_fills_its_voxels(packed: bool, tmp_path: Path) -> None:
    affine = oblique(angles=(0.3, 0.1, -0.2), spacing=(1.0, 2.0, 3.0)).to_ras()
    nib.save(nib.Nifti1Image(np.zeros((20, 16, 6), np.int16), affine), tmp_path / "a.nii.gz")
    study = open_study(tmp_path / "a.nii.gz")
    volume = study.volumes()[0]
    low, high = (2, 3, 1), (6, 9, 2)
    patient = Box3D(low=(3, 4, 1), high=(5, 6, 2), frame="voxel").to_patient(volume.affine)
    box = FoundBox(label="nodule", series=volume.series, score=1, patient=patient)
    data = write_label_map(answer_about(study, boxes=(box,)), study=study, packed=packed)
    path = tmp_path / ("m.nii.gz" if packed else "m.nii")
    path.write_bytes(data)
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, volume.affine.to_ras(), atol=1e-4)
    labels = np.asarray(image.dataobj)
    assert labels.shape == volume.shape[::-1]
    assert labels[4, 5, 1] == 1
    outside = labels.copy()
    outside[low[0] - 2 : high[0] + 2, low[1] - 2 : high[1] + 2, :] = 0
    assert not outside.any()
    assert b"1 nodule" in bytes(image.header["descrip"])
    assert open_study(path).volumes()[0].shape == volume.shape


def test_nothing_and_several_series_are_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    with pytest.raises(RequestError, match="no boxes or masks"):
        write_label_map(answer_about(study, boxes=()), study=study)


def test_names_ask_for_nifti() -> None:
    assert is_nifti_name("a/MASK.nii.GZ")
    assert not is_nifti_name("a.dcm")
