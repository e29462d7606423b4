"""Each type of resource as the event it means."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from osler.readers.fhir_events import Events, events_of, reference_key
from osler.study import ClinicalEvent
from tests.readers.make_fhir import coded, observation, resource

SNOMED = "http://snomed.info/sct"


def read(one: dict[str, Any], **medications: Any) -> Events:
    return events_of(one, source="f#x", medications=medications)


def only(one: dict[str, Any]) -> ClinicalEvent:
    found = read(one)
    ((_order, event),) = found.found
    assert not found.left_out
    return event


def test_a_condition_that_was_resolved() -> None:
    event = only(
        resource(
            "Condition", code=coded("Sprain of wrist", "70704007", SNOMED), clinicalStatus=coded("", "resolved"),
            onsetDateTime="2016-01-07T22:28:27+00:00", abatementDateTime="2016-01-28",
        )
    )  # fmt: skip
    assert event == ClinicalEvent(
        kind="condition", name="Sprain of wrist", code="70704007", system="SNOMED", date=dt.date(2016, 1, 7),
        end=dt.date(2016, 1, 28), status="resolved", source="f#x",
    )  # fmt: skip


def test_doubt_is_kept() -> None:
    one = resource("Condition", code=coded("Asthma"), clinicalStatus=coded("", "active"),
                   verificationStatus=coded("", "provisional"))  # fmt: skip
    assert only(one).status == "active, provisional"


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (resource("Condition", code=coded("X"), verificationStatus=coded("", "refuted")), "refuted"),
        (resource("Condition", code=coded("X"), verificationStatus=coded("", "entered-in-error")), "entered in error"),
        (resource("Procedure", code=coded("X"), status="not-done"), "not done"),
        (resource("Immunization", vaccineCode=coded("X"), status="not-done"), "not done"),
        (resource("MedicationStatement", medicationCodeableConcept=coded("X"), status="not-taken"), "not taken"),
        (resource("MedicationRequest", medicationCodeableConcept=coded("X"), intent="proposal"), "a plan or an order"),
        (resource("MedicationRequest", medicationCodeableConcept=coded("X"), doNotPerform=True), "an order not"),
        (resource("Encounter", status="planned"), "planned, not something that happened"),
        (resource("CarePlan"), "a plan or an order"),
        (resource("Practitioner"), "about people and places"),
        (resource("Condition"), "it does not say what it is about"),
    ],
)  # fmt: skip
def test_what_did_not_happen_is_no_event(one: dict[str, Any], reason: str) -> None:
    found = read(one)
    assert not found.found
    assert found.left_out[0].startswith(reason)


def test_medications_with_dose_and_reference() -> None:
    medication = {"code": coded("Metformin 500 MG", "861007", "http://www.nlm.nih.gov/research/umls/rxnorm")}
    request = resource("MedicationRequest", status="active", authoredOn="2020-02-01",
                       medicationReference={"reference": "urn:uuid:m1"},
                       dosageInstruction=[{"text": "1 tablet twice daily"}])  # fmt: skip
    ((_o, event),) = read(request, m1=medication).found
    assert (event.name, event.code, event.system) == ("Metformin 500 MG", "861007", "RxNorm")
    assert (event.value, event.status) == ("1 tablet twice daily", "active")
    inside = resource("MedicationAdministration", status="completed", medicationReference={"reference": "#m"},
                      contained=[{"resourceType": "Medication", "id": "m", "code": coded("Heparin")}],
                      effectivePeriod={"start": "2020-01-01", "end": "2020-01-03"})  # fmt: skip
    event = only(inside)
    assert (event.name, event.date, event.end) == ("Heparin", dt.date(2020, 1, 1), dt.date(2020, 1, 3))
    shown = resource("MedicationStatement", medicationReference={"reference": "Medication/7", "display": "Aspirin"})
    assert only(shown).name == "Aspirin"


def test_an_end_before_the_start_is_left_out() -> None:
    found = read(resource("Condition", code=coded("X"), onsetDateTime="2020-01-02", abatementDateTime="2019-01-01"))
    assert found.found[0][1].end is None
    assert found.problems == ["it ends before it starts: the end is left out"]


def test_other_types() -> None:
    imaging = resource(
        "ImagingStudy", started="2020-01-01T10:00:00Z", modality=[{"code": "CT"}], description="CT chest",
        identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    )  # fmt: skip
    event = only(imaging)
    assert (event.kind, event.name, event.value, event.code) == ("imaging", "CT chest", "CT", "1.2.3")
    visit = resource("Encounter", status="finished", period={"start": "2020-01-01", "end": "2020-01-05"},
                     reasonCode=[coded("Cough")], **{"class": {"code": "IMP"}})  # fmt: skip
    event = only(visit)
    assert (event.kind, event.name, event.value, event.end) == (
        "encounter",
        "inpatient encounter",
        "Cough",
        dt.date(2020, 1, 5),
    )
    allergy = resource("AllergyIntolerance", code=coded("Peanut"), reaction=[{"manifestation": [coded("Hives")]}])
    assert (only(allergy).kind, only(allergy).value) == ("allergy", "Hives")
    shot = resource(
        "Immunization", vaccineCode=coded("MMR", "03", "http://hl7.org/fhir/sid/cvx"), occurrenceDateTime="2001"
    )
    assert (only(shot).kind, only(shot).when, only(shot).system) == ("immunization", "2001", "CVX")


def test_blood_pressure_is_two_events() -> None:
    one = observation(
        "Blood Pressure", code="55284-4", valueQuantity=None,
        component=[
            {"code": coded("Diastolic", "8462-4"), "valueQuantity": {"value": 84, "unit": "mmHg"}},
            {"code": coded("Systolic", "8480-6"), "valueQuantity": {"value": 128, "unit": "mmHg"}},
        ],
    )  # fmt: skip
    assert [(event.code, event.value, event.unit) for _o, event in read(one).found] == [
        ("8462-4", 84.0, "mm[Hg]"),
        ("8480-6", 128.0, "mm[Hg]"),
    ]


@pytest.mark.parametrize(
    ("address", "key"),
    [("urn:uuid:a-b", "a-b"), ("Patient/7", "7"), ("https://x.org/fhir/Patient/7/_history/2", "7"), ("", "")],
)
def test_references(address: str, key: str) -> None:
    assert reference_key(address) == key
