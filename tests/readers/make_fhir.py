"""FHIR resources for tests, made in code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MRN = "urn:test:mrn"


def patient(number: str = "P-1", *, system: str = MRN, birth: str = "1960-05-02", identity: str = "pat-1") -> Json:
    """A patient with a number, a name and a birth date."""
    return {
        "resourceType": "Patient",
        "id": identity,
        "identifier": [{"system": system, "value": number}],
        "name": [{"family": "Roe", "given": ["Jane"]}],
        "birthDate": birth,
    }


def coded(text: str, code: str = "", system: str = "http://loinc.org") -> Json:
    """A CodeableConcept."""
    return {"text": text} | ({"coding": [{"system": system, "code": code}]} if code else {})


def observation(
    name: str = "Creatinine",
    value: Any = 1.4,
    *,
    unit: str = "mg/dL",
    code: str = "2160-0",
    date: str = "2021-03-05",
    identity: str = "",
    subject: str = "Patient/pat-1",
    **fields: Any,
) -> Json:
    """An observation with a quantity."""
    made: Json = {
        "resourceType": "Observation",
        "status": "final",
        "code": coded(name, code),
        "subject": {"reference": subject},
        "effectiveDateTime": date,
        "valueQuantity": {"value": value, "unit": unit},
        **fields,
    }
    made |= {"id": identity} if identity else {}
    return {key: value for key, value in made.items() if value is not None}


def resource(kind: str, **fields: Any) -> Json:
    """A resource of any kind about the patient."""
    return {"resourceType": kind, "subject": {"reference": "Patient/pat-1"}, **fields}


def bundle(*resources: Json) -> Json:
    """A bundle of resources."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"urn:uuid:{one.get('id', n)}", "resource": one} for n, one in enumerate(resources)],
    }


def write(path: Path, *resources: Json) -> Path:
    """Writes a bundle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bundle(*resources)), encoding="utf-8")
    return path
