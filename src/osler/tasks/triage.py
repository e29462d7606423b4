"""Triage: a folder of studies in the order in which they should be read, with reasons.

Weights that were trained to find diseases add what they find. Others are not
even loaded: the order then rests on the requested priority and on critical
laboratory values, and says so.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from osler.errors import OslerError, RequestError
from osler.readers import open_study
from osler.readers.inbox import InboxStudy, list_inbox
from osler.study import NO_MODEL, Answer, Evidence, Finding, LeftOut, ModelStamp, Statement, Study
from osler.tasks.heads import FindingsHead, head_for
from osler.tasks.model_choice import ModelChoice
from osler.tasks.triage_journal import TriagedStudy, TriageJournal
from osler.tasks.urgency import Reason, level_of, reasons_of
from osler.weights.skills import skills_of

if TYPE_CHECKING:
    from osler.engine.ahead import Ready
    from osler.engine.session import Session

JOURNAL_ENDING = ".journal"
COLUMNS = ("place", "study", "level", "reasons", "arrived", "state", "notes")
_UNTRAINED = (
    "These weights were not trained to find diseases: the order rests on the requested priority and on critical "
    "laboratory values alone. A study without a reason may still be urgent."
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

OnStudy = Callable[[int, int, Sequence[TriagedStudy]], None]
"""Called with the studies done, the studies in all, and the order so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriageRequest(ModelChoice):
    """Which studies to put into order.

    Args:
        inbox: A folder in which each file or folder is one study.
        journal: Where progress is kept, or ``None`` to keep none.
    """

    inbox: str | Path
    journal: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklist:
    """Studies in the order in which they should be read.

    Args:
        studies: Most urgent first. failed: Could not be looked at; they must be read by a person.
        untrained: Skills that the weights lack.
        model: Which weights gave probabilities, if any.
    """

    studies: tuple[TriagedStudy, ...]
    failed: tuple[TriagedStudy, ...]
    untrained: tuple[str, ...]
    model: ModelStamp = NO_MODEL

    def answer(self) -> Answer:
        """Returns the list as the object that every surface shows."""
        lines = [
            f"{place}. {study.level}: {study.path}" + (f" ({'; '.join(study.reasons)})" if study.reasons else "")
            for place, study in enumerate(self.studies, start=1)
        ]
        return Answer(
            task="triage",
            text="\n".join(lines) or "No study could be looked at.",
            model=self.model,
            preprocess="",
            statements=tuple(
                Statement(
                    section=study.level,
                    text=f"{study.path}: {'; '.join(study.reasons) or 'no reason known'}",
                    evidence=(Evidence(kind="image", file=study.path),),
                )
                for study in self.studies
            ),
            left_out=tuple(LeftOut(what=study.path, why=study.failure) for study in self.failed),
            untrained=self.untrained,
            warnings=(_UNTRAINED,) if self.untrained else (),
        )

    def to_csv(self) -> str:
        """Returns a table with `COLUMNS`; no cell can be taken for a formula by a spreadsheet."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(COLUMNS)
        for place, study in enumerate(self.studies, start=1):
            table.writerow(_row(study, place=str(place), state="ordered", notes=study.notes))
        for study in self.failed:
            table.writerow(_row(study, place="", state="failed", notes=(study.failure,)))
        return out.getvalue()


def triage(request: TriageRequest, *, session: Session | None = None, on_study: OnStudy | None = None) -> Worklist:
    """Puts the studies of a folder into order; those that were looked at before are not read again.

    Args:
        request: Which studies.
        session: Loaded weights; else they are loaded if they were trained to find diseases.
        on_study: Called after each study.

    Raises:
        OslerError: If the folder, the model or the journal cannot be used. A study that cannot be read
            is listed under ``failed`` and the others go on.
    """
    request.check()
    inbox = list_inbox(request.inbox)
    skills = session.trained if session is not None else skills_of(request.model)
    if session is None and "findings" in skills:
        session = request.load()
    finder = session if session is not None and "findings" in skills else None
    weights = finder.checkpoint.key if finder is not None else "none"
    journal = TriageJournal(request.journal, weights=weights) if request.journal is not None else None
    known = journal.read() if journal is not None else {}
    done: list[TriagedStudy] = []
    for study in _looked_at(inbox, known=known, session=finder):
        done.append(study)
        if journal is not None and known.get((study.path, study.stamp)) != study:
            journal.add(study)
        if on_study is not None:
            on_study(len(done), len(inbox), _ordered(done))
    return Worklist(
        studies=_ordered(done),
        failed=tuple(study for study in done if study.failure),
        untrained=() if finder is not None else ("findings",),
        model=finder.stamp() if finder is not None else NO_MODEL,
    )


def watch(
    request: TriageRequest,
    *,
    seconds: float,
    on_list: Callable[[Worklist], None],
    session: Session | None = None,
    on_study: OnStudy | None = None,
) -> None:
    """Looks again and again, until it is interrupted; what has been looked at is not read again.

    Args:
        request: With a journal.
        seconds: Between two looks, at least 1.
        on_list: Called with the list whenever it has changed.
        session: See `triage`. on_study: See there.

    Raises:
        RequestError: If there is no journal or the pause is too short.
    """
    if request.journal is None or not seconds >= 1:
        raise RequestError(f"Watching every {seconds!r} s.", allowed="From 1 s, with a file for the list.")
    last: Worklist | None = None
    while True:
        found = triage(request, session=session, on_study=on_study)
        if found != last:
            on_list(found)
        last = found
        time.sleep(seconds)


def _looked_at(
    inbox: Sequence[InboxStudy], *, known: Mapping[tuple[str, str], TriagedStudy], session: Session | None
) -> Iterator[TriagedStudy]:
    """Studies in the order of the folder; new ones are read, with the next in the making while one is encoded."""
    new = [study for study in inbox if (str(study.path), study.stamp) not in known]
    fresh = _read(new, session=session)
    for study in inbox:
        yield known.get((str(study.path), study.stamp)) or next(fresh)


def _read(inbox: Iterable[InboxStudy], *, session: Session | None) -> Iterator[TriagedStudy]:
    studies = list(inbox)
    if session is None:
        for entry in studies:
            yield _triaged(entry, _opened(entry.path))
        return
    from osler.engine.ahead import read_ahead

    head: FindingsHead | None = head_for(session, "findings")
    requests = ((entry.path, "?") for entry in studies)
    # A whole CT takes seconds to prepare, and a head for X-rays would look at none of it.
    looked_at = None if head is None else head.looked_at
    with closing(read_ahead(requests, preprocess=session.checkpoint.preprocess, looked_at=looked_at)) as ready:
        for entry, one in zip(studies, ready, strict=True):
            yield _triaged(entry, one) if isinstance(one, OslerError) else _with_findings(entry, one, session=session)


def _with_findings(entry: InboxStudy, ready: Ready, *, session: Session) -> TriagedStudy:
    from osler.tasks.findings import findings

    study, prepared = ready.study, ready.prepared
    assert study is not None  # each was asked for by its path
    assert prepared is not None
    try:
        answer = findings(session.showing(study, prepared), study)
    except OslerError as error:
        return _triaged(entry, error)
    found = _triaged(entry, study, findings=answer.findings)
    unknown = sum(finding.probability is None for finding in answer.findings)
    notes = (f"cannot tell {unknown} of {len(answer.findings)} findings",) if unknown else ()
    return replace(found, notes=(*found.notes, *notes))


def _opened(path: Path) -> Study | OslerError:
    try:
        return open_study(path)
    except OslerError as error:
        return error


def _triaged(entry: InboxStudy, study: Study | OslerError, *, findings: Iterable[Finding] = ()) -> TriagedStudy:
    blank = TriagedStudy(path=str(entry.path), stamp=entry.stamp, arrived=_arrival(entry.path))
    if isinstance(study, OslerError):
        return replace(blank, failure=study.problem)
    reasons: tuple[Reason, ...] = reasons_of(study, findings=findings)
    count = sum(item.count for item in study.left_out)
    notes = [f"left out: {count} {'file' if count == 1 else 'files'}"] if count else []
    return replace(
        blank,
        level=level_of(reasons),
        reasons=tuple(reason.text for reason in reasons),
        weight=reasons[0].weight if reasons else 0.0,
        notes=tuple(notes),
    )


def _arrival(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _ordered(studies: Iterable[TriagedStudy]) -> tuple[TriagedStudy, ...]:
    return tuple(sorted((study for study in studies if not study.failure), key=lambda study: study.order))


def _row(study: TriagedStudy, *, place: str, state: Literal["ordered", "failed"], notes: Sequence[str]) -> list[str]:
    arrived = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(study.arrived))
    level = study.level if state == "ordered" else ""
    cells = [place, study.path, level, "; ".join(study.reasons), arrived, state, "; ".join(notes)]
    return [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
