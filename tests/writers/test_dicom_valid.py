"""Our DICOM objects about real images, judged by dicom3tools: no errors; warnings are listed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from osler.readers import open_study
from osler.readers.dicom_annotations import read_annotations
from osler.study import Box2D, Box3D, FoundBox, Study, Volume
from osler.writers.dicom_capture import write_capture, write_gsps
from osler.writers.dicom_seg import write_segs
from osler.writers.dicom_sr import write_sr
from tests.shared_data import SHARED_DATA, needs_shared_data
from tests.writers.imaging import answer_about, dx_study, require_close
from tests.writers.test_dicom_capture import png

needs_dicom3tools = pytest.mark.skipif(
    shutil.which("dciodvfy") is None or shutil.which("dcentvfy") is None,
    reason="dciodvfy and dcentvfy (Debian package dicom3tools) are not installed",
)
_SOURCES = {
    "ct of jpeg 2000": "ct/lidc-idri-0314/dicom",
    "ct": "ct/lung-petct-dx-a0001/dicom/2",
    "mr, enhanced multi-frame": "dicom-odd/philips_enhanced-anatomical-001",
    "ct of one slice": "dicom-odd/ge-anatomical-001_single_slice",
}
# Warnings that stay: what the source itself says oddly, the private codes, and what the checker takes for
# another information entity in one kind of object than in the next.
_KNOWN = (
    r"Unrecognized defined term <99OSLER>",
    r"needed to build DICOMDIR",
    r"Retired Person Name form",
    r"only permitted to be empty when actually unknown.*Laterality",
    r"Different information entities for attribute",
    r"Attribute present in one instance but not the other",
    r"Value dubious for this VR - \(0x0010",
    r"Dicom dataset contains retired attributes",
    r"Attribute is not present in standard DICOM IOD",
)


def boxes_in(study: Study) -> tuple[FoundBox, ...]:
    series = next(iter(study.series()))
    pixel = Box2D(x0=10, y0=12.5, x1=28, y1=33)
    if not isinstance(series, Volume):
        return (FoundBox(label="heart", series=series.series, score=0.9, pixel=pixel),)
    large = Box3D(low=(20, 30, 2), high=(50, 60, 6), frame="voxel").to_patient(series.affine)
    patient = pixel.to_box3d(affine=series.affine, slice_index=3)
    return (
        FoundBox(label="nodule", series=series.series, score=0.75, slice=3, pixel=pixel, patient=patient),
        FoundBox(label="腫瘤", series=series.series, score=0.5, patient=large),
    )


def write_all(study: Study, folder: Path) -> list[Path]:
    answer = answer_about(study, boxes=boxes_in(study))
    files = {
        "a.sr.dcm": write_sr(answer, study=study),
        "a.seg.dcm": write_segs(answer, study=study)[0],
        "a.pr.dcm": write_gsps(answer, study=study)[0],
        "a.sc.dcm": write_capture(answer, study=study, picture=png()[0]),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def complaints(*command: str | Path) -> list[str]:
    run = subprocess.run([str(part) for part in command], capture_output=True, timeout=120)
    lines = (run.stdout + run.stderr).decode("utf-8", "replace").splitlines()
    found = [line for line in lines if re.match(r"(Error|Warning|Abort)", line)]
    return [line for line in found if line.startswith(("Error", "Abort")) or not re.search("|".join(_KNOWN), line)]


@needs_shared_data
@needs_dicom3tools
@pytest.mark.parametrize("name", _SOURCES)
def test_objects_about_real_images_are_valid(name: str, tmp_path: Path) -> None:
    assert SHARED_DATA is not None
    study = open_study(SHARED_DATA / _SOURCES[name])
    files = write_all(study, tmp_path)
    assert {file.name: complaints("dciodvfy", file) for file in files} == {file.name: [] for file in files}
    assert complaints("dcentvfy", *files) == []
    boxes = boxes_in(study)
    for got, box in zip(read_annotations(files[0], study=study).boxes, boxes, strict=True):
        assert got.label == box.label
        if box.patient is not None:
            require_close(got.patient, box.patient, mm=0.01)


@needs_dicom3tools
def test_objects_about_an_x_ray_are_valid(tmp_path: Path) -> None:
    study = dx_study(tmp_path / "dx")
    (tmp_path / "out").mkdir()
    files = write_all(study, tmp_path / "out")
    assert {file.name: complaints("dciodvfy", file) for file in files} == {file.name: [] for file in files}
    assert complaints("dcentvfy", *files) == []
