from __future__ import annotations

import datetime as dt
import json

from fhir.resources.R4B.bundle import Bundle

from osler.study import ClinicalEvent, ReferenceRange
from osler.writers.fhir_observations import format_observations, observations_bundle

EVENTS = (
    ClinicalEvent(
        kind="observation",
        name="Potassium",
        code="2823-3",
        system="LOINC",
        date=dt.date(2021, 2, 3),
        value=5.8,
        unit="mmol/L",
        reference=ReferenceRange(low=3.5, high=5.1),
        flag="H",
        source="lab.pdf p. 1: Potassium 5.8",
    ),
    ClinicalEvent(kind="observation", name="C-reactive protein", value="<0.3", unit="mg/L"),
    ClinicalEvent(kind="observation", name="HBs antigen", value="negative"),
    ClinicalEvent(kind="medication", name="Amlodipine"),
)


def test_the_bundle_is_valid_and_holds_the_observations() -> None:
    bundle = Bundle.model_validate(json.loads(format_observations(EVENTS)))
    assert len(bundle.entry) == 3
    potassium, crp, antigen = (entry.resource for entry in bundle.entry)
    assert float(potassium.valueQuantity.value) == 5.8
    assert potassium.interpretation[0].coding[0].code == "H"
    assert potassium.code.coding[0].code == "2823-3"
    assert (crp.valueQuantity.comparator, float(crp.valueQuantity.value)) == ("<", 0.3)
    assert antigen.valueString == "negative"


def test_the_same_events_give_the_same_bundle_without_a_subject() -> None:
    assert observations_bundle(EVENTS) == observations_bundle(EVENTS)
    assert all("subject" not in entry["resource"] for entry in observations_bundle(EVENTS)["entry"])
