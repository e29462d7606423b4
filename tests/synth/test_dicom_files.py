"""Synthetic DICOM: valid, without identity, and the same voxels and places when it is read again."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import GeometryError, RequestError
from osler.readers import open_study
from osler.study import Affine, Volume
from osler.synth.dicom_files import make_uid, write_image, write_volume
from osler.synth.facts import Exam
from osler.synth.rendered import RenderedImage, RenderedVolume
from tests.synth.documents.people import make_patient

PATIENT = make_patient()
CT = PATIENT.exams[1]


def make_mr() -> Exam:
    acquisition = dataclasses.replace(
        CT.acquisition,
        kvp=None,
        mas=None,
        kernel=None,
        contrast="gadolinium",
        sequence="FLAIR",
        field_t=1.5,
        te_ms=92.5,
        tr_ms=9000.0,
        ti_ms=2500.0,
        flip_deg=150,
    )
    return dataclasses.replace(CT, modality="MR", region="head", protocol="mr-brain-flair", acquisition=acquisition)


def make_dx(view: str) -> Exam:
    acquisition = dataclasses.replace(CT.acquisition, kernel=None, contrast=None, slices=1, view=view)
    return dataclasses.replace(CT, modality="DX", protocol="xr-chest-pa", acquisition=acquisition)


def make_volume(*, low: int, high: int, affine: Affine | None = None, slices: int = 5) -> RenderedVolume:
    voxels = np.random.default_rng(low % 97).integers(low, high, size=(slices, 64, 80)).astype(np.int32)
    return RenderedVolume(
        voxels=voxels, affine=affine or Affine.from_parts(spacing=(0.7, 0.8, 2.5), origin=(-80.5, -60, 9))
    )


@st.composite
def straight(draw: st.DrawFn) -> Affine:
    """Right-handed grids in any orientation."""
    numbers = st.floats(-1, 1)
    axes, _ = np.linalg.qr(np.array([[draw(numbers) for _ in range(3)] for _ in range(3)]) + 3 * np.eye(3))
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    spacing = tuple(draw(st.floats(0.2, 6)) for _ in range(3))
    origin = tuple(draw(st.floats(-500, 500)) for _ in range(3))
    return Affine.from_parts(spacing=spacing, direction=axes, origin=origin)


@settings(max_examples=15, deadline=None)
@given(affine=straight())
def test_a_volume_comes_back_in_its_place(tmp_path_factory: pytest.TempPathFactory, affine: Affine) -> None:
    folder = tmp_path_factory.mktemp("ct")
    volume = make_volume(low=-1024, high=3000, affine=affine)
    assert len(write_volume(volume, patient=PATIENT, exam=CT, folder=folder)) == 5
    (found,) = open_study(folder).series()
    assert isinstance(found, Volume)
    assert found.affine.isclose(affine, mm=1e-5)
    assert found.units == "HU"
    assert np.array_equal(found.read(), volume.voxels)
    assert found.problems == ()


@pytest.mark.parametrize(("low", "high"), [(-1024, 3071), (-3024, 20000), (-1000, 4000)])
def test_a_ct_keeps_any_hounsfield_value(tmp_path: Path, low: int, high: int) -> None:
    volume = make_volume(low=low, high=high)
    write_volume(volume, patient=PATIENT, exam=CT, folder=tmp_path)
    assert np.array_equal(open_study(tmp_path).volumes()[0].read(), volume.voxels)


@pytest.mark.parametrize(("low", "high"), [(0, 900), (0, 65535), (-200, 900)])
def test_an_mr_keeps_its_values(tmp_path: Path, low: int, high: int) -> None:
    volume = make_volume(low=low, high=high)
    write_volume(volume, patient=PATIENT, exam=make_mr(), folder=tmp_path)
    (found,) = open_study(tmp_path).volumes()
    assert np.array_equal(found.read(), volume.voxels)
    assert (found.modality, found.units, found.description) == ("MR", "arbitrary", "FLAIR GADOLINIUM")


@pytest.mark.parametrize("view", ["PA", "AP", "lateral"])
def test_a_radiograph_keeps_its_pixels_and_view(tmp_path: Path, view: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, size=(70, 90)).astype(np.uint16)
    write_image(RenderedImage(pixels=pixels, spacing=(0.3, 0.4)), patient=PATIENT, exam=make_dx(view), folder=tmp_path)
    (found,) = open_study(tmp_path).images()
    assert np.array_equal(found.read(), pixels)
    assert found.spacing == (0.3, 0.4)
    assert found.view == {"lateral": "LL"}.get(view, view)


def test_a_header_holds_the_facts_and_no_identity(tmp_path: Path) -> None:
    paths = write_volume(make_volume(low=-1000, high=1000), patient=PATIENT, exam=CT, folder=tmp_path)
    headers = [pydicom.dcmread(path) for path in paths]
    first = headers[0]
    assert (first.PatientID, str(first.PatientName), first.PatientBirthDate) == ("OSLER-7-12", "OSLER-7-12", "")
    assert (first.PatientSex, first.PatientAge, first.StudyDate) == ("F", "063Y", "20000215")
    assert (first.KVP, first.Exposure, first.ConvolutionKernel) == (120, 180, "soft")
    assert first.StudyInstanceUID == CT.acquisition.study_uid
    assert first.SeriesInstanceUID == CT.acquisition.series_uid
    uids = {str(e.value) for header in headers for e in (*header.iterall(), *header.file_meta) if e.VR == "UI"}
    assert all(uid.startswith(("2.25.", "1.2.840.10008.")) and len(uid) <= 64 for uid in uids)
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    later = write_volume(make_volume(low=-1000, high=1000), patient=PATIENT, exam=PATIENT.exams[2], folder=tmp_path)
    assert pydicom.dcmread(later[0]).FrameOfReferenceUID == first.FrameOfReferenceUID


@pytest.mark.parametrize(("step", "thickness"), [(5.0, 5.0), (5.4, 5.0), (8.0, 8.0)])
def test_slices_that_were_drawn_coarser_are_thicker(tmp_path: Path, step: float, thickness: float) -> None:
    volume = make_volume(low=0, high=9, affine=Affine.from_parts(spacing=(1, 1, step)))
    paths = write_volume(volume, patient=PATIENT, exam=CT, folder=tmp_path)
    assert pydicom.dcmread(paths[0]).SliceThickness == thickness
    assert open_study(tmp_path).volumes()[0].problems == ()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
@pytest.mark.parametrize("kind", ["CT", "MR", "PA", "lateral"])
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str) -> None:
    if kind in ("CT", "MR"):
        exam = CT if kind == "CT" else make_mr()
        paths = write_volume(make_volume(low=0, high=900), patient=PATIENT, exam=exam, folder=tmp_path)
    else:
        image = RenderedImage(pixels=np.arange(4200).reshape(60, 70), spacing=(0.3, 0.3))
        paths = write_image(image, patient=PATIENT, exam=make_dx(kind), folder=tmp_path)
    report = subprocess.run(["dciodvfy", "-new", paths[0]], capture_output=True, text=True, check=False).stderr
    assert "Error" not in report, report


def test_a_sheared_grid_is_refused(tmp_path: Path) -> None:
    matrix = np.diag([1.0, 1.0, 2.0, 1.0])
    matrix[0, 2] = 0.5
    with pytest.raises(GeometryError, match=r"do not lie along the normal.*Straight, right-handed grids"):
        write_volume(make_volume(low=0, high=9, affine=Affine(matrix)), patient=PATIENT, exam=CT, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((3, 4, 4), dtype=np.float32), "type float32.*Whole numbers with 3 axes"),
        (np.zeros((4, 4), dtype=np.int16), r"shape \(4, 4\)"),
        (np.zeros((0, 4, 4), dtype=np.int16), "shape"),
        (np.full((3, 4, 4), 70000), "Pixels from 70000 to 70000.*fit 16 bits"),
    ],
)
def test_voxels_that_dicom_cannot_hold_are_refused(tmp_path: Path, voxels: np.ndarray, message: str) -> None:
    volume = RenderedVolume(voxels=voxels, affine=Affine.from_parts())
    with pytest.raises(RequestError, match=message):
        write_volume(volume, patient=PATIENT, exam=CT, folder=tmp_path)


def test_an_exam_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"modality 'DX' as slices.*CT or MR"):
        write_volume(make_volume(low=0, high=9), patient=PATIENT, exam=make_dx("PA"), folder=tmp_path)
    with pytest.raises(RequestError, match="modality 'CT' as a radiograph"):
        write_image(
            RenderedImage(pixels=np.zeros((4, 4), dtype=np.uint8), spacing=(1, 1)),
            patient=PATIENT,
            exam=CT,
            folder=tmp_path,
        )


def test_uids_are_short_enough_and_differ() -> None:
    uids = {make_uid("x", number) for number in range(500)}
    assert len(uids) == 500
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
