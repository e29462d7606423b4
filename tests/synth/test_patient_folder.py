"""A patient's folder: whole or not there, read by open_study, and one story in all its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from osler.errors import RequestError
from osler.readers import open_study
from osler.study import Affine, Box3D
from osler.synth.facts import Exam, PatientFacts
from osler.synth.patient_folder import FolderPlan, exam_name, remove_leftovers, write_patient_folder
from osler.synth.rendered import LesionBox, Rendered, RenderedImage, RenderedVolume
from osler.synth.timeline import calendar_date
from tests.synth.documents.people import make_patient

PATIENT = make_patient()


def render(patient: PatientFacts, exam: Exam) -> Rendered | None:
    """Noise with a bright block where the exam's lesion lies."""
    del patient
    if exam.number == 3:
        return None
    if exam.number == 2:
        pixels = np.random.default_rng(2).integers(0, 4096, size=(64, 70)).astype(np.uint16)
        return RenderedImage(pixels=pixels, spacing=(0.5, 0.5))
    affine = Affine.from_parts(spacing=(5.0, 5.0, 5.0), origin=(-160, -160, 60))
    voxels = np.random.default_rng(exam.number).integers(-900, 100, size=(12, 64, 64)).astype(np.int16)
    box = Box3D(low=(-86.0, -6.0, 84.0), high=(-74.0, 6.0, 96.0), frame="LPS")
    edges = box.to_voxel(affine)
    low, high = np.ceil(edges.low).astype(int), np.floor(edges.high).astype(int)
    voxels[low[2] : high[2], low[1] : high[1], low[0] : high[0]] = 2000
    return RenderedVolume(
        voxels=voxels, affine=affine, boxes=(LesionBox(finding="pulmonary-nodule", lesion=1, box=box),)
    )


def make_mixed() -> PatientFacts:
    """Two CTs, a radiograph and an exam without pixels."""
    exams = list(PATIENT.exams)
    view = dataclasses.replace(exams[2].acquisition, view="PA", kernel=None, contrast=None)
    exams[2] = dataclasses.replace(exams[2], modality="DX", protocol="xr-chest-pa", acquisition=view)
    return dataclasses.replace(PATIENT, exams=tuple(exams))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patient_folder(make_mixed(), out=tmp_path_factory.mktemp("patients"), render=render).path


def test_open_study_reads_every_image_on_its_day(folder: Path) -> None:
    study = open_study(folder)
    assert [point.date for point in study.timepoints] == [calendar_date(exam.day) for exam in PATIENT.exams[:3]]
    assert [type(series).__name__ for series in study.series()] == ["Volume", "Volume", "Image"]
    for volume, exam in zip(study.volumes(), PATIENT.exams, strict=False):
        made = render(PATIENT, exam)
        assert isinstance(made, RenderedVolume)
        assert volume.affine.isclose(made.affine, mm=1e-6)
        assert np.array_equal(volume.read(), made.voxels)
        assert volume.series == exam.acquisition.series_uid


def test_boxes_lie_on_the_lesions_in_the_files(folder: Path) -> None:
    boxes = json.loads((folder / "boxes.json").read_text())
    assert [box["exam"] for box in boxes] == [0, 1]
    volumes = {volume.series: volume for volume in open_study(folder).volumes()}
    for record in boxes:
        volume = volumes[record["series_uid"]]
        bright = np.argwhere(volume.read() == 2000)[:, ::-1]
        corners = volume.affine.apply(bright)
        assert np.all(corners >= np.array(record["low"]))
        assert np.all(corners <= np.array(record["high"]))
        assert record["frame"] == "LPS"


def test_all_files_are_there_and_nothing_else(folder: Path) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".dcm"}
    reports = {f"reports/{exam_name(exam)}.txt" for exam in make_mixed().exams}
    labs = {f"documents/laboratory-{calendar_date(exam.day)}.pdf" for exam in PATIENT.exams}
    loose = {
        "README.txt",
        "facts.json",
        "boxes.json",
        "record.fhir.json",
        "files.json",
        "documents/discharge-letter.pdf",
    }
    assert found == loose | labs | reports
    bundle = json.loads((folder / "record.fhir.json").read_text())
    links = [part["url"] for part in _forms(bundle) if "url" in part]
    assert set(links) == labs | reports | {"documents/discharge-letter.pdf"}
    studies = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "ImagingStudy"]
    assert [study["numberOfInstances"] for study in studies[:3]] == [12, 12, 1]
    assert list(folder.parent.iterdir()) == [folder]


def _forms(bundle: dict) -> list[dict]:
    resources = [entry["resource"] for entry in bundle["entry"]]
    forms = [form for resource in resources for form in resource.get("presentedForm", [])]
    return forms + [part["attachment"] for resource in resources for part in resource.get("content", [])]


def test_the_readme_says_synthetic_and_shifted(folder: Path) -> None:
    text = (folder / "README.txt").read_text()
    assert "synthetic" in text
    assert "Dates are shifted" in text
    assert json.loads((folder / "facts.json").read_text())["facts"]["number"] == 12


def test_the_same_patient_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = write_patient_folder(make_mixed(), out=tmp_path, render=render).path
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes(), path.name


def test_a_folder_that_is_complete_is_left_alone(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = write_patient_folder(make_mixed(), out=folder.parent, render=render)
    assert (again.path, again.state, again.remade) == (folder, "kept", ())
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def _other_facts(folder: Path) -> PatientFacts:
    del folder
    return dataclasses.replace(make_mixed(), age=40)


def _not_ours(folder: Path) -> PatientFacts:
    (folder / "facts.json").write_text("{")
    (folder / "files.json").write_text("{")
    return make_mixed()


def _emptied(folder: Path) -> PatientFacts:
    (folder / "facts.json").unlink()
    (folder / "files.json").unlink()
    return make_mixed()


def _other_list(folder: Path) -> PatientFacts:
    """A list that leads out of the folder is no list."""
    (folder / "files.json").write_text('{"files": [{"name": "../facts.json", "bytes": 1, "sha256": "0"}]}')
    (folder / "facts.json").unlink()
    return make_mixed()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_facts, "holds another patient or another plan.*facts differ"),
        (_not_ours, "exists and is no patient folder of Osler"),
        (_emptied, "exists and is no patient folder of Osler"),
        (_other_list, "exists and is no patient folder of Osler"),
    ],
)
def test_other_data_in_the_way_stays(tmp_path: Path, change: Callable[[Path], PatientFacts], message: str) -> None:
    plan = FolderPlan(images="none", documents="none")
    folder = write_patient_folder(make_mixed(), out=tmp_path, plan=plan).path
    patient = change(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(RequestError, match=message):
        write_patient_folder(patient, out=tmp_path, plan=plan)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_another_plan_is_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"\(plan differ\)"):
        write_patient_folder(make_mixed(), out=folder.parent, render=render, plan=FolderPlan(grid="64"))


def test_a_failure_midway_leaves_nothing(tmp_path: Path) -> None:
    def full(patient: PatientFacts, exam: Exam) -> Rendered | None:
        if exam.number == 1:
            raise OSError(28, "No space left on device")
        return render(patient, exam)

    with pytest.raises(RequestError, match=r"Cannot write .*No space left on device.*Free some space"):
        write_patient_folder(make_mixed(), out=tmp_path, render=full)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_processes_go_and_others_stay(tmp_path: Path) -> None:
    alive = tmp_path / f".osler-{os.getpid()}-OSLER-7-1.part"
    dead = tmp_path / ".osler-999999999-OSLER-7-2.part"
    foreign = tmp_path / ".osler-notes.part"
    for path in (alive, dead, foreign):
        path.mkdir()
    assert remove_leftovers(tmp_path) == 1
    assert set(tmp_path.iterdir()) == {alive, foreign}


def _lose_image(folder: Path) -> None:
    next((folder / "images").rglob("*.dcm")).unlink()


def _lose_series(folder: Path) -> None:
    shutil.rmtree(folder / "images" / "exam-0-ct-chest-plain")


def _flip_pixel(folder: Path) -> None:
    """The size stays: only the checksum tells."""
    path = next((folder / "images").rglob("*.dcm"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _cut_letter(folder: Path) -> None:
    letter = folder / "documents" / "discharge-letter.pdf"
    letter.write_bytes(letter.read_bytes()[:100])


def _lose_report(folder: Path) -> None:
    next((folder / "reports").iterdir()).unlink()


def _spoil_facts(folder: Path) -> None:
    (folder / "facts.json").write_text("{")


def _lose_list(folder: Path) -> None:
    (folder / "files.json").unlink()


@pytest.mark.parametrize(
    ("harm", "pattern", "count"),
    [
        (_lose_image, r"images/exam-\d-.*\.dcm", 1),
        (_lose_series, r"images/exam-0-ct-chest-plain/.*\.dcm", 12),
        (_flip_pixel, r"images/exam-\d-.*\.dcm", 1),
        (_cut_letter, r"documents/discharge-letter\.pdf", 1),
        (_lose_report, r"reports/exam-\d-.*\.txt", 1),
        (_spoil_facts, r"facts\.json", 1),
        (_lose_list, r"files\.json", 1),
    ],
)
def test_what_a_folder_lost_is_made_again_and_said(
    folder: Path, tmp_path: Path, harm: Callable[[Path], None], pattern: str, count: int
) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    (copy / "my-notes.txt").write_text("mine")
    harm(copy)
    made = write_patient_folder(make_mixed(), out=tmp_path, render=render)
    assert made.state == "mended"
    assert len(made.remade) == count
    assert all(re.fullmatch(pattern, name) for name in made.remade)
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (copy / path.relative_to(folder)).read_bytes(), path.name
    assert (copy / "my-notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert write_patient_folder(make_mixed(), out=tmp_path, render=render).state == "kept"


def test_the_list_names_every_file_with_its_size_and_checksum(folder: Path) -> None:
    rows = json.loads((folder / "files.json").read_text())["files"]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {row["name"] for row in rows} == there - {"files.json"}
    for row in rows:
        data = (folder / row["name"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
