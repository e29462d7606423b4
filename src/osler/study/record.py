"""The patient's record: dated events, and documents read to text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

EventKind = Literal["condition", "observation", "medication", "procedure", "encounter", "imaging"]


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
        date: Calendar day; ``None`` if the record gives none.
        name: What a clinician calls it.
        code: Code in ``system``.
        system: ``"LOINC"``, ``"SNOMED"``, ``"ICD-10"``, ``"RxNorm"``..., may be empty.
        value: A number (in ``unit``, UCUM) or a text.
        reference: Normal range in ``unit``.
        source: File and entry, for evidence.
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
