"""FHIR bundles are valid R4, hold the facts' values and no identity."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from osler.synth.documents.phrases import exam_sentence
from osler.synth.draw import draw_facts
from osler.synth.facts import PatientFacts
from osler.synth.fhir_bundle import LOINC, Attachments, fhir_bundle
from osler.synth.ontology import load_ontology
from osler.synth.timeline import calendar_date
from tests.synth.documents.people import make_patient

validator = pytest.importorskip("fhir.resources.R4B.bundle", reason="needs fhir.resources")


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [entry["resource"] for entry in bundle["entry"]]
    return [resource for resource in found if resource["resourceType"] == kind]


def laboratory(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """The observations of the laboratory."""
    return [one for one in resources(bundle, "Observation") if one["category"][0]["coding"][0]["code"] == "laboratory"]


@pytest.fixture(scope="module")
def patient() -> PatientFacts:
    return make_patient()


@pytest.fixture(scope="module")
def bundle(patient: PatientFacts) -> dict[str, Any]:
    files = Attachments(labs={0: "documents/a.pdf"}, letter="documents/b.pdf", reports={0: "reports/0.txt"})
    return fhir_bundle(patient, attachments=files)


def test_a_bundle_is_valid(bundle: dict[str, Any]) -> None:
    parsed = validator.Bundle.model_validate_json(json.dumps(bundle))
    assert len(parsed.entry) == len(bundle["entry"])


def test_every_reference_leads_to_an_entry(bundle: dict[str, Any]) -> None:
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls)
    kinds = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}

    def follow(node: Any) -> int:
        if isinstance(node, list):
            return sum(map(follow, node))
        if not isinstance(node, dict):
            return 0
        if "reference" in node:
            assert kinds[node["reference"]] == node["type"]
            return 1
        return sum(map(follow, node.values()))

    assert follow(bundle) > len(urls)


def test_laboratory_values_are_those_of_the_facts(patient: PatientFacts, bundle: dict[str, Any]) -> None:
    codes = {entry.key: entry.loinc for entry in load_ontology().labs}
    expected = {
        (codes[lab.key], calendar_date(lab.day).isoformat()): (
            lab.value,
            lab.unit,
            lab.reference.low,
            lab.reference.high,
            {"low": "L", "normal": "N", "high": "H"}[lab.flag],
        )
        for lab in patient.labs
    }
    found = {}
    for one in laboratory(bundle):
        quantity, ends = one["valueQuantity"], one.get("referenceRange", [{}])[0]
        assert one["code"]["coding"][0]["system"] == LOINC
        found[one["code"]["coding"][0]["code"], one["effectiveDateTime"]] = (
            quantity["value"],
            quantity["code"],
            ends.get("low", {}).get("value"),
            ends.get("high", {}).get("value"),
            one["interpretation"][0]["coding"][0]["code"],
        )
    assert found == expected


def test_diagnoses_drugs_and_exams_are_all_there(patient: PatientFacts, bundle: dict[str, Any]) -> None:
    assert len(resources(bundle, "Condition")) == len(patient.conditions)
    drugs = resources(bundle, "MedicationStatement")
    assert [("end" in drug["effectivePeriod"]) for drug in drugs] == [m.stop is not None for m in patient.medications]
    studies = resources(bundle, "ImagingStudy")
    assert [study["identifier"][0]["value"] for study in studies] == [
        f"urn:oid:{exam.acquisition.study_uid}" for exam in patient.exams
    ]
    assert [study["started"] for study in studies] == [calendar_date(e.day).isoformat() for e in patient.exams]


def test_a_report_carries_its_text(patient: PatientFacts) -> None:
    bundle = fhir_bundle(patient, report_text=lambda exam: f"Text of exam {exam.number}: µ")
    reports = [one for one in resources(bundle, "DiagnosticReport") if "imagingStudy" in one]
    texts = [base64.b64decode(one["presentedForm"][0]["data"]).decode() for one in reports]
    assert texts == [f"Text of exam {exam.number}: µ" for exam in patient.exams]
    assert [one["conclusion"] for one in reports] == [exam_sentence(exam) for exam in patient.exams]


def test_no_identity_is_in_it(bundle: dict[str, Any]) -> None:
    (person,) = resources(bundle, "Patient")
    assert set(person) == {"resourceType", "id", "meta", "identifier", "gender", "birthDate"}
    assert person["birthDate"] == "1937"
    assert person["identifier"][0]["value"] == "OSLER-7-12"
    assert all(entry["resource"]["meta"]["tag"][0]["code"] == "HTEST" for entry in bundle["entry"])


def codings(part: Any) -> list[dict[str, Any]]:
    """Every coding below a part of a bundle."""
    if isinstance(part, list):
        return [coding for one in part for coding in codings(one)]
    if not isinstance(part, dict):
        return []
    return [*part.get("coding", []), *(coding for one in part.values() for coding in codings(one))]


def test_no_code_is_empty_though_some_entries_have_none() -> None:
    ontology = load_ontology()
    bare = {entry.key for entry in (*ontology.findings, *ontology.conditions) if not entry.snomed}
    bare |= {drug.key for drug in ontology.medications if not drug.rxnorm}
    facts = draw_facts(seed=3, patients=np.arange(40))
    patients = [facts.patient(number) for number in range(40)]
    used = {fact.key for patient in patients for exam in patient.exams for fact in exam.findings}
    used |= {entry.key for patient in patients for entry in (*patient.conditions, *patient.medications)}
    assert len(used & bare) > 10
    found = [coding for patient in patients for coding in codings(fhir_bundle(patient)["entry"])]
    assert len(found) > 1000
    assert [coding for coding in found if not coding.get("code") or not coding.get("system")] == []


def test_a_bundle_is_the_same_every_time(patient: PatientFacts) -> None:
    assert json.dumps(fhir_bundle(patient)) == json.dumps(fhir_bundle(patient))
    assert json.dumps(fhir_bundle(patient)) != json.dumps(fhir_bundle(make_patient(number=13)))
