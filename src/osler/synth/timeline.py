"""One patient along time: shifted dates, diagnoses and drugs as spans, laboratory values as series.

Facts count in days since the first exam. Only what leaves Osler as files of one
patient (DICOM, FHIR, letters) needs calendar dates: day 0 is then 1 January 2000,
for every patient, and each folder says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from osler.synth.facts import Lab, PatientFacts
from osler.synth.ontology import load_ontology

EPOCH = dt.date(2000, 1, 1)
"""The shifted date of day 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A diagnosis or a drug over time.

    Args:
        kind: Which of both.
        key: Of the ontology. name: For people.
        start: Day. stop: Day after which it is over; ``None`` if it goes on.
    """

    kind: Literal["condition", "medication"]
    key: str
    name: str
    start: int
    stop: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSeries:
    """The values of one test over time, oldest first."""

    key: str
    name: str
    values: tuple[Lab, ...]

    @property
    def alarm(self) -> float:
        """How far the worst value lies outside its reference range, in widths of the range; 0 if none does."""
        return max(map(_outside, self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What a timeline shows.

    Args:
        first: Day on which the drawing starts. last: Day on which it ends.
        conditions: In order of onset. medications: In order of start.
        labs: The most remarkable first.
    """

    first: int
    last: int
    conditions: tuple[Span, ...]
    medications: tuple[Span, ...]
    labs: tuple[LabSeries, ...]


def calendar_date(day: int) -> dt.date:
    """The shifted date of a day."""
    return EPOCH + dt.timedelta(days=day)


def patient_id(patient: PatientFacts) -> str:
    """The synthetic identifier: ``"OSLER-<seed>-<number>"``."""
    return f"OSLER-{patient.seed}-{patient.number}"


def age_on(patient: PatientFacts, *, day: int) -> int:
    """Age in whole years on a day: as the exam of that day says, else counted from the nearest exam before it."""
    start, age = 0, patient.age
    for exam in patient.exams:
        if exam.age is not None and exam.day <= max(day, 0):
            start, age = exam.day, exam.age
    return age + int((day - start) // 365.25)


def sentence_case(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def build_timeline(patient: PatientFacts) -> Timeline:
    """Puts a patient's record in order of time, with names for people."""
    ontology = load_ontology()
    conditions = {entry.key: entry.name for entry in ontology.conditions}
    drugs = {entry.key: entry.name for entry in ontology.medications}
    tests = {entry.key: entry.name for entry in ontology.labs}
    by_test: dict[str, list[Lab]] = {}
    for lab in sorted(patient.labs, key=lambda lab: lab.day):
        by_test.setdefault(lab.key, []).append(lab)
    series = [
        LabSeries(key=key, name=sentence_case(tests[key]), values=tuple(values)) for key, values in by_test.items()
    ]
    days = [exam.day for exam in patient.exams] + [lab.day for lab in patient.labs]
    return Timeline(
        first=min(days, default=0),
        last=max(days, default=0),
        conditions=_ordered(
            Span(kind="condition", key=one.key, name=sentence_case(conditions[one.key]), start=one.onset, stop=None)
            for one in patient.conditions
        ),
        medications=_ordered(
            Span(kind="medication", key=one.key, name=sentence_case(drugs[one.key]), start=one.start, stop=one.stop)
            for one in patient.medications
        ),
        labs=tuple(sorted(series, key=lambda one: (-one.alarm, one.key))),
    )


def _ordered(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: (span.start, span.key)))


def _outside(lab: Lab) -> float:
    low, high = lab.reference.low, lab.reference.high
    width = (high or low or 1.0) - (low or 0.0) if high is not None else (low or 1.0)
    over = 0.0 if high is None else lab.value - high
    under = 0.0 if low is None else low - lab.value
    return max(over, under, 0.0) / (width or 1.0)
