"""FHIR R4 records: resources of one or many files to dated events, documents and whose they are."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from osler.readers.blob import Blob
from osler.readers.fhir_documents import document_of
from osler.readers.fhir_events import events_of, reference_key
from osler.readers.fhir_fields import Json, clean, part, when
from osler.readers.fhir_json import read_resources
from osler.readers.identity import Identity, fhir_identity, groups, hashed
from osler.readers.limits import LIMITS, Limits
from osler.study import ClinicalEvent, Document, LeftOut

_ID = "id"
_DOCUMENTS = ("DiagnosticReport", "DocumentReference")
_SLOW_SECONDS = 1.0


@dataclass(slots=True)
class FhirFile:
    """The resources of one file, before references between files are followed."""

    name: str
    resources: list[tuple[str, Json]] = field(default_factory=list)
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the FHIR files of one opening hold.

    Args:
        events: Oldest first; undated ones last.
        documents: Oldest first; undated ones last.
        identities: One for each patient that is told apart.
        left_out: By resource type and reason, counted.
        problems: What was noticed, one sentence each.
    """

    events: tuple[ClinicalEvent, ...] = ()
    documents: tuple[Document, ...] = ()
    identities: tuple[Identity, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[str, ...] = ()


def read_fhir(blob: Blob, *, limits: Limits = LIMITS) -> FhirFile:
    """Reads the resources of a FHIR file.

    Args:
        blob: A bundle, a resource or NDJSON, gzip or not.
        limits: Bounds.

    Raises:
        DataError: If the file as a whole is no FHIR, damaged or too large.
    """
    resources = read_resources(blob, limits=limits)
    return FhirFile(blob.name, resources.found, Counter(resources.broken))


def build_record(files: Sequence[FhirFile], *, today: dt.date | None = None) -> Record:
    """Turns the resources of all files into one record.

    Args:
        files: What `read_fhir` gave.
        today: The day after which a date lies in the future.
    """
    building = _Building(today=today or dt.date.today())
    for file in files:
        building.broken.update(file.broken)
        for entry, resource in file.resources:
            if resource.get("resourceType") == "Medication":
                building.medications[reference_key(entry)] = resource
            elif resource.get("resourceType") == "Patient":
                building.patient(resource)
    for file in files:
        for entry, resource in file.resources:
            if resource.get("resourceType") not in ("Patient", "Medication"):
                started = time.thread_time()
                building.take(resource, entry=entry, file=file.name)
                if time.thread_time() - started > _SLOW_SECONDS:
                    building.noticed[str(resource["resourceType"])[:40], "slow to read"] += 1
    return building.record()


@dataclass(slots=True)
class _Building:
    """A record while its resources are read."""

    today: dt.date
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    noticed: Counter[tuple[str, str]] = field(default_factory=Counter)
    medications: dict[str, Json] = field(default_factory=dict)
    patients: dict[str, Identity] = field(default_factory=dict)
    births: set[dt.date] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    events: list[tuple[str, ClinicalEvent]] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    seen: dict[tuple[str, str], list[list[object]]] = field(default_factory=dict)

    def patient(self, resource: Json) -> None:
        """Keeps whose record it is, hashed."""
        key = clean(resource.get("id"))
        self.patients[key] = fhir_identity(resource)
        born = when(resource.get("birthDate"))
        if born.date is not None:  # of a year alone, the first day: nothing is called too early that may be right
            self.births.add(born.date)

    def take(self, resource: Json, *, entry: str, file: str) -> None:
        """Reads one resource; whatever is wrong with it is counted."""
        kind = str(resource["resourceType"])[:40]
        source = f"{file}#{entry}"
        if kind in _DOCUMENTS:
            found = document_of(resource, source=source)
            self._count(kind, left_out=[found.left_out], problems=[found.problem])
            if found.document is not None and not self._copy(entry, kind, [replace(found.document, source="")]):
                self._subject(resource)
                self.documents.append(found.document)
            return
        read = events_of(resource, source=source, medications=self.medications)
        self._count(kind, left_out=read.left_out, problems=read.problems)
        if read.found and not self._copy(entry, kind, [replace(event, source="") for _order, event in read.found]):
            self._subject(resource)
            self.events += read.found
            self._check_dates(kind, [event for _order, event in read.found])

    def _copy(self, entry: str, kind: str, content: list[object]) -> bool:
        """Whether the very same entry was read already, as when two exports overlap."""
        if entry.startswith(f"{kind}/entry "):
            return False
        before = self.seen.setdefault((kind, entry), [])
        if content in before:
            self.broken[kind, "a copy of an entry that was read already"] += 1
            return True
        before.append(content)
        return False

    def _count(self, kind: str, *, left_out: Iterable[str], problems: Iterable[str]) -> None:
        self.broken.update((kind, why) for why in left_out if why)
        self.noticed.update((kind, problem) for problem in problems if problem)

    def _subject(self, resource: Json) -> None:
        reference = part(resource, "subject") or part(resource, "patient")
        address = clean(reference.get("reference"))
        value = clean(part(reference, "identifier").get("value"))
        if address and ("/" not in address or "Patient/" in address):
            self.subjects.add(reference_key(address))
        elif value:
            self.subjects.add(f"identifier {value}")

    def _check_dates(self, kind: str, events: list[ClinicalEvent]) -> None:
        dates = [event.date for event in events if event.date is not None]
        if not dates:
            self.noticed[kind, "without a date"] += 1
        elif max(dates) > self.today:
            self.noticed[kind, "dated in the future"] += 1
        elif len(self.births) == 1 and min(dates) < next(iter(self.births)) and events[0].precision == "day":
            self.noticed[kind, "dated before the patient was born"] += 1
        elif events[0].precision != "day":
            self.noticed[kind, f"dated by {events[0].precision} alone: placed on the first day of it"] += 1

    def record(self) -> Record:
        """Sorts everything, in an order that does not depend on the order of the entries."""
        events = sorted(self.events, key=lambda pair: _place(pair[1], order=pair[0]))
        documents = sorted(self.documents, key=lambda one: (one.date or dt.date.max, one.name, one.source))
        return Record(
            events=tuple(event for _order, event in events),
            documents=tuple(documents),
            identities=tuple(_without_id(one) for one in groups(self._identities())),
            left_out=tuple(
                LeftOut(what=what, why=why, count=count) for (what, why), count in sorted(self.broken.items())
            ),
            problems=tuple(
                f"{count} {kind} {'entry' if count == 1 else 'entries'}: {what}."
                for (kind, what), count in sorted(self.noticed.items())
            ),
        )

    def _identities(self) -> list[Identity]:
        """Of the Patient resources, and of subjects that have none; in one export, another id is another patient."""
        known = [_with_id(self.patients[key], key=key) for key in sorted(self.patients)]
        lost = sorted(self.subjects - self.patients.keys())
        return known + [_with_id(Identity(numbers={}), key=key) for key in lost]


def _with_id(identity: Identity, *, key: str) -> Identity:
    return replace(
        identity, numbers={**identity.numbers, _ID: frozenset({hashed("id", key)})} if key else identity.numbers
    )


def _without_id(identity: Identity) -> Identity:
    """Ids count within one export; where there is a number of an issuer, that says more elsewhere."""
    numbers = {issuer: all_ for issuer, all_ in identity.numbers.items() if issuer != _ID}
    return replace(identity, numbers=numbers) if numbers else identity


def _place(event: ClinicalEvent, *, order: str) -> tuple[str, ...]:
    date = event.date.isoformat() if event.date else "9999-99-99"
    parts = (event.kind, event.name, event.code, str(event.value), event.unit, event.status, event.source)
    return (date, order, *parts)
