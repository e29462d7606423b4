"""Values read from documents as FHIR R4 Observations in a collection Bundle, as plain dicts."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any

from osler.study import ClinicalEvent

_UCUM = "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_COMPARED = re.compile(r"^(<=|>=|<|>)\s*(\d+(?:\.\d+)?)$")
_NAMESPACE = uuid.UUID("9b0e4c54-3a52-5a64-9c1b-0c6b7b5d2f10")


def observations_bundle(events: Iterable[ClinicalEvent]) -> dict[str, Any]:
    """Builds a Bundle of the observations among events; it names no patient.

    Args:
        events: Others than observations are passed over.
    """
    entries = []
    for number, event in enumerate(event for event in events if event.kind == "observation"):
        name = uuid.uuid5(_NAMESPACE, f"{number} {event.source} {event.code} {event.when} {event.value}")
        entries.append({"fullUrl": f"urn:uuid:{name}", "resource": observation(event)})
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def format_observations(events: Iterable[ClinicalEvent]) -> str:
    """Returns `observations_bundle` as JSON text."""
    return json.dumps(observations_bundle(events), indent=2, ensure_ascii=False)


def observation(event: ClinicalEvent) -> dict[str, Any]:
    """Builds one Observation: preliminary, since software read it from a document."""
    code: dict[str, Any] = {"text": event.name}
    if event.code and event.system == "LOINC":
        code["coding"] = [{"system": "http://loinc.org", "code": event.code, "display": event.name}]
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [{"coding": [{"system": _CATEGORY, "code": "laboratory"}]}],
        "code": code,
        **_value(event),
    }
    if event.when:
        resource["effectiveDateTime"] = event.when
    if event.reference is not None:
        ends = {"low": event.reference.low, "high": event.reference.high}
        limits = {end: _quantity(value, unit=event.unit) for end, value in ends.items() if value is not None}
        if limits:
            resource["referenceRange"] = [limits]
    if event.flag:
        resource["interpretation"] = [{"coding": [{"system": _INTERPRETATION, "code": event.flag}]}]
    if event.source:
        resource["note"] = [{"text": f"Read from {event.source}"}]
    return resource


def _value(event: ClinicalEvent) -> dict[str, Any]:
    if isinstance(event.value, float | int):
        return {"valueQuantity": _quantity(event.value, unit=event.unit)}
    if event.value is None:
        return {}
    match = _COMPARED.match(event.value)
    if match is None:
        return {"valueString": event.value}
    return {"valueQuantity": {**_quantity(float(match[2]), unit=event.unit), "comparator": match[1]}}


def _quantity(value: float, *, unit: str) -> dict[str, Any]:
    quantity: dict[str, Any] = {"value": value}
    if unit:
        quantity |= {"unit": unit, "system": _UCUM, "code": unit}
    return quantity
