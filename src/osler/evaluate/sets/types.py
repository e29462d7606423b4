"""What an evaluation set is: cases, how each is asked, and which metrics count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from osler.evaluate.radgraph import ReportGraph
from osler.evaluate.responder import Responder
from osler.evaluate.rows import Measure, Row
from osler.train.pictures import split_of
from osler.weights.skills import Skill

SplitChoice = Literal["held-out", "all"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Who is asked about what.

    Args:
        root: Folder laid out as the public sets are.
        responder: The model.
        split: ``"held-out"`` keeps to patients that training leaves out by the hash of their key
            (`osler.train.pictures.split_of`); ``"all"`` takes everyone.
        untrained: ``"ask"`` asks for what the weights were not trained for, too.
        limit: Cases of a set at most.
        annotations: Of reports by their key, where the user has had them made; see `Annotated`.
    """

    root: Path
    responder: Responder
    split: SplitChoice = "held-out"
    untrained: Literal["list", "ask"] = "list"
    limit: int | None = None
    annotations: Mapping[str, ReportGraph] | None = field(default=None, compare=False)

    def keeps(self, source: str, *, patient: str) -> bool:
        """Whether a patient may be asked about."""
        return self.split == "all" or split_of(source, patient=patient) == "held-out"

    def learns(self, source: str, *, patient: str, asked: str) -> bool:
        """Whether a baseline for the patient ``asked`` may be fitted on a patient: never on the one asked about."""
        if self.split == "held-out":
            return split_of(source, patient=patient) == "train"
        return patient != asked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One thing to ask about.

    Args:
        name: Unique within the set.
        patient: Whose it is.
        content: What the set needs to ask: paths, texts, facts.
        opened: By `Opening.open`, where it was read before its turn.
    """

    name: str
    patient: str
    content: Any
    opened: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The cases of a set, and what is to be said about them.

    Args:
        cases: In a fixed order; empty with a reason in ``absent``.
        absent: Why there is nothing, such as a file that is missing.
        notes: What a reader must know, one sentence each.
    """

    cases: tuple[Case, ...] = ()
    absent: str = ""
    notes: tuple[str, ...] = field(default=())


class EvaluationSet(Protocol):
    """One set: it finds its cases and turns answers into rows."""

    name: str
    title: str
    skills: frozenset[Skill]
    """One of these is enough; empty where none is needed."""
    measures: tuple[Measure, ...]
    batch: int
    """Cases that are asked about together."""

    def plan(self, setting: Setting) -> Plan:
        """Finds the cases."""
        ...

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks about cases.

        Raises:
            OslerError: If a file is at fault; the runner counts the case as failed and goes on.
        """
        ...


@runtime_checkable
class Opening(Protocol):
    """A set whose files are read in a thread while the cases before them are asked about.

    Its ``rows`` call `open` themselves where ``Case.opened`` is ``None``.
    """

    def open(self, setting: Setting, case: Case) -> Any:
        """Reads the files of a case; nothing else of the set is changed.

        Raises:
            OslerError: If a file is at fault; ``rows`` meets it again in the case's turn.
        """
        ...


@runtime_checkable
class Settling(Protocol):
    """A set whose rows can only be judged together."""

    def settle(self, rows: Sequence[Row]) -> list[Row]:
        """Returns the rows as they count, once all cases were asked about."""
        ...


@runtime_checkable
class Annotated(Protocol):
    """A set of written reports, scored by RadGraph annotations that the user makes elsewhere."""

    def reports(self, rows: Sequence[Row]) -> list[str]:
        """Returns the reports that must be annotated, of the model and of radiologists."""
        ...

    def scored(self, rows: Sequence[Row], annotations: Mapping[str, ReportGraph]) -> list[Row]:
        """Returns the rows with their scores.

        Raises:
            FileFormatError: If reports have no annotation.
        """
        ...


def shuffled(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Orders cases by a hash of their names, so that the first ones are a fair sample."""
    return tuple(sorted(cases, key=lambda case: hashlib.sha256(case.name.encode()).hexdigest()))


def missing_files(root: Path, *names: str) -> str:
    """Says which of some files or folders are missing; empty if none is."""
    gone = [name for name in names if not (root / name).exists()]
    return f"not found: {', '.join(gone)}" if gone else ""


def commonest(values: Iterable[T], *, otherwise: T) -> T:
    """The value that comes most often; of several, the first in order."""
    counts: dict[T, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return max(sorted(counts, key=str), key=lambda value: counts[value]) if counts else otherwise


def right(truth: object, said: object) -> tuple[float, float]:
    """The pair of a row that counts right answers."""
    return float(truth == said), 1.0
