"""One patient: imaging at dated time points, and dated events of the record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from osler.study.pixels import Image, LeftOut, Volume
from osler.study.record import ClinicalEvent, Document
from osler.study.slide import Series, Slide


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePoint:
    """Everything imaged on one visit.

    Args:
        series: Volumes, images and slides.
        date: Day of the study, if known.
        study_uid: Study Instance UID, may be empty.
        description: Study description, as in the file.
        priority: How urgently it was asked for, as in the file: ``"STAT"``, ``"HIGH"``, ``"ROUTINE"``...
    """

    series: tuple[Series, ...]
    date: dt.date | None = None
    study_uid: str = ""
    description: str = ""
    priority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What Osler knows of one patient.

    Args:
        timepoints: Oldest first; undated ones last, but an undated prior before the study it was given with.
        events: Dated entries of the record, oldest first; undated ones last.
        documents: Letters and laboratory reports.
        patient: An opaque key that tells patients apart (never printed or logged); may be empty.
        source: The path or address that was opened.
        left_out: What was found and not taken, with the reason.
        problems: What was noticed about the whole.
    """

    timepoints: tuple[TimePoint, ...]
    events: tuple[ClinicalEvent, ...] = ()
    documents: tuple[Document, ...] = ()
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

    def slides(self) -> tuple[Slide, ...]:
        """The whole slides among the series."""
        return tuple(series for series in self.series() if isinstance(series, Slide))
