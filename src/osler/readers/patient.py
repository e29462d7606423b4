"""One patient from several places: a study, its priors and the record.

Time points stand in order of their days. A prior without a day (a NIfTI, a
picture) stands just before the study that it was given with, in the order
given, because that is what calling it a prior says.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.errors import PatientMixError, RequestError
from osler.readers.identity import MIXED, Mixing, Verdict, compare
from osler.readers.limits import LIMITS, Limits
from osler.readers.open import Opened, distinct_series, open_identified
from osler.readers.repeated_events import without_repeats
from osler.study import Document, LeftOut, Study, TimePoint


def open_patient(
    path: str | Path | None,
    *,
    priors: Sequence[str | Path] = (),
    records: Sequence[str | Path] = (),
    mixing: Mixing = "refuse",
    limits: Limits = LIMITS,
) -> Study:
    """Opens a study together with its priors and the patient's record.

    Args:
        path: The study that is asked about, or ``None`` for the record alone.
        priors: Earlier studies of the patient.
        records: FHIR files or folders, and whatever else `open_study` reads of a record.
        mixing: ``"allow"`` puts files of different patients together and says so in ``problems``.
        limits: Bounds on sizes and numbers.

    Raises:
        PatientMixError: If the paths belong to different patients.
        DataError: If one of them cannot be read, or holds nothing of use.
        RequestError: If no path is given, or a prior without a study.

    Example:
        >>> study = open_patient("ct-2024", priors=["ct-2021"], records=["record.json"])  # doctest: +SKIP
        >>> [point.date for point in study.timepoints]  # doctest: +SKIP
        [datetime.date(2021, 3, 4), datetime.date(2024, 1, 2)]
    """
    if path is None and (priors or not records):
        raise RequestError(
            "Priors without a study." if priors else "Neither a study nor a record.",
            next_step="Name the study that is asked about, or a record.",
        )
    parts: list[_Part] = []
    problems: list[str] = []
    named = [("study", path)] if path is not None else []
    for role, place in [*named, *(("prior", prior) for prior in priors), *(("record", one) for one in records)]:
        if any(_covers(part.place, Path(place)) for part in parts):
            problems.append(f"{place} was given twice, or lies inside of what was given: it counts once.")
            continue
        opened = open_identified(place, limits=limits, mixing=mixing)
        parts.append(_Part(role=role, place=Path(place), opened=opened))
    problems += _require_one(parts, mixing=mixing)
    return parts[0].opened.study if len(parts) == 1 and not problems else _merged(parts, problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What stands at one of the paths."""

    role: str
    place: Path
    opened: Opened


def _covers(place: Path, other: Path) -> bool:
    """Whether a path is another, or a folder that holds it."""
    try:
        whole, inner = place.resolve(), other.resolve()
    except (OSError, RuntimeError):
        return False
    return inner == whole or whole in inner.parents


def _require_one(parts: Sequence[_Part], *, mixing: Mixing) -> list[str]:
    """Refuses different patients; says what could not be compared."""
    first = parts[0]
    untied, mixed = [], []
    for part in parts[1:]:
        verdict = _verdict(first, part)
        if verdict == "different":
            mixed.append(part)
        elif verdict == "cannot tell" and not any(_verdict(other, part) == "same" for other in parts if other != part):
            untied.append(part)
    if mixed and mixing != "allow":
        names = ", ".join(f"{part.place} ({part.role})" for part in mixed)
        raise PatientMixError(
            f"Different patients: {first.place} ({first.role}) is of another patient than {names}.",
            allowed="Studies and records of one patient.",
            next_step="Check the paths; for research, --allow-mixed-patients (mixing='allow') takes them together.",
        )
    problems = [f"{first.place} and {part.place} are of different patients. {MIXED}" for part in mixed]
    return problems + [
        f"Nothing in the files tells whether {part.place} ({part.role}) is of the same patient as {first.place}: "
        "no number that both give. Check whose they are."
        for part in untied
    ]


def _verdict(one: _Part, other: _Part) -> Verdict:
    verdicts = {compare(a, b) for a in one.opened.identities for b in other.opened.identities}
    for verdict in ("different", "same"):
        if verdict in verdicts:
            return verdict
    return "cannot tell"


def _merged(parts: Sequence[_Part], *, problems: list[str]) -> Study:
    points, said, left_out = _timepoints(parts)
    studies = [part.opened.study for part in parts]
    for part in parts:
        problems += [
            problem if len(parts) == 1 else f"{part.place}: {problem}" for problem in part.opened.study.problems
        ]
    events, repeated = without_repeats(study.events for study in studies)
    documents: list[Document] = sorted(
        (document for study in studies for document in study.documents),
        key=lambda document: document.date or dt.date.max,
    )
    return Study(
        timepoints=points,
        events=tuple(sorted(events, key=lambda event: event.date or dt.date.max)),
        documents=tuple(documents),
        patient=next((study.patient for study in studies if study.patient), ""),
        source=studies[0].source,
        left_out=(*(entry for study in studies for entry in study.left_out), *left_out, *repeated),
        problems=(*problems, *said),
    )


def _timepoints(parts: Sequence[_Part]) -> tuple[tuple[TimePoint, ...], list[str], list[LeftOut]]:
    """All time points in order, what is to be said of them, and what was there twice."""
    current = [point for part in parts if part.role != "prior" for point in part.opened.study.timepoints]
    said: list[str] = []
    left_out: list[LeftOut] = []
    known = {point.study_uid for point in current if point.study_uid}
    last = max((point.date for point in current if point.date), default=None)
    dated, undated = [], []
    for part in (part for part in parts if part.role == "prior"):
        if not part.opened.study.timepoints:
            said.append(f"{part.place} was given as a prior, but holds no images.")
        for point in part.opened.study.timepoints:
            if point.study_uid and point.study_uid in known:
                left_out.append(LeftOut(what=str(part.place), why="the same study was given already"))
                continue
            known.add(point.study_uid)
            (undated if point.date is None else dated).append(point)
            if point.date is None:
                said.append(f"{part.place} has no date: it stands before the study, in the order given.")
            elif last is not None and point.date > last:
                said.append(f"{part.place} was given as a prior, but is dated after the study.")
    said += _same_day(dated, current=current)
    return _ordered(current, dated=dated, undated=undated, said=said), said, left_out


def _same_day(dated: Sequence[TimePoint], *, current: Sequence[TimePoint]) -> list[str]:
    days = [point.date for point in [*dated, *current]]
    twice = sorted({point.date for point in dated if point.date is not None and days.count(point.date) > 1})
    return [
        f"Two studies or more on {day.isoformat()}: all are kept, their order on that day is unknown." for day in twice
    ]


def _ordered(
    current: Sequence[TimePoint], *, dated: Sequence[TimePoint], undated: Sequence[TimePoint], said: list[str]
) -> tuple[TimePoint, ...]:
    """By day; undated priors just before the first time point of the current study."""
    with_day = sorted(
        [*dated, *(point for point in current if point.date)],
        key=lambda point: (point.date or dt.date.max, point.study_uid),
    )
    without = [point for point in current if point.date is None]
    latest = [point for point in with_day if any(point is one for one in current)]
    place = next((n for n, point in enumerate(with_day) if latest and point is latest[0]), len(with_day))
    points = [*with_day[:place], *undated, *with_day[place:], *without]
    renamed, problems = distinct_series(points)
    said += problems
    return tuple(renamed)
