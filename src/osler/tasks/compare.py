"""Compare: what became of each finding between two or more dates.

Three sources, each said: what was drawn (boxes, label maps), what the record
holds (laboratory values near the dates), and the model where it was trained
for change. Nothing is measured by weights that were not trained to.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osler.prepare.scope import region_is_open
from osler.progress import Progress
from osler.readers.identity import Mixing
from osler.study import Answer, ClinicalEvent, Progression, Statement, Study
from osler.tasks.change_rules import lab_change, size_change
from osler.tasks.compare_checks import check_fit, last_point, open_all
from osler.tasks.compare_model import ByModel
from osler.tasks.compare_pairs import Pair, progression, statement
from osler.tasks.evidence_links import event_evidence
from osler.tasks.finding_names import named_findings
from osler.tasks.measurements import read_drawn
from osler.tasks.model_choice import SightChoice
from osler.tasks.opening import Done, OnStudy, Opened, merged, open_and_load, seen_regions

if TYPE_CHECKING:
    from osler.engine.session import Session

LAB_DAYS = 3
"""A laboratory value counts for a study if it was taken within so many days of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest(SightChoice):
    """Which studies to compare, and what was measured in them.

    Args:
        now: The study of today.
        priors: Earlier ones, one at least.
        records: FHIR bundles, laboratory reports, letters of the same patient.
        drawn: One file of boxes (`osler locate --json`) or label map for each study, the study of today first;
            empty without.
        dates: Day of each study, the study of today first, where the files give none; empty without.
        findings: Names to follow by the model; empty for what is measured.
        mixing: ``"allow"`` takes files of different patients together.
    """

    now: str | Path
    priors: tuple[str | Path, ...]
    records: tuple[str | Path, ...] = ()
    drawn: tuple[str | Path, ...] = ()
    dates: tuple[dt.date, ...] = ()
    findings: tuple[str, ...] = ()
    mixing: Mixing = "refuse"


def run_compare(
    request: CompareRequest, *, on_progress: Progress | None = None, on_study: OnStudy | None = None
) -> Done:
    """Opens the studies, loads the model and compares; cheap checks come first.

    Args:
        request: What to do.
        on_progress: Called as reading, loading and answering go on.
        on_study: Called with the study before the model is loaded; may refuse it.

    Raises:
        OslerError: If the request, the files or the model are at fault.
    """
    named_findings(request.findings)
    studies = open_all(request.now, request.priors, dates=request.dates, mixing=request.mixing)
    check_fit(studies, drawn=request.drawn, mixing=request.mixing)
    events = _record(request.now, request.priors, records=request.records, mixing=request.mixing)
    first = open_and_load(
        request.now,
        choice=request,
        mixing=request.mixing,
        on_progress=on_progress,
        on_study=on_study,
    )
    answer = compare(
        first.session,
        dataclasses.replace(studies[0], events=(*studies[0].events, *events)),
        studies[1:],
        drawn=request.drawn,
        findings=request.findings,
        mixing=request.mixing,
        on_progress=on_progress,
    )
    return Opened(study=_together(studies), session=first.session, timings=first.timings).done(answer)


def compare(
    session: Session,
    now: Study | str | Path,
    priors: Sequence[Study | str | Path],
    *,
    records: Sequence[str | Path] = (),
    drawn: Sequence[str | Path] = (),
    dates: Sequence[dt.date] = (),
    findings: Sequence[str] = (),
    mixing: Mixing = "refuse",
    on_progress: Progress | None = None,
) -> Answer:
    """Compares a study with each earlier one.

    Example:
        >>> answer = osler.compare(session, "now.dcm", ["2023.dcm"], drawn=["now.json", "2023.json"])  # doctest: +SKIP
        >>> [(p.finding, p.change, p.before, p.now, p.days) for p in answer.progression]  # doctest: +SKIP

    Args:
        session: From `osler.load`.
        now: The study of today. priors: Earlier ones of the same patient, one at least.
        records: FHIR bundles, laboratory reports, letters of the same patient.
        drawn: See `CompareRequest`. dates: See there. findings: See there. mixing: See there.
        on_progress: See `Session.ask`.

    Returns:
        An answer whose ``progression`` holds one entry for each finding and prior, by `osler.tasks.change_rules`.

    Raises:
        RequestError: If there is no prior, a prior is the younger one, or modalities and regions do not fit.
        PatientMixError: If the studies or the record are of different patients.
        DataError: If a file cannot be read.
    """
    followed = named_findings(findings)
    studies = open_all(now, priors, dates=dates, mixing=mixing)
    notes = [*check_fit(studies, drawn=drawn, mixing=mixing), *_seen_notes(session, studies)]
    pairs = _pairs(studies, drawn=drawn)
    study = _together(studies)
    events = (*study.events, *_record(now, priors, records=records, mixing=mixing))
    found = [entry for pair in pairs for entry in (*_drawn_changes(pair), *_lab_changes(pair, events=events))]
    by_model = ByModel(session=session, followed=followed).changes(pairs, study=study, on_progress=on_progress)
    blank = session.blank(study, on_progress=on_progress)
    statements = (*(sentence for _, sentence in found), *by_model.statements)
    return dataclasses.replace(
        blank,
        task="compare",
        text="\n".join(sentence.text for sentence in statements) or "Nothing was measured: cannot tell.",
        progression=(*(entry for entry, _ in found), *by_model.entries),
        statements=statements,
        untrained=by_model.untrained,
        warnings=merged((*notes, *blank.warnings, *by_model.notes)),
    )


def _seen_notes(session: Session, studies: Sequence[Study]) -> Iterator[str]:
    """Where the files do not say which part of the body they show, the model is asked."""
    if not any(map(region_is_open, studies)):
        return
    name = session.checkpoint.name
    now, *priors = (seen_regions(session, study) for study in studies)
    for prior in priors:
        if now and prior and not now & prior:
            yield (
                f"{name} sees the {' and '.join(sorted(now))} in the study of today and the "
                f"{' and '.join(sorted(prior))} in a prior: do they belong together?"
            )


def _together(studies: Sequence[Study]) -> Study:
    """One study: priors first, that of today last."""
    now, *priors = studies
    ordered = sorted(priors, key=lambda study: last_point(study).date or dt.date.min)
    return dataclasses.replace(
        now,
        timepoints=tuple(point for study in (*ordered, now) for point in study.timepoints),
        events=tuple(event for study in studies for event in study.events),
        left_out=tuple(entry for study in studies for entry in study.left_out),
        problems=tuple(problem for study in studies for problem in study.problems),
    )


def _pairs(studies: Sequence[Study], *, drawn: Sequence[str | Path]) -> list[Pair]:
    points = [last_point(study) for study in studies]
    measured = [read_drawn(path, point=point) for path, point in zip(drawn, points, strict=False)] or [None] * len(
        points
    )
    pairs = [
        Pair(prior=points[number], now=points[0], drawn_prior=measured[number], drawn_now=measured[0])
        for number in range(1, len(points))
    ]
    return sorted(pairs, key=lambda pair: pair.prior.date or dt.date.min)


def _record(
    now: Study | str | Path,
    priors: Sequence[Study | str | Path],
    *,
    records: Sequence[str | Path],
    mixing: Mixing,
) -> tuple[ClinicalEvent, ...]:
    """Events of the record, whose patient is checked against that of the studies on disk."""
    if not records:
        return ()
    from osler.readers.patient import open_patient

    path = now if isinstance(now, str | Path) else None
    earlier = [prior for prior in priors if isinstance(prior, str | Path)]
    return open_patient(path, priors=earlier, records=records, mixing=mixing).events


def _drawn_changes(pair: Pair) -> Iterator[tuple[Progression, Statement]]:
    """Changes of what was drawn at both dates; what stands on one side only is new or resolved."""
    if pair.drawn_prior is None or pair.drawn_now is None:
        return
    before = {entry.finding.casefold(): entry for entry in pair.drawn_prior}
    now = {entry.finding.casefold(): entry for entry in pair.drawn_now}
    for name in dict.fromkeys((*before, *now)):
        was, is_now = before.get(name), now.get(name)
        shown = is_now or was
        assert shown is not None
        if was is not None and is_now is not None:
            change = size_change(was, is_now)
        else:
            change = "new" if was is None else "resolved"
        entry = progression(
            pair,
            finding=shown.finding,
            change=change,
            measure=shown.measure,
            before=was.value if was else None,
            now=is_now.value if is_now else None,
            unit=shown.unit,
        )
        evidence = tuple(measured.evidence for measured in (was, is_now) if measured is not None)
        yield entry, statement(entry, evidence)


def _lab_changes(pair: Pair, *, events: Sequence[ClinicalEvent]) -> Iterator[tuple[Progression, Statement]]:
    """Changes of laboratory values that were taken near both dates."""
    if pair.prior.date is None or pair.now.date is None or pair.prior.date == pair.now.date:
        return
    tests: dict[str, list[ClinicalEvent]] = {}
    for event in events:
        if event.kind == "observation" and event.date and isinstance(event.value, int | float):
            tests.setdefault(event.code or event.name.casefold(), []).append(event)
    for taken in tests.values():
        was, is_now = _near(taken, pair.prior.date), _near(taken, pair.now.date)
        if was is None or is_now is None or was is is_now:
            continue
        entry = dataclasses.replace(
            progression(
                pair,
                finding=is_now.name,
                change=lab_change(was, is_now),
                measure="laboratory value",
                before=float(was.value),
                now=float(is_now.value),
                unit=is_now.unit,
            ),
            days=(is_now.date - was.date).days,
            earlier=was.date,
            later=is_now.date,
        )
        yield entry, statement(entry, (event_evidence(was), event_evidence(is_now)))


def _near(taken: Sequence[ClinicalEvent], day: dt.date) -> ClinicalEvent | None:
    near = [event for event in taken if event.date is not None and abs((event.date - day).days) <= LAB_DAYS]
    return min(near, key=lambda event: abs((event.date - day).days), default=None)
