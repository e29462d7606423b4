"""Boxes survive the FHIR bundle that holds them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from osler.errors import FileFormatError
from osler.readers.fhir_boxes import boxes_of_bundle
from osler.study import FoundBox
from osler.tasks.measurements import read_drawn
from osler.writers.fhir_report import format_fhir
from tests.writers.imaging import answer_about, ct_study


def numbers(box: FoundBox) -> list[float]:
    edges: list[float] = [box.score]
    if box.patient is not None:
        edges += [*box.patient.low, *box.patient.high]
    if box.pixel is not None:
        edges += [box.pixel.x0, box.pixel.y0, box.pixel.x1, box.pixel.y1]
    return edges


def test_boxes_come_back_in_mm_and_in_pixels(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = answer_about(study)
    assert any(box.patient is not None for box in answer.boxes)
    assert any(box.pixel is not None for box in answer.boxes)
    back = boxes_of_bundle(json.loads(format_fhir(answer, study=study)))
    assert [(box.label, box.series, box.slice) for box in back] == [
        (box.label, box.series, box.slice) for box in answer.boxes
    ]
    for one, other in zip(back, answer.boxes, strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=1e-4)


def test_a_bundle_is_measured_like_the_boxes_in_it(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = answer_about(study)
    (tmp_path / "a.json").write_text(format_fhir(answer, study=study), encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps(answer.to_dict()), encoding="utf-8")
    from_bundle, from_answer = (read_drawn(tmp_path / name, point=study.timepoints[0]) for name in ("a.json", "b.json"))
    assert [(one.finding, one.unit) for one in from_bundle] == [(one.finding, one.unit) for one in from_answer]
    assert [one.value for one in from_bundle] == pytest.approx([one.value for one in from_answer], abs=1e-3)


def test_a_broken_box_is_said_and_other_observations_are_passed_over(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = answer_about(study)
    bundle = json.loads(format_fhir(answer, study=study))
    boxed = [
        entry["resource"] for entry in bundle["entry"] if "Box on" in json.dumps(entry["resource"].get("note", ""))
    ]
    boxed[0]["component"].pop()
    (tmp_path / "a.json").write_text(json.dumps(bundle), encoding="utf-8")
    with pytest.raises(FileFormatError, match="a box of the bundle is not one"):
        read_drawn(tmp_path / "a.json", point=study.timepoints[0])
    none = format_fhir(dataclasses.replace(answer, boxes=()), study=study)
    assert boxes_of_bundle(json.loads(none)) == ()
