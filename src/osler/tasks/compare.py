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

from osler.errors import PatientMixError, RequestError
from osler.prepare.scope import kinds_of, regions_of
from osler.study import Answer, ClinicalEvent, Evidence, Progression, Statement, Study, TimePoint
from osler.tasks.change_rules import lab_change, size_change
from osler.tasks.evidence_links import event_evidence
from osler.tasks.finding_names import FindingName, named_findings
from osler.tasks.heads import ProgressionHead, head_for
from osler.tasks.measurements import Measurement, read_drawn
from osler.tasks.opening import Done, OnProgress, Opened, as_study, merged, open_and_load

if TYPE_CHECKING:
    from osler.engine.session import Progress, Session

LAB_DAYS = 3
"""A laboratory value counts for a study if it was taken within so many days of it."""
_CHANGES = ("improved", "stable", "worsened")
_CHANGE_QUESTION = (
    "Compare the current study with the earlier one. What became of {finding}: (A) improved, (B) stable or "
    "(C) worsened?"
)
_CHANGE_ANSWERS = ("(A)", "(B)", "(C)")
_PUBLISHED_QUESTION = (
    "Provide a comparison of these two images and include details from the image which students should take note of "
    "when reading longitudinal CXR"
)
_SURE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """Which studies to compare, and what was measured in them.

    Args:
        now: The study of today.
        priors: Earlier ones, one at least.
        records: FHIR bundles, laboratory reports, letters of the same patient.
        drawn: One file of boxes (`osler locate --json`) or label map for each study, the study of today first;
            empty without.
        dates: Day of each study, the study of today first, where the files give none; empty without.
        findings: Names to follow by the model; empty for what is measured.
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
    """

    now: str | Path
    priors: tuple[str | Path, ...]
    records: tuple[str | Path, ...] = ()
    drawn: tuple[str | Path, ...] = ()
    dates: tuple[dt.date, ...] = ()
    findings: tuple[str, ...] = ()
    model: str = "osler-mini"
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """An earlier time point and that of today, with what was drawn on each (``None``: nothing was given)."""

    prior: TimePoint
    now: TimePoint
    drawn_prior: tuple[Measurement, ...] | None = None
    drawn_now: tuple[Measurement, ...] | None = None

    @property
    def days(self) -> int | None:
        """From the prior to today."""
        if self.prior.date is None or self.now.date is None:
            return None
        return (self.now.date - self.prior.date).days


def run_compare(request: CompareRequest, *, on_progress: OnProgress | None = None) -> Done:
    """Opens the studies, loads the model and compares; cheap checks come first.

    Raises:
        OslerError: If the request, the files or the model are at fault.
    """
    named_findings(request.findings)
    studies = _open_all(request.now, request.priors, dates=request.dates)
    _check(studies, drawn=request.drawn)
    first = open_and_load(request.now, model=request.model, device=request.device, on_progress=on_progress)
    answer = compare(
        first.session,
        request.now,
        request.priors,
        records=request.records,
        drawn=request.drawn,
        dates=request.dates,
        findings=request.findings,
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
        drawn: See `CompareRequest`. dates: See there. findings: See there.
        on_progress: See `Session.ask`.

    Returns:
        An answer whose ``progression`` holds one entry for each finding and prior, by `osler.tasks.change_rules`.

    Raises:
        RequestError: If there is no prior, a prior is the younger one, or modalities and regions do not fit.
        PatientMixError: If the studies or the record are of different patients.
        DataError: If a file cannot be read.
    """
    followed = named_findings(findings)
    studies = _open_all(now, priors, dates=dates)
    notes = _check(studies, drawn=drawn)
    pairs = _pairs(studies, drawn=drawn)
    study = _together(studies)
    events = (*study.events, *_record(now, priors, records=records))
    found = [entry for pair in pairs for entry in (*_drawn_changes(pair), *_lab_changes(pair, events=events))]
    by_model = _ByModel(session=session, followed=followed).changes(pairs, study=study, on_progress=on_progress)
    blank = session.blank(study, on_progress=on_progress)
    statements = (*(statement for _, statement in found), *by_model.statements)
    return dataclasses.replace(
        blank,
        task="compare",
        text="\n".join(statement.text for statement in statements) or "Nothing was measured: cannot tell.",
        progression=(*(entry for entry, _ in found), *by_model.entries),
        statements=statements,
        untrained=by_model.untrained,
        warnings=merged((*notes, *blank.warnings, *by_model.notes)),
    )


def _open_all(
    now: Study | str | Path, priors: Sequence[Study | str | Path], *, dates: Sequence[dt.date]
) -> list[Study]:
    """All studies, that of today first, dated by the user where the files are not."""
    if not priors:
        raise RequestError("There is nothing to compare with.", allowed="osler compare NOW PRIOR...")
    studies = [as_study(entry) for entry in (now, *priors)]
    if not dates:
        return studies
    if len(dates) != len(studies):
        raise RequestError(
            f"{len(dates)} dates for {len(studies)} studies.", allowed="One each, the study of today first."
        )
    return [_dated(study, date) for study, date in zip(studies, dates, strict=True)]


def _dated(study: Study, date: dt.date) -> Study:
    told = {point.date for point in study.timepoints} - {None}
    if told - {date}:
        raise RequestError(
            f"The files of {study.source or 'a study'} give another date than {date}.", next_step="Leave --date out."
        )
    return dataclasses.replace(
        study, timepoints=tuple(dataclasses.replace(point, date=date) for point in study.timepoints)
    )


def _check(studies: Sequence[Study], *, drawn: Sequence[str | Path]) -> list[str]:
    """Refuses what cannot be compared; returns what to say of the rest."""
    if len({study.patient for study in studies if study.patient}) > 1:
        raise PatientMixError(
            "The studies are of different patients.", allowed="Studies of one patient.", next_step="Check the paths."
        )
    if drawn and len(drawn) != len(studies):
        raise RequestError(
            f"{len(drawn)} files of boxes for {len(studies)} studies.", allowed="One each, the study of today first."
        )
    for study in studies:
        if not any(study.series()):
            raise RequestError(f"No image in {study.source or 'a study'}.", next_step="Give scans.")
    notes = [*_dates_noticed(studies)]
    for prior in studies[1:]:
        notes += _fit_noticed(studies[0], prior)
    if any(not study.patient for study in studies):
        notes.append("Not every file names its patient: that the studies are of one patient rests on you.")
    return notes


def _dates_noticed(studies: Sequence[Study]) -> Iterator[str]:
    now, *priors = (_last(study).date for study in studies)
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
    regions = [frozenset().union(*map(regions_of, study.series())) for study in (now, prior)]
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


def _all(names: frozenset[str]) -> str:
    return " and ".join(sorted(names))


def _last(study: Study) -> TimePoint:
    return study.timepoints[-1]


def _together(studies: Sequence[Study]) -> Study:
    """One study: priors first, that of today last."""
    now, *priors = studies
    ordered = sorted(priors, key=lambda study: _last(study).date or dt.date.min)
    return dataclasses.replace(
        now,
        timepoints=tuple(point for study in (*ordered, now) for point in study.timepoints),
        events=tuple(event for study in studies for event in study.events),
        left_out=tuple(entry for study in studies for entry in study.left_out),
        problems=tuple(problem for study in studies for problem in study.problems),
    )


def _pairs(studies: Sequence[Study], *, drawn: Sequence[str | Path]) -> list[_Pair]:
    points = [_last(study) for study in studies]
    measured = [read_drawn(path, point=point) for path, point in zip(drawn, points, strict=False)] or [None] * len(
        points
    )
    pairs = [
        _Pair(prior=points[number], now=points[0], drawn_prior=measured[number], drawn_now=measured[0])
        for number in range(1, len(points))
    ]
    return sorted(pairs, key=lambda pair: pair.prior.date or dt.date.min)


def _record(
    now: Study | str | Path, priors: Sequence[Study | str | Path], *, records: Sequence[str | Path]
) -> tuple[ClinicalEvent, ...]:
    """Events of the record, whose patient is checked against that of the studies on disk."""
    if not records:
        return ()
    from osler.readers.patient import open_patient

    path = now if isinstance(now, str | Path) else None
    earlier = [prior for prior in priors if isinstance(prior, str | Path)]
    return open_patient(path, priors=earlier, records=records).events


def _drawn_changes(pair: _Pair) -> Iterator[tuple[Progression, Statement]]:
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
        entry = _progression(
            pair,
            finding=shown.finding,
            change=change,
            measure=shown.measure,
            before=was.value if was else None,
            now=is_now.value if is_now else None,
            unit=shown.unit,
        )
        evidence = tuple(measured.evidence for measured in (was, is_now) if measured is not None)
        yield entry, _statement(entry, evidence)


def _lab_changes(pair: _Pair, *, events: Sequence[ClinicalEvent]) -> Iterator[tuple[Progression, Statement]]:
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
            _progression(
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
        yield entry, _statement(entry, (event_evidence(was), event_evidence(is_now)))


def _near(taken: Sequence[ClinicalEvent], day: dt.date) -> ClinicalEvent | None:
    near = [event for event in taken if event.date is not None and abs((event.date - day).days) <= LAB_DAYS]
    return min(near, key=lambda event: abs((event.date - day).days), default=None)


def _progression(pair: _Pair, **known: object) -> Progression:
    days = pair.days
    return Progression(days=days, earlier=pair.prior.date, later=pair.now.date, **known)  # type: ignore[arg-type]


def _statement(entry: Progression, evidence: Sequence[Evidence]) -> Statement:
    """One sentence of what became of a finding."""
    parts = [f"{entry.finding}: {entry.change}"]
    if entry.measure:
        was = "absent" if entry.before is None else f"{entry.before:g}"
        now = "absent" if entry.now is None else f"{entry.now:g}"
        parts.append(f"{entry.measure} {was} -> {now} {entry.unit.strip('{}')}".rstrip())
    if entry.days is not None:
        parts.append(f"{entry.days} {'day' if entry.days == 1 else 'days'} apart")
    if entry.earlier is not None and entry.later is not None:
        parts[-1] += f" ({entry.earlier} to {entry.later})"
    return Statement(section="comparison", text=f"{', '.join(parts)}.", evidence=tuple(evidence))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the model says of change."""

    entries: tuple[Progression, ...] = ()
    statements: tuple[Statement, ...] = ()
    notes: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByModel:
    """Change as trained weights see it: by the progression head, else in words."""

    session: Session
    followed: Sequence[FindingName]

    def changes(self, pairs: Sequence[_Pair], *, study: Study, on_progress: Progress | None) -> _Said:
        head: ProgressionHead | None = head_for(self.session, "progression")
        if head is not None:
            parts = [self._by_head(head, pair, study=study) for pair in pairs]
        elif "change_text" in self.session.trained:
            parts = [self._by_text(pair, study=study, on_progress=on_progress) for pair in pairs]
        else:
            return self._untrained(pairs)
        return _Said(
            entries=tuple(entry for part in parts for entry in part.entries),
            statements=tuple(statement for part in parts for statement in part.statements),
            notes=merged([note for part in parts for note in part.notes]),
        )

    def _untrained(self, pairs: Sequence[_Pair]) -> _Said:
        name = self.session.checkpoint.name
        entries = tuple(
            _progression(pair, finding=finding.name, change="cannot tell")
            for pair in pairs
            for finding in self.followed
        )
        return _Said(
            entries=entries,
            statements=tuple(_statement(entry, ()) for entry in entries),
            notes=(f"{name} is not trained for: progression. Only what was drawn or measured is compared.",),
            untrained=("progression",),
        )

    def _by_head(self, head: ProgressionHead, pair: _Pair, *, study: Study) -> _Said:
        names = [finding.name for finding in self.followed] or sorted(head.findings)
        two = dataclasses.replace(study, timepoints=(pair.prior, pair.now))
        entries = [
            _progression(pair, finding=found.finding, change=found.change, probability=found.probability)
            for found in head.changes(self.session, two, findings=[name for name in names if name in head.findings])
        ]
        entries += [
            _progression(pair, finding=name, change="cannot tell") for name in names if name not in head.findings
        ]
        return _Said(entries=tuple(entries), statements=tuple(_statement(entry, _both(pair)) for entry in entries))

    def _by_text(self, pair: _Pair, *, study: Study, on_progress: Progress | None) -> _Said:
        """The published longitudinal question in words; each named finding as a choice of three."""
        two = dataclasses.replace(study, timepoints=(pair.prior, pair.now))
        words = self.session.ask(two, _PUBLISHED_QUESTION, max_tokens=600, on_progress=on_progress).text
        statements = [Statement(section="comparison", text=words, evidence=_both(pair))] if words else []
        entries = []
        for finding in self.followed:
            question = _CHANGE_QUESTION.format(finding=finding.name)
            shares = self.session.score(two, question, _CHANGE_ANSWERS).shares()
            share = max(shares)
            change = _CHANGES[shares.index(share)] if share >= _SURE else "cannot tell"
            entries.append(_progression(pair, finding=finding.name, change=change, probability=share))
        notes = ("Probabilities of change are those of the language model's choice; they are not calibrated.",)
        return _Said(
            entries=tuple(entries),
            statements=(*statements, *(_statement(entry, _both(pair)) for entry in entries)),
            notes=notes if entries else (),
        )


def _both(pair: _Pair) -> tuple[Evidence, ...]:
    """The two studies as evidence."""
    return (
        Evidence(kind="prior", series=pair.prior.series[0].series, date=pair.prior.date),
        Evidence(kind="image", series=pair.now.series[0].series, date=pair.now.date),
    )
