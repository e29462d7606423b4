"""The slide in a patient's folder: a pyramid, its cells and boxes beside it, told as the facts say."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from osler.errors import RequestError
from osler.study import Box2D
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, PatientFacts
from osler.synth.histology import slide_spec
from osler.synth.histology.from_facts import slide_lesion
from osler.synth.patient_folder import exam_name, write_patient_folder
from osler.synth.rendered import Rendered, RenderedField
from osler.synth.renderers import renderer
from osler.synth.slide_files import write_slide_files

tifffile = pytest.importorskip("tifffile", reason="needs the synth extra")


def with_slide(*, lesion: bool) -> tuple[PatientFacts, Exam]:
    """The first patient with a histology exam that has, or has no, bordered finding."""
    for number in range(3000):
        patient = draw_patient(seed=7, number=number)
        for exam in patient.exams:
            if exam.modality == "SM" and (slide_lesion(exam) is not None) == lesion:
                return patient, exam
    raise AssertionError("no such patient")


def small(patient: PatientFacts, exam: Exam) -> Rendered | None:
    """The slide alone, over a small area."""
    if exam.modality != "SM":
        return None
    spec = slide_spec(patient, exam=exam, side_mm=700 * 0.0005)
    return RenderedField(pixels=np.zeros((8, 8, 3), np.uint8), pixel_um=0.5, spec=spec)


def test_a_patients_folder_holds_the_slide_and_what_it_shows(tmp_path: Path) -> None:
    patient, exam = with_slide(lesion=True)
    folder = write_patient_folder(patient, out=tmp_path, render=small).path
    place = folder / "images" / exam_name(exam)
    record = json.loads((place / "slide.json").read_text())
    with tifffile.TiffFile(place / "slide.tif") as file:
        levels = file.series[0].levels
        assert levels[0].shape == (record["height"], record["width"], 3)
        assert len(levels) > 1, "a pyramid"
    fact = slide_lesion(exam)
    assert fact is not None
    assert record["finding"] == fact.key
    assert record["cells"]["tumor"] > 0
    assert record["tumor_boxes_px"]
    boxes = [box for box in json.loads((folder / "boxes.json").read_text()) if box["exam"] == exam.number]
    assert [[box["x0"], box["y0"], box["x1"], box["y1"]] for box in boxes] == record["tumor_boxes_px"]
    assert {(box["finding"], box["lesion"]) for box in boxes} == {(fact.key, fact.lesion)}
    for pixels, mm in zip(record["tumor_boxes_px"], record["tumor_boxes_mm"], strict=True):
        assert np.allclose(np.array(pixels) * record["pixel_mm"], mm, atol=1e-3)
        Box2D(x0=pixels[0], y0=pixels[1], x1=pixels[2], y1=pixels[3])
        assert 0 <= pixels[0] < pixels[2] <= record["width"]
        assert 0 <= pixels[1] < pixels[3] <= record["height"]
    bundle = json.loads((folder / "record.fhir.json").read_text())
    studies = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "ImagingStudy"]
    assert studies[exam.number]["numberOfInstances"] == 1
    listed = {row["name"] for row in json.loads((folder / "files.json").read_text())["files"]}
    assert f"images/{exam_name(exam)}/slide.tif" in listed


def test_a_slide_without_a_lesion_has_cells_and_no_boxes(tmp_path: Path) -> None:
    patient, exam = with_slide(lesion=False)
    field = small(patient, exam)
    assert isinstance(field, RenderedField)
    assert field.spec is not None
    assert write_slide_files(field.spec, exam=exam, folder=tmp_path) == ()
    record = json.loads((tmp_path / "slide.json").read_text())
    assert (record["finding"], record["tumor_boxes_px"], record["tumor_mm2"]) == (None, [], 0)
    assert sum(record["cells"].values()) > 0


def test_a_full_disk_leaves_no_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient, _ = with_slide(lesion=True)

    def full(path: Path, *, data: bytes) -> Path:
        del path, data
        raise RequestError("Cannot write.") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("osler.synth.histology.slide.write_atomic", full)
    with pytest.raises(RequestError, match=r"Cannot write .*OSLER-7-\d+': No space left on device.*Free some space"):
        write_patient_folder(patient, out=tmp_path, render=small)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("matrix", "side"), [(64, 1024), (256, 4096)])
def test_a_slide_has_at_most_16_times_the_pixels_of_a_volume(matrix: int, side: int) -> None:
    patient, exam = with_slide(lesion=True)
    field = renderer(matrix=matrix)(patient, exam)
    assert isinstance(field, RenderedField)
    assert field.spec is not None
    assert max(field.spec.pixels) == side
    assert field.pixels.shape == (2 * matrix, 2 * matrix, 3)
