"""The patient's record: dated events, and documents read to text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

EventKind = Literal[
    "condition", "observation", "medication", "procedure", "encounter", "imaging", "immunization", "allergy"
]
Precision = Literal["day", "month", "year"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRange:
    """The normal range of an observation, in the unit of its value; either end may be open."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalEvent:
    """A dated entry of the patient's record.

    Args:
        kind: What sort of entry.
        date: Calendar day; ``None`` if the record gives none. Where it gives a month or a year alone,
            the first day of that, and ``precision`` says so.
        name: What a clinician calls it.
        code: Code in ``system``.
        system: ``"LOINC"``, ``"SNOMED"``, ``"ICD-10"``, ``"RxNorm"``..., may be empty.
        value: A number (in ``unit``, UCUM) or a text.
        reference: Normal range in ``unit``.
        source: File and entry, for evidence.
        precision: How much of ``date`` the record gives.
        end: Last day, of a condition that was resolved or a medication that was stopped.
        status: As in the record, such as ``"active"``, ``"resolved"``, ``"stopped"``; may be empty.
        flag: Interpretation that the record gives: ``"H"``, ``"L"``, ``"HH"``, ``"LL"``, ``"A"``, ``"N"``...
    """

    kind: EventKind
    name: str
    date: dt.date | None = None
    code: str = ""
    system: str = ""
    value: float | str | None = None
    unit: str = ""
    reference: ReferenceRange | None = None
    source: str = ""
    precision: Precision = "day"
    end: dt.date | None = None
    status: str = ""
    flag: str = ""

    @property
    def when(self) -> str:
        """The date as far as the record gives it: ``"2021-03-05"``, ``"2021-03"``, ``"2021"``, or empty."""
        if self.date is None:
            return ""
        return self.date.isoformat()[: {"day": 10, "month": 7, "year": 4}[self.precision]]

    @property
    def abnormal(self) -> bool:
        """Whether the record flags the value, or it lies outside of its reference range."""
        if self.flag:
            return self.flag not in ("N", "NEG", "ND", "IND")
        if self.reference is None or not isinstance(self.value, float | int):
            return False
        low, high = self.reference.low, self.reference.high
        return (low is not None and self.value < low) or (high is not None and self.value > high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A letter or a laboratory report, read to text.

    Args:
        name: File name.
        pages: Text of each page, in reading order; columns of a table are parted by tabs.
        date: Day of the document, if it says.
        reading: ``"text layer"``, or ``"OCR"`` where the text was recognized from a picture.
        source: The file.
        problems: What was noticed, one sentence each.
    """

    name: str
    pages: tuple[str, ...]
    date: dt.date | None = None
    reading: Literal["text layer", "OCR"] = "text layer"
    source: str = ""
    problems: tuple[str, ...] = ()
