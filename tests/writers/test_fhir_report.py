"""FHIR bundles: valid for fhir.resources, complete, and without names."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.observation import Observation

from osler.study import ClinicalEvent, ReferenceRange, Study
from osler.writers.fhir_report import fhir_bundle, format_fhir, observation_resource
from osler.writers.text import SAFETY_NOTE
from tests.writers.answers import full_answer, least_answer
from tests.writers.imaging import answer_about, ct_study

_MOMENT = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("make", [full_answer, least_answer])
def test_bundles_are_valid_and_preliminary(make: Any) -> None:
    bundle = fhir_bundle(make(), study=Study(timepoints=()), issued=_MOMENT)
    Bundle.model_validate(bundle)
    (report,) = resources(bundle, "DiagnosticReport")
    assert (report["status"], report["issued"]) == ("preliminary", "2024-05-06T07:08:09+00:00")
    assert all(one["status"] == "preliminary" for one in resources(bundle, "Observation"))
    names = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(names) == len(bundle["entry"])
    assert {entry["reference"] for entry in report.get("result", ())} <= names
    text = base64.b64decode(report["presentedForm"][0]["data"]).decode()
    assert make().text in text
    assert SAFETY_NOTE in text


def test_the_imaging_study_is_named_by_uid_and_the_patient_is_not_named(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    bundle = fhir_bundle(answer_about(study), study=study, issued=_MOMENT)
    Bundle.model_validate(bundle)
    (imaging,) = resources(bundle, "ImagingStudy")
    assert imaging["identifier"][0]["value"] == "urn:oid:1.2.3.1"
    assert imaging["series"] == [{"uid": "1.2.3.2", "modality": imaging["series"][0]["modality"]}]
    text = json.dumps(bundle)
    assert not any(name in text for name in ("Doe", "Jane", "SECRET-1"))


def test_findings_boxes_changes_and_values_are_observations() -> None:
    found = resources(fhir_bundle(full_answer(), study=Study(timepoints=())), "Observation")
    by_name = {one["code"]["text"]: one for one in found}
    assert by_name["effusion"]["valueQuantity"] == {
        "value": 25.0, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%",
    }  # fmt: skip
    assert by_name["effusion"]["code"]["coding"][0]["system"] == "http://radlex.org"
    assert by_name["edema"]["dataAbsentReason"]["text"] == "cannot tell"
    edges = [part["valueQuantity"]["value"] for part in by_name["nodule"]["component"]]
    assert edges == [-1.0, 1.0, -2.0, 2.0, -3.0, 3.0, 1.0, 2.0, 3.0, 4.5]
    assert by_name["nodule: change"]["valueCodeableConcept"]["text"] == "worsened"
    assert [part["valueQuantity"]["value"] for part in by_name["nodule: change"]["component"]] == [8.0, 12.5, 90]


@pytest.mark.parametrize(("value", "flag"), [(12.0, "H"), (1.0, "L"), (4.0, None), ("positive", None), (None, None)])
def test_an_observation_has_value_range_and_flag(value: float | str | None, flag: str | None) -> None:
    event = ClinicalEvent(
        kind="observation",
        name="Potassium",
        code="2823-3",
        system="LOINC",
        value=value,
        unit="mmol/L",
        date=dt.date(2021, 9, 5),
        reference=ReferenceRange(low=3.5, high=5.1),
        source="lab.pdf#1",
    )
    resource = observation_resource(event)
    Observation.model_validate(resource)
    found = resource.get("interpretation", [{"coding": [{"code": None}]}])[0]["coding"][0]["code"]
    assert found == flag
    assert resource["code"]["coding"][0]["system"] == "http://loinc.org"
    assert resource["referenceRange"][0]["text"] == "3.5 to 5.1"


def test_odd_texts_stay_valid() -> None:
    odd = "x\x1b[2J\n" + "心" * 300
    event = ClinicalEvent(kind="observation", name=odd, code=" a b ", system="somewhere", value=odd, source=odd)
    Observation.model_validate(observation_resource(event))
    answer = dataclasses.replace(full_answer(), text=odd, observations=(event,))
    Bundle.model_validate(json.loads(format_fhir(answer, study=Study(timepoints=()))))
