"""An answer as a FHIR R4 Bundle: a preliminary DiagnosticReport with its Observations and ImagingStudies.

Plain dicts; no patient name. Persons are left to the system that takes the
bundle in: the subject is an opaque key, if the study has one.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import uuid
from typing import Any

from osler import __version__
from osler.readers.fhir_boxes import MM_EDGES, PIXEL_EDGES, place_note
from osler.study import Answer, ClinicalEvent, Finding, FoundBox, Progression, Study
from osler.writers.text import SAFETY_NOTE, format_answer, printable
from osler.writers.wording import change_text, flag_of, range_text

_SYSTEMS = {
    "LOINC": "http://loinc.org",
    "SNOMED": "http://snomed.info/sct",
    "SCT": "http://snomed.info/sct",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ICD-10": "http://hl7.org/fhir/sid/icd-10",
    "ICD-10-CM": "http://hl7.org/fhir/sid/icd-10-cm",
    "RADLEX": "http://radlex.org",
    "UCUM": "http://unitsofmeasure.org",
}
_UCUM = _SYSTEMS["UCUM"]
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_FLAGS = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_MODALITIES = "http://dicom.nema.org/resources/ontology/DCM"
_NAMESPACE = uuid.UUID("5c5b9a3e-9d1d-5b0e-8f7a-0b4f5a1a7e10")

Resource = dict[str, Any]


def observation_resource(event: ClinicalEvent) -> Resource:
    """Returns an observation of the record as a FHIR R4 Observation.

    Args:
        event: With its code, value, unit (UCUM), range and day, as far as it has them.

    Returns:
        Status ``"preliminary"``: it was read by software. A flag says high or low where the range tells.
    """
    resource: Resource = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [_category("laboratory")],
        "code": _concept(event.name, code=event.code, system=event.system),
    }
    if event.date is not None:
        resource["effectiveDateTime"] = event.date.isoformat()
    if isinstance(event.value, str):
        resource["valueString"] = _text(event.value) or "(empty)"
    elif event.value is not None:
        resource["valueQuantity"] = _quantity(event.value, unit=event.unit)
    else:
        resource["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "unknown"}]}
    flag = flag_of(event)
    if flag:
        code, display = {"high": ("H", "High"), "low": ("L", "Low")}[flag]
        resource["interpretation"] = [{"coding": [{"system": _FLAGS, "code": code, "display": display}]}]
    reference = event.reference
    if reference is not None and (reference.low is not None or reference.high is not None):
        ends = {"low": reference.low, "high": reference.high}
        limits: Resource = {
            name: _quantity(value, unit=event.unit) for name, value in ends.items() if value is not None
        }
        resource["referenceRange"] = [{**limits, "text": range_text(event)}]
    if event.source:
        resource["note"] = [{"text": _text(f"Source: {event.source}")}]
    return resource


def format_fhir(answer: Answer, *, study: Study, issued: dt.datetime | None = None) -> str:
    """Returns an answer as the JSON text of a FHIR R4 collection Bundle."""
    return json.dumps(fhir_bundle(answer, study=study, issued=issued), indent=2, ensure_ascii=False)


def fhir_bundle(answer: Answer, *, study: Study, issued: dt.datetime | None = None) -> Resource:
    """Returns an answer as a FHIR R4 collection Bundle of plain dicts.

    Args:
        answer: What to report.
        study: What it is about; its Study Instance UIDs are referred to.
        issued: When; now by default.
    """
    moment = (issued or dt.datetime.now(dt.UTC)).isoformat(timespec="seconds")
    content = json.dumps(answer.to_dict(), sort_keys=True, default=str)
    seed = uuid.uuid5(_NAMESPACE, f"{moment}\n{content}")
    builder = _Builder(seed, subject=_subject(study))
    imaging = [builder.add(resource, common=True) for resource in _imaging_studies(study)]
    results = [builder.add(_finding(finding)) for finding in answer.findings]
    results += [builder.add(_box(box)) for box in answer.boxes]
    results += [builder.add(_change(entry)) for entry in answer.progression]
    results += [builder.add(observation_resource(event)) for event in answer.observations]
    text = printable(format_answer(answer))
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "code": _concept("Diagnostic imaging study", code="18748-4", system="LOINC"),
        "issued": moment,
        "performer": [{"display": f"Osler {__version__}, {_text(answer.model.name)} (software, not a person)"}],
        "conclusion": _conclusion(answer),
        "presentedForm": [
            {
                "contentType": "text/plain; charset=utf-8",
                "language": "en",
                "data": base64.b64encode(text.encode()).decode("ascii"),
                "title": SAFETY_NOTE,
            }
        ],
    }
    if imaging:
        report["imagingStudy"] = [{"reference": name} for name in imaging]
    if results:
        report["result"] = [{"reference": name} for name in results]
    builder.add(report, first=True)
    return {"resourceType": "Bundle", "type": "collection", "timestamp": moment, "entry": builder.entries}


class _Builder:
    """Collects entries under URNs that refer to each other.

    Args:
        seed: From which the URNs follow.
        subject: Who it is about, if known.
    """

    def __init__(self, seed: uuid.UUID, *, subject: Resource | None) -> None:
        self.entries: list[Resource] = []
        self._seed, self._subject = seed, subject

    def add(self, resource: Resource, *, first: bool = False, common: bool = False) -> str:
        """Adds a resource and returns its URN; ``first`` puts it in front, ``common`` needs a subject."""
        name = f"urn:uuid:{uuid.uuid5(self._seed, str(len(self.entries)))}"
        subject = self._subject or ({"display": "The patient of the imaging study"} if common else None)
        whole = resource if subject is None else {**resource, "subject": subject}
        self.entries.insert(0 if first else len(self.entries), {"fullUrl": name, "resource": whole})
        return name


def _subject(study: Study) -> Resource | None:
    if not study.patient:
        return None
    return {"identifier": {"system": "urn:osler:patient-key", "value": study.patient}}


def _imaging_studies(study: Study) -> list[Resource]:
    found = []
    for point in study.timepoints:
        if not point.study_uid:
            continue
        series: dict[str, str] = {}
        for entry in point.series:
            uid = entry.series.partition("#")[0]
            if re.fullmatch(r"[0-9.]{1,64}", uid):
                series.setdefault(uid, entry.modality)
        resource: Resource = {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{point.study_uid}"}],
        }
        if point.date is not None:
            resource["started"] = point.date.isoformat()
        if series:
            resource["series"] = [
                {"uid": uid, "modality": {"system": _MODALITIES, "code": modality or "OT"}}
                for uid, modality in series.items()
            ]
        found.append(resource)
    return found


def _finding(finding: Finding) -> Resource:
    system = "RADLEX" if finding.code.startswith("RID") else ("SNOMED" if finding.code.isdigit() else "")
    resource: Resource = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [_category("imaging")],
        "code": _concept(finding.name, code=finding.code, system=system),
    }
    if finding.probability is None:
        resource["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "unknown"}], "text": "cannot tell"}
    else:
        resource["valueQuantity"] = _quantity(round(100 * finding.probability, 6), unit="%")
    return resource


def _box(box: FoundBox) -> Resource:
    """A box: its score, its edges in mm or px as components, and where it lies as a note."""
    resource: Resource = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [_category("imaging")],
        "code": _concept(box.label),
        "valueQuantity": _quantity(round(100 * box.score, 6), unit="%"),
    }
    edges: list[tuple[str, float, str]] = []
    if box.patient is not None:
        for (lowest, highest), low, high in zip(MM_EDGES, box.patient.low, box.patient.high, strict=True):
            edges += [(lowest, low, "mm"), (highest, high, "mm")]
    if box.pixel is not None:
        pixel = box.pixel
        sides = zip(PIXEL_EDGES, (pixel.x0, pixel.y0, pixel.x1, pixel.y1), strict=True)
        edges += [(name, value, "{pixels}") for name, value in sides]
    if edges:
        resource["component"] = [
            {"code": {"text": name}, "valueQuantity": _quantity(round(value, 4), unit=unit)}
            for name, value, unit in edges
        ]
    resource["note"] = [{"text": _text(place_note(box))}]
    return resource


def _change(entry: Progression) -> Resource:
    resource: Resource = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [_category("imaging")],
        "code": _concept(f"{entry.finding}: change"),
        "valueCodeableConcept": {"text": entry.change},
        "note": [{"text": _text(f"{entry.finding}: {change_text(entry)}")}],
    }
    if entry.later is not None:
        resource["effectiveDateTime"] = entry.later.isoformat()
    measured = [("before", entry.before), ("now", entry.now)]
    components = [
        {
            "code": {"text": _text(f"{entry.measure or 'measure'}, {when}")},
            "valueQuantity": _quantity(v, unit=entry.unit),
        }
        for when, v in measured
        if v is not None
    ]
    if entry.days is not None:
        components.append({"code": {"text": "time between"}, "valueQuantity": _quantity(entry.days, unit="d")})
    if components:
        resource["component"] = components
    return resource


def _conclusion(answer: Answer) -> str:
    impression = " ".join(one.text for one in answer.statements if one.section.casefold() == "impression")
    return _text(impression or answer.text) or "(no text)"


def _category(code: str) -> Resource:
    return {"coding": [{"system": _CATEGORY, "code": code}]}


def _concept(name: str, *, code: str = "", system: str = "") -> Resource:
    concept: Resource = {"text": _text(name) or "unnamed"}
    known = _SYSTEMS.get(system.upper())
    bare = re.sub(r"\s+", "", code)
    if bare:
        coding: Resource = {"code": bare, "display": concept["text"]}
        if known or re.match(r"(https?://|urn:)\S+$", system):
            coding["system"] = known or system
        concept["coding"] = [coding]
    return concept


def _quantity(value: float, *, unit: str) -> Resource:
    quantity: Resource = {"value": value}
    if unit:
        quantity |= {"unit": _text(unit), "system": _UCUM, "code": re.sub(r"\s+", "", unit)}
    return quantity


def _text(text: str) -> str:
    return printable(text).strip()
