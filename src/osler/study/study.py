"""One patient: imaging at dated time points, and dated events of the record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from osler.study.pixels import Image, LeftOut, Series, Volume

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
class TimePoint:
    """Everything imaged on one visit.

    Args:
        series: Volumes and images.
        date: Day of the study, if known.
        study_uid: Study Instance UID, may be empty.
        description: Study description, as in the file.
    """

    series: tuple[Series, ...]
    date: dt.date | None = None
    study_uid: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What Osler knows of one patient.

    Args:
        timepoints: Oldest first; undated ones last.
        events: Dated entries of the record.
        patient: An opaque key that tells patients apart (never printed or logged); may be empty.
        source: The path or address that was opened.
        left_out: What was found and not taken, with the reason.
        problems: What was noticed about the whole.
    """

    timepoints: tuple[TimePoint, ...]
    events: tuple[ClinicalEvent, ...] = ()
    patient: str = ""
    source: str = ""
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[str, ...] = ()

    def series(self) -> Iterator[Series]:
        """All series, oldest time point first."""
        for timepoint in self.timepoints:
            yield from timepoint.series

    def volumes(self) -> tuple[Volume, ...]:
        """The volumes among the series."""
        return tuple(series for series in self.series() if isinstance(series, Volume))

    def images(self) -> tuple[Image, ...]:
        """The single images among the series."""
        return tuple(series for series in self.series() if isinstance(series, Image))
