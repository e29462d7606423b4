"""From one FHIR R4 resource to the dated events it means, or the reason why it means none.

Source: FHIR R4 (4.0.1), https://hl7.org/fhir/R4/resourcelist.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from osler.readers.fhir_fields import Coded, Json, When, clean, coded, codes, dicts, first_when, number, part, unit_of
from osler.readers.fhir_observations import measurements
from osler.study import ClinicalEvent, EventKind

_BILLING = "billing, which repeats what other entries say"
_PERSON = "about people and places, not about the course of the patient"
_PLAN = "a plan or an order, not something that happened"
NOT_EVENTS: Mapping[str, str] = {
    **dict.fromkeys(("Claim", "ClaimResponse", "ExplanationOfBenefit", "Coverage", "Account", "Invoice"), _BILLING),
    **dict.fromkeys(
        ("Organization", "Practitioner", "PractitionerRole", "Location", "RelatedPerson", "Person", "Group", "Device",
         "HealthcareService", "Endpoint", "CareTeam", "InsurancePlan"),
        _PERSON,
    ),
    **dict.fromkeys(
        ("CarePlan", "Goal", "ServiceRequest", "Appointment", "Task", "NutritionOrder", "DeviceRequest",
         "RequestGroup", "ImmunizationRecommendation", "CommunicationRequest", "Schedule", "Slot"),
        _PLAN,
    ),
    "FamilyMemberHistory": "about relatives, not about the patient",
    "OperationOutcome": "a message of the server",
    "Provenance": "about how the record was made",
    "AuditEvent": "about how the record was used",
    "Consent": "about permissions",
}  # fmt: skip
_REFUSED = {
    "entered-in-error": "entered in error, as the record says",
    "not-done": "not done, as the record says",
    "not-taken": "not taken, as the record says",
    "cancelled": "cancelled, as the record says",
    "refuted": "refuted, as the record says",
    "draft": "a draft",
    "planned": "planned, not something that happened",
    "preparation": "planned, not something that happened",
    "registered": "without a result yet",
}
_MEDICATION_PLANS = ("proposal", "plan", "option")


@dataclass(slots=True)
class Events:
    """What a resource gave.

    Args:
        found: ``(order within a day, event)``.
        left_out: Why something of it was not taken.
        problems: What was noticed about what was taken.
    """

    found: list[tuple[str, ClinicalEvent]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def events_of(resource: Json, *, source: str, medications: Mapping[str, Json]) -> Events:
    """Reads the events of a resource.

    Args:
        resource: Of any type.
        source: File and entry.
        medications: Medication resources by their references.
    """
    out = Events()
    kind = resource.get("resourceType")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        out.left_out.append(NOT_EVENTS.get(str(kind), "of a type that is not read"))
        return out
    refusal = refused(resource)
    if refusal:
        out.left_out.append(refusal)
        return out
    reader(_Entry(resource=resource, source=source, medications=medications, out=out))
    return out


def refused(resource: Json) -> str:
    """Why a resource counts as nothing that happened; empty if it does not."""
    said = {clean(resource.get("status")).lower()} | codes(resource.get("verificationStatus"))
    for word, reason in _REFUSED.items():
        if word in said:
            return reason
    if resource.get("doNotPerform") is True:
        return "an order not to give it"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A resource on its way to events."""

    resource: Json
    source: str
    medications: Mapping[str, Json]
    out: Events

    def add(self, kind: EventKind, name: Coded, start: When, **fields: Any) -> None:
        """Adds an event, unless it has no name."""
        if not name.name:
            self.out.left_out.append("it does not say what it is about")
            return
        if start.problem:
            self.out.problems.append(f"{start.problem}: kept without a date")
        end: When | None = fields.pop("ends", None)
        if end is not None and end.date is not None and start.date is not None and end.date < start.date:
            self.out.problems.append("it ends before it starts: the end is left out")
            end = None
        event = ClinicalEvent(
            kind=kind,
            name=name.name,
            code=name.code,
            system=name.system,
            date=start.date,
            precision=start.precision,
            end=None if end is None else end.date,
            source=self.source,
            **fields,
        )
        self.out.found.append((start.order, event))


def _observation(entry: _Entry) -> None:
    start = first_when(
        entry.resource,
        "effectiveDateTime",
        "effectivePeriod.start",
        "effectiveInstant",
        "effectivePeriod.end",
        "issued",
    )
    status = clean(entry.resource.get("status"), most=40)
    measured = measurements(entry.resource)
    entry.out.left_out += measured.left_out
    for one in measured.found:
        entry.out.problems += one.problems
        entry.add(
            "observation", one.coded, start, value=one.value, unit=one.unit, reference=one.reference, flag=one.flag,
            status="" if status == "final" else status,
        )  # fmt: skip


def _condition(entry: _Entry) -> None:
    resource = entry.resource
    status = _one(codes(resource.get("clinicalStatus")))
    doubt = _one(codes(resource.get("verificationStatus")) & {"unconfirmed", "provisional", "differential"})
    entry.add(
        "condition",
        coded(resource.get("code")),
        first_when(resource, "onsetDateTime", "onsetPeriod.start", "recordedDate", "assertedDate"),
        ends=first_when(resource, "abatementDateTime", "abatementPeriod.end", "abatementPeriod.start"),
        status=", ".join(word for word in (status, doubt) if word),
    )


def _medication(entry: _Entry) -> None:
    resource = entry.resource
    if clean(resource.get("intent")).lower() in _MEDICATION_PLANS:
        entry.out.left_out.append(_PLAN)
        return
    name = coded(resource.get("medicationCodeableConcept"))
    if not name.name:
        name, why = _referenced(resource, medications=entry.medications)
        if why:
            entry.out.left_out.append(why)
            return
    entry.add(
        "medication",
        name,
        first_when(resource, "authoredOn", "effectiveDateTime", "effectivePeriod.start", "dateAsserted"),
        ends=first_when(resource, "effectivePeriod.end"),
        status=clean(resource.get("status"), most=40),
        value=_dose(resource),
    )


def _referenced(resource: Json, *, medications: Mapping[str, Json]) -> tuple[Coded, str]:
    reference = part(resource, "medicationReference")
    address = clean(reference.get("reference"))
    if address.startswith("#"):
        inside = [one for one in dicts(resource.get("contained")) if one.get("id") == address[1:]]
        found = inside[0] if inside else None
    else:
        found = medications.get(reference_key(address))
    name = coded(found.get("code")) if found is not None else Coded()
    if not name.name:
        name = Coded(name=clean(reference.get("display")))
    return name, "" if name.name else "its medication is a reference that leads nowhere"


def _dose(resource: Json) -> str | None:
    texts = []
    for dosage in [*dicts(resource.get("dosageInstruction")), *dicts(resource.get("dosage"))]:
        dose = next((part(rate, "doseQuantity") for rate in dicts(dosage.get("doseAndRate"))), part(dosage, "dose"))
        amount = number(dose.get("value"))
        shown = f"{amount:g} {unit_of(dose)}".strip() if amount is not None else ""
        texts.append(
            clean(dosage.get("text")) or shown or ("as needed" if dosage.get("asNeededBoolean") is True else "")
        )
    return clean("; ".join(text for text in texts if text)) or None


def _procedure(entry: _Entry) -> None:
    resource = entry.resource
    start = first_when(resource, "performedDateTime", "performedPeriod.start", "performedPeriod.end")
    status = clean(resource.get("status"), most=40)
    entry.add("procedure", coded(resource.get("code")), start, ends=first_when(resource, "performedPeriod.end"),
              status="" if status == "completed" else status)  # fmt: skip


def _encounter(entry: _Entry) -> None:
    resource = entry.resource
    names = [coded(one) for one in dicts(resource.get("type"))] + [coded(part(resource, "serviceType"))]
    setting = part(resource, "class")
    shown = clean(setting.get("display")) or {"AMB": "ambulatory", "EMER": "emergency", "IMP": "inpatient"}.get(
        clean(setting.get("code")), clean(setting.get("code"))
    )
    name = next((one for one in names if one.name), Coded(name=f"{shown} encounter" if shown else "encounter"))
    reasons = [coded(one).name for one in dicts(resource.get("reasonCode"))]
    entry.add(
        "encounter",
        name,
        first_when(resource, "period.start", "period.end"),
        ends=first_when(resource, "period.end"),
        value=clean("; ".join(reason for reason in reasons if reason)) or None,
    )


def _imaging(entry: _Entry) -> None:
    resource = entry.resource
    series = dicts(resource.get("series"))
    kinds = {clean(one.get("code"), most=16) for one in dicts(resource.get("modality"))}
    kinds |= {clean(part(one, "modality").get("code"), most=16) for one in series}
    modality = "/".join(sorted(kinds - {""}))
    sites = {clean(part(one, "bodySite").get("display")) for one in series} - {""}
    name = clean(resource.get("description")) or clean(" ".join([modality, *sorted(sites)])) or "imaging"
    uids = [clean(one.get("value"), most=80).removeprefix("urn:oid:") for one in dicts(resource.get("identifier"))
            if clean(one.get("system")) == "urn:dicom:uid"]  # fmt: skip
    entry.add("imaging", Coded(name, uids[0] if uids else "", "DICOM" if uids else ""), first_when(resource, "started"),
              value=modality or None)  # fmt: skip


def _immunization(entry: _Entry) -> None:
    start = first_when(entry.resource, "occurrenceDateTime", "recorded")
    entry.add("immunization", coded(entry.resource.get("vaccineCode")), start)


def _allergy(entry: _Entry) -> None:
    resource = entry.resource
    signs = [coded(sign).name for one in dicts(resource.get("reaction")) for sign in dicts(one.get("manifestation"))]
    entry.add(
        "allergy",
        coded(resource.get("code")),
        first_when(resource, "onsetDateTime", "onsetPeriod.start", "recordedDate"),
        status=_one(codes(resource.get("clinicalStatus"))),
        value=clean("; ".join(sign for sign in signs if sign)) or None,
    )


def reference_key(address: str) -> str:
    """What two spellings of a reference share: the last part of the address."""
    return address.split("/_history/")[0].rsplit("/", 1)[-1].removeprefix("urn:uuid:").removeprefix("urn:oid:")


def _one(words: set[str]) -> str:
    return min(words) if words else ""


_READERS: Mapping[str, Callable[[_Entry], None]] = {
    "Observation": _observation,
    "Condition": _condition,
    "MedicationRequest": _medication,
    "MedicationStatement": _medication,
    "MedicationAdministration": _medication,
    "MedicationDispense": _medication,
    "Procedure": _procedure,
    "Encounter": _encounter,
    "ImagingStudy": _imaging,
    "Immunization": _immunization,
    "AllergyIntolerance": _allergy,
}
