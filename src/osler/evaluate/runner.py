"""Runs evaluation sets one after the other: counted failures, kept rows, nothing done twice."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import osler
from osler.atomic import write_atomic
from osler.errors import FileFormatError, OslerError, RequestError, unknown_name
from osler.evaluate.radgraph import keyed_reports
from osler.evaluate.rows import Row
from osler.evaluate.sets import GROUPS, all_sets
from osler.evaluate.sets.types import Annotated, Case, EvaluationSet, Opening, Plan, Setting, Settling
from osler.progress import Progress

State = Literal["measured", "unscored", "not trained", "no data", "failed"]
WHOLE = 1000
"""Sets with at least such a batch rank all cases against each other: no limit cuts them, and none is asked alone."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A case that could not be asked about, and why."""

    case: str
    why: str


@dataclass(slots=True, kw_only=True)
class SetResult:
    """What became of a set.

    Args:
        name: Of the set. title: For people.
        state: ``"measured"``, or why there are no rows; those of ``"unscored"`` wait for annotations.
        why: What is missing, where nothing is measured.
        notes: What a reader must know.
        rows: Everything that was asked.
        failed: Cases that could not be asked about.
        cases: Of the set in all. asked: That were asked about, failed ones included.
        seconds: Spent on them. prompt_tokens: Read. answer_tokens: Written.
    """

    name: str
    title: str
    state: State
    why: str = ""
    notes: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    cases: int = 0
    asked: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0


def chosen_sets(names: Sequence[str]) -> tuple[EvaluationSet, ...]:
    """Returns the sets of some names or groups, all without one.

    Raises:
        RequestError: If a name is unknown.
    """
    every = {one.name: one for one in all_sets()}
    wanted: list[str] = []
    for name in names or every:
        if name not in every and name not in GROUPS:
            raise unknown_name("evaluation set", name=name, known=[*every, *GROUPS])
        wanted += GROUPS.get(name, (name,))
    return tuple(every[name] for name in every if name in wanted)


def run_sets(
    sets: Sequence[EvaluationSet],
    setting: Setting,
    *,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> list[SetResult]:
    """Runs sets; a set that fails as a whole is reported, and the others go on.

    Args:
        sets: From `chosen_sets`.
        setting: Who is asked about what.
        out: Folder for the rows of each set: what is there from the same weights, options and data is not
            asked again, so a run that was stopped goes on.
        on_progress: Called with the name of a set, cases done and cases in all.
    """
    return [run_set(one, setting, out=out, on_progress=on_progress) for one in sets]


def run_set(
    one: EvaluationSet, setting: Setting, *, out: Path | None = None, on_progress: Progress | None = None
) -> SetResult:
    """Runs one set; see `run_sets`."""
    result = SetResult(name=one.name, title=one.title, state="measured")
    if _untrained(one, setting):
        result.state = "not trained"
        result.why = f"{setting.responder.name} is not trained for: {' or '.join(sorted(one.skills))}."
        return result
    try:
        plan = one.plan(setting)
    except OslerError as error:
        result.state, result.why = "failed", str(error)
        return result
    result.notes = (*_asked_anyway(one, setting), *plan.notes)
    if not plan.cases:
        result.state, result.why = "no data", plan.absent or "no case"
        return result
    if isinstance(one, Annotated) and out is None and setting.annotations is None:
        result.state, result.why = "failed", "its reports are annotated elsewhere: name a folder for them with --out."
        return result
    cases = plan.cases if one.batch >= WHOLE else plan.cases[: setting.limit]
    result.cases = len(plan.cases)
    result.asked = len(cases)
    with _Kept(out, name=one.name, key=_key(one, setting, plan)) as kept:
        _ask_all(one, setting, cases, kept=kept, result=result, on_progress=on_progress)
    if not result.rows and result.failed:
        result.state, result.why = "failed", f"all {len(result.failed)} cases failed; the first: {result.failed[0].why}"
    elif isinstance(one, Annotated):
        _score(one, setting, result, out=out)
    return result


def _score(one: Annotated, setting: Setting, result: SetResult, *, out: Path | None) -> None:
    """Scores reports by their annotations, and keeps the reports for who makes them."""
    kept = "Name a folder for the reports with --out."
    try:
        reports = one.reports(result.rows)
    except FileFormatError as error:
        result.state, result.why = "unscored", str(error)
        return
    if out is not None:
        folder = made_folder(out / "radgraph", what="reports")
        texts = json.dumps(keyed_reports(reports), ensure_ascii=False, indent=1)
        path = write_atomic(folder / f"{result.name}.json", data=texts.encode())
        kept = (
            f"Have {str(path)!r} annotated as docs/how-to/evaluate-a-model.md says, then give the same command with "
            "--radgraph FILE: no report is written anew."
        )
    if setting.annotations is None:
        result.state, result.why = "unscored", f"RadGraph annotations were not named. {kept}"
        return
    try:
        result.rows = one.scored(result.rows, setting.annotations)
    except FileFormatError as error:
        result.state, result.why = "unscored", f"{error} {kept}"


def made_folder(folder: Path, *, what: str) -> Path:
    """Makes a folder of results where it is not there.

    Raises:
        RequestError: If it cannot be made; ``what`` would have been kept in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"Cannot keep {what} in {str(folder)!r}: {error.strerror or type(error).__name__}.",
            next_step="Name another folder with --out.",
        ) from error
    return folder


def _untrained(one: EvaluationSet, setting: Setting) -> bool:
    if not one.skills or one.skills & setting.responder.trained:
        return False
    # Without Osler's session there is no task to ask all the same.
    return setting.untrained == "list" or setting.responder.session is None


def _asked_anyway(one: EvaluationSet, setting: Setting) -> tuple[str, ...]:
    """Says where a set asks only for what the weights were not trained for."""
    wanted = one.skills & setting.responder.trained
    if not wanted or wanted - setting.responder.asked_anyway:
        return ()
    names = " or ".join(sorted(one.skills))
    return (f"NOT TRAINED: {setting.responder.name} was never trained for {names}; it was asked all the same.",)


def _ask_all(
    one: EvaluationSet,
    setting: Setting,
    cases: Sequence[Case],
    *,
    kept: _Kept,
    result: SetResult,
    on_progress: Progress | None,
) -> None:
    report = on_progress or (lambda stage, done, total: None)
    waiting = [case for case in cases if case.name not in kept.done]
    done = len(cases) - len(waiting)
    report(one.name, done, len(cases))
    with closing(_parts(one, setting, waiting)) as parts:
        for part in parts:
            kept.add(_asked(one, setting, part))
            done += len(part)
            report(one.name, done, len(cases))
    wanted = {case.name for case in cases}
    for name, record in kept.done.items():
        if name in wanted:
            result.rows += record.rows
            result.failed += record.failed
            result.seconds += record.seconds
            result.prompt_tokens += record.prompt_tokens
            result.answer_tokens += record.answer_tokens
    if isinstance(one, Settling):
        result.rows = one.settle(result.rows)
    if setting.responder.session is not None:
        setting.responder.session.forget()


def _parts(one: EvaluationSet, setting: Setting, cases: Sequence[Case]) -> Generator[Sequence[Case], None, None]:
    """Cases that are asked about together; their files are read while those before them are asked about."""
    parts = [cases[start : start + one.batch] for start in range(0, len(cases), one.batch)]
    if not isinstance(one, Opening) or one.batch >= WHOLE:
        yield from parts
        return
    from osler.engine.ahead import run_ahead

    with closing(run_ahead(parts, lambda part: [_opened(one, setting, case) for case in part])) as opened:
        yield from opened


def _opened(one: Opening, setting: Setting, case: Case) -> Case:
    try:
        return replace(case, opened=one.open(setting, case))
    except OslerError:
        return case  # in its turn it fails again, and is counted


def _asked(one: EvaluationSet, setting: Setting, cases: Sequence[Case]) -> list[_Record]:
    """Asks about cases together; where that fails, one by one, so that one bad file costs one case."""
    meter, started = setting.responder.meter, time.monotonic()
    before = (meter.prompt_tokens, meter.answer_tokens)
    try:
        rows = one.rows(setting, cases)
    except OslerError as error:
        if len(cases) > 1 and one.batch < WHOLE:
            return [record for case in cases for record in _asked(one, setting, [case])]
        failed = [Failed(case=case.name, why=str(error)) for case in cases]
        return [_Record(case=entry.case, failed=[entry]) for entry in failed]
    by_case: dict[str, list[Row]] = {case.name: [] for case in cases}
    for row in rows:
        # Rows of one case may be numbered: "file#3" belongs to "file".
        name = row.case if row.case in by_case else row.case.rpartition("#")[0]
        by_case[name].append(row)
    share = 1 / len(cases)
    return [
        _Record(
            case=name,
            rows=found,
            seconds=(time.monotonic() - started) * share,
            prompt_tokens=round((meter.prompt_tokens - before[0]) * share),
            answer_tokens=round((meter.answer_tokens - before[1]) * share),
        )
        for name, found in by_case.items()
    ]


@dataclass(slots=True, kw_only=True)
class _Record:
    """What is kept of one case."""

    case: str
    rows: list[Row] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def to_line(self) -> str:
        record: dict[str, Any] = {"case": self.case, "seconds": round(self.seconds, 4)}
        record["tokens"] = [self.prompt_tokens, self.answer_tokens]
        record["rows"] = [row.to_dict() for row in self.rows]
        record["failed"] = [entry.why for entry in self.failed]
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> _Record:
        record = json.loads(line)
        return cls(
            case=record["case"],
            rows=[Row.from_dict(row) for row in record["rows"]],
            failed=[Failed(case=record["case"], why=why) for why in record["failed"]],
            seconds=record["seconds"],
            prompt_tokens=record["tokens"][0],
            answer_tokens=record["tokens"][1],
        )


class _Kept:
    """The rows of a set on disk, one line a case; a line that a crash cut off is asked again.

    Args:
        out: Folder; ``None`` keeps nothing.
        name: Of the set.
        key: Rows of another key are not taken up: the file is begun anew.
    """

    def __init__(self, out: Path | None, *, name: str, key: str) -> None:
        self.done: dict[str, _Record] = {}
        self._path = out / "rows" / f"{name}.jsonl" if out is not None else None
        self._key = key

    def __enter__(self) -> _Kept:
        if self._path is None:
            return self
        made_folder(self._path.parent, what="rows")
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        except OSError as error:
            raise RequestError(
                f"Cannot read {str(self._path)!r}: {error.strerror or type(error).__name__}.",
                next_step="Name another folder with --out.",
            ) from error
        if lines and lines[0] == self._key:
            for line in lines[1:]:
                try:
                    record = _Record.from_line(line)
                except (ValueError, KeyError, TypeError):
                    continue
                self.done[record.case] = record
        kept = "".join(f"{record.to_line()}\n" for record in self.done.values())
        write_atomic(self._path, data=f"{self._key}\n{kept}".encode())
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def add(self, records: Sequence[_Record]) -> None:
        """Keeps records; each is on disk before the next case is asked."""
        self.done |= {record.case: record for record in records}
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{record.to_line()}\n" for record in records))
            file.flush()
            os.fsync(file.fileno())


def _key(one: EvaluationSet, setting: Setting, plan: Plan) -> str:
    """Tells runs apart whose rows may differ: weights, options, version and cases."""
    names = hashlib.sha256("\n".join(sorted(case.name for case in plan.cases)).encode()).hexdigest()[:16]
    record = {
        "format": _FORMAT,
        "set": one.name,
        "model": setting.responder.key,
        "style": setting.responder.style.name,
        "split": setting.split,
        "untrained": setting.untrained,
        "osler": osler.__version__,
        "cases": names,
    }
    return json.dumps(record, sort_keys=True)
