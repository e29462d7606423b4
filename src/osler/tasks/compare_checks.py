"""What is looked at before studies are compared: patients, dates, parts of the body."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from osler.errors import PatientMixError, RequestError
from osler.prepare.scope import kinds_of, shown_regions
from osler.readers.identity import MIXED, Mixing
from osler.study import Study, TimePoint
from osler.tasks.compare_series import unlike_sequences
from osler.tasks.opening import as_study


def open_all(
    now: Study | str | Path,
    priors: Sequence[Study | str | Path],
    *,
    dates: Sequence[dt.date],
    mixing: Mixing = "refuse",
) -> list[Study]:
    """All studies, that of today first, dated by the user where the files are not."""
    if not priors:
        raise RequestError("There is nothing to compare with.", allowed="osler compare NOW PRIOR...")
    studies = [as_study(entry, mixing=mixing) for entry in (now, *priors)]
    if not dates:
        return studies
    if len(dates) != len(studies):
        raise RequestError(
            f"{len(dates)} dates for {len(studies)} studies.", allowed="One each, the study of today first."
        )
    return [dated(study, date) for study, date in zip(studies, dates, strict=True)]


def dated(study: Study, date: dt.date) -> Study:
    told = {point.date for point in study.timepoints} - {None}
    if told - {date}:
        raise RequestError(
            f"The files of {study.source or 'a study'} give another date than {date}.", next_step="Leave --date out."
        )
    return dataclasses.replace(
        study, timepoints=tuple(dataclasses.replace(point, date=date) for point in study.timepoints)
    )


def check_fit(studies: Sequence[Study], *, drawn: Sequence[str | Path], mixing: Mixing = "refuse") -> list[str]:
    """Refuses what cannot be compared; returns what to say of the rest."""
    mixed = len({study.patient for study in studies if study.patient}) > 1
    if mixed and mixing != "allow":
        raise PatientMixError(
            "The studies are of different patients.",
            allowed="Studies of one patient.",
            next_step="Check the paths; for research, --allow-mixed-patients (mixing='allow') takes them together.",
        )
    if drawn and len(drawn) != len(studies):
        raise RequestError(
            f"{len(drawn)} files of boxes for {len(studies)} studies.", allowed="One each, the study of today first."
        )
    for study in studies:
        if not any(study.series()):
            raise RequestError(f"No image in {study.source or 'a study'}.", next_step="Give scans.")
    notes = [f"The studies are of different patients. {MIXED}"] if mixed else []
    notes += _dates_noticed(studies)
    for prior in studies[1:]:
        notes += _fit_noticed(studies[0], prior)
    if any(not study.patient for study in studies):
        notes.append("Not every file names its patient: that the studies are of one patient rests on you.")
    return notes


def _dates_noticed(studies: Sequence[Study]) -> Iterator[str]:
    now, *priors = (last_point(study).date for study in studies)
    if any(date is None for date in (now, *priors)):
        yield "A study has no date: the order is the one given, and days between are unknown (--date sets one)."
    known = [date for date in priors if date is not None]
    for date in sorted({date for date in known if known.count(date) > 1}):
        yield f"Two priors are of {date}: which came first is unknown, both are compared with today's."
    for date in known:
        if now is not None and date > now:
            raise RequestError(
                f"A prior of {date} is later than the study of {now}.", next_step="Put the latest study first."
            )
        if date == now:
            yield f"A prior is of the same day as the study of today, {date}."


def _fit_noticed(now: Study, prior: Study) -> Iterator[str]:
    """Refuses another part of the body; says where the modality differs."""
    kinds = [kinds_of([series.modality for series in study.series()]) for study in (now, prior)]
    regions = [frozenset().union(*shown_regions(study)) for study in (now, prior)]
    kind_differs = bool(kinds[0] and kinds[1] and not kinds[0] & kinds[1])
    if regions[0] and regions[1] and not regions[0] & regions[1]:
        raise RequestError(
            f"The study of today shows the {_all(regions[0])}, a prior the {_all(regions[1])}.",
            allowed="Studies of the same part of the body.",
        )
    if kind_differs and not (regions[0] and regions[1]):
        raise RequestError(
            f"The study of today is {_all(kinds[0])}, a prior {_all(kinds[1])}, and the files do not say that "
            "they show the same part of the body.",
            allowed="Studies of the same modality and region.",
        )
    if kind_differs:
        yield f"The study of today is {_all(kinds[0])}, a prior {_all(kinds[1])}: sizes may differ by that alone."
    else:
        yield from unlike_sequences(last_point(prior), last_point(now))


def _all(names: frozenset[str]) -> str:
    return " and ".join(sorted(names))


def last_point(study: Study) -> TimePoint:
    """The time point of a study that is compared."""
    return study.timepoints[-1]
