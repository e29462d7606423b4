"""How well the facts read from a text agree with the truth, by kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from osler.synth.facts import FindingFact
from osler.synth.read_back.read_facts import ReadFact, ReadFacts

_UNSAID = {
    "side": "none", "site": "", "size_mm": None, "severity": "none", "change": "first", "change_percent": None,
    "prior_size_mm": None,
}  # fmt: skip
_NAMES = {"size_mm": "size", "change_percent": "percent", "prior_size_mm": "prior size"}
KINDS = ("finding", "negation", "certainty", "side", "site", "size", "severity", "change", "percent", "prior size")
CORE = ("finding", "negation", "side", "size", "change")
"""The kinds that the aim of 99.9% is about."""
_WEIGHTS = {"site": 4, "size_mm": 3, "side": 2, "change": 1, "prior_size_mm": 1, "severity": 1, "certainty": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Agreement of one kind: ``right`` of ``truth`` values recovered, ``right`` of ``read`` values correct."""

    right: int = 0
    truth: int = 0
    read: int = 0

    @property
    def recall(self) -> float:
        """Share of the true values that were read; 1 where there is none."""
        return self.right / self.truth if self.truth else 1.0

    @property
    def precision(self) -> float:
        """Share of the read values that are true; 1 where nothing was read."""
        return self.right / self.read if self.read else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.truth + self.read
        return 2 * self.right / total if total else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A value that does not agree.

    Args:
        kind: For example ``"wrong side"``, ``"size missing"``, ``"negation flipped"``, ``"extra finding"``.
        truth: The fact. read: What was read in its place.
    """

    kind: str
    truth: FindingFact | None
    read: ReadFact | None


@dataclass(slots=True, kw_only=True)
class Factuality:
    """Agreement over one or many reports.

    Args:
        counts: (kind, "right" | "truth" | "read") -> number.
        failures: By kind of failure.
        reports: Added so far.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    reports: int = 0

    def score(self, kind: str) -> Score:
        """Agreement of one of `KINDS`."""
        return Score(right=self.counts[kind, "right"], truth=self.counts[kind, "truth"], read=self.counts[kind, "read"])

    @property
    def scores(self) -> dict[str, Score]:
        """Agreement of every kind."""
        return {kind: self.score(kind) for kind in KINDS}

    def recovered(self, kinds: Iterable[str] = CORE) -> float:
        """Share of the true values of some kinds together that were read."""
        kinds = tuple(kinds)
        truth = sum(self.counts[kind, "truth"] for kind in kinds)
        return sum(self.counts[kind, "right"] for kind in kinds) / truth if truth else 1.0

    def add(self, other: Factuality) -> None:
        """Adds the counts of other reports."""
        self.counts.update(other.counts)
        self.failures.update(other.failures)
        self.reports += other.reports


def factuality(read: ReadFacts, truth: Sequence[FindingFact]) -> Factuality:
    """Compares facts read from a text with the truth.

    A denial of something that the truth does not mention is not counted as read: it is
    neither confirmed nor contradicted. It is listed among the failures all the same.

    Args:
        read: Of `read_report`.
        truth: Findings of the exam.
    """
    result = Factuality(reports=1)
    for failure in compare(read, truth, counts=result.counts):
        result.failures[failure.kind] += 1
    return result


def compare(
    read: ReadFacts, truth: Sequence[FindingFact], *, counts: Counter[tuple[str, str]] | None = None
) -> list[Failure]:
    """Lists what does not agree; counts values into ``counts`` on the way."""
    counts = Counter() if counts is None else counts
    failures: list[Failure] = []
    true_by_key: dict[str, list[FindingFact]] = defaultdict(list)
    read_by_key: dict[str, list[ReadFact]] = defaultdict(list)
    for fact in truth:
        true_by_key[fact.key].append(fact)
    for fact in read.findings:
        read_by_key[fact.key].append(fact)
    for key in {**true_by_key, **read_by_key}:
        for true_fact, read_fact in _pairs(true_by_key[key], read_by_key[key]):
            failures.extend(_compare_pair(true_fact, read_fact, counts=counts))
    return failures


def _pairs(
    truths: Sequence[FindingFact], reads: Sequence[ReadFact]
) -> list[tuple[FindingFact | None, ReadFact | None]]:
    """Pairs facts of one finding, the most alike first; the rest stay alone."""
    open_truths, open_reads = list(range(len(truths))), list(range(len(reads)))
    likeness = sorted(((_likeness(truths[i], reads[j]), -i, -j) for i in open_truths for j in open_reads), reverse=True)
    pairs: list[tuple[FindingFact | None, ReadFact | None]] = []
    for _, i, j in likeness:
        if -i in open_truths and -j in open_reads:
            open_truths.remove(-i)
            open_reads.remove(-j)
            pairs.append((truths[-i], reads[-j]))
    return pairs + [(truths[i], None) for i in open_truths] + [(None, reads[j]) for j in open_reads]


def _likeness(true_fact: FindingFact, read_fact: ReadFact) -> int:
    same_sign = 20 * ((true_fact.certainty == "absent") == (read_fact.certainty == "absent"))
    return same_sign + sum(
        weight * (getattr(true_fact, name) == getattr(read_fact, name) != _UNSAID.get(name))
        for name, weight in _WEIGHTS.items()
    )


def _compare_pair(
    true_fact: FindingFact | None, read_fact: ReadFact | None, *, counts: Counter[tuple[str, str]]
) -> list[Failure]:
    found: list[str] = []
    denied = true_fact is not None and true_fact.certainty == "absent"
    read_denied = read_fact is not None and read_fact.certainty == "absent"
    if true_fact is not None:
        counts["negation" if denied else "finding", "truth"] += 1
    if read_fact is not None and not (read_denied and true_fact is None):
        counts["negation" if read_denied else "finding", "read"] += 1
    if true_fact is not None and read_fact is not None:
        if denied == read_denied:
            counts["negation" if denied else "finding", "right"] += 1
        else:
            found.append("negation flipped")
    elif true_fact is not None:
        found.append("negation missing" if denied else "finding missing")
    else:
        found.append("extra negation" if read_denied else "extra finding")
    if not denied and not read_denied:
        found.extend(_compare_values(true_fact, read_fact, counts=counts))
    elif true_fact is not None and not denied:
        found.extend(_compare_values(true_fact, None, counts=counts))
    return [Failure(kind=kind, truth=true_fact, read=read_fact) for kind in found]


def _compare_values(
    true_fact: FindingFact | None, read_fact: ReadFact | None, *, counts: Counter[tuple[str, str]]
) -> Iterable[str]:
    both = true_fact is not None and read_fact is not None
    if true_fact is not None:
        counts["certainty", "truth"] += 1
    if read_fact is not None:
        counts["certainty", "read"] += 1
    if true_fact is not None and read_fact is not None:
        if true_fact.certainty == read_fact.certainty:
            counts["certainty", "right"] += 1
        else:
            yield "wrong certainty"
    for name, unsaid in _UNSAID.items():
        kind = _NAMES.get(name, name)
        true_value, read_value = _value(true_fact, name, unsaid), _value(read_fact, name, unsaid)
        if name == "prior_size_mm" and true_fact is not None and true_fact.change == "stable":
            continue  # "unchanged" says it well enough: the size before may differ by what is not worth a word
        counts[kind, "truth"] += true_value != unsaid
        counts[kind, "read"] += read_value != unsaid
        if true_value == read_value:
            counts[kind, "right"] += true_value != unsaid
        elif both:
            yield (
                f"{kind} missing"
                if read_value == unsaid
                else f"extra {kind}"
                if true_value == unsaid
                else f"wrong {kind}"
            )


def _value(fact: FindingFact | ReadFact | None, name: str, unsaid: Any) -> Any:
    return unsaid if fact is None else getattr(fact, name)
