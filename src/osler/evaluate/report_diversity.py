"""How varied reports are: distinct 4-grams, lengths, vocabulary, and the same of real ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from osler.evaluate.report_words import ngrams, read_words

_WORD = re.compile(r"[^\W\d_]{2,}")
_MASKED = "xxxx"
"""What the real reports hold in place of a name or date."""


class DistinctCount:
    """Counts different hashes in bounded memory.

    Exact up to ``room``; then only hashes with ``level`` low zero bits are kept and the
    count is scaled (adaptive sampling, Flajolet, "On adaptive sampling", 1990): the
    standard error is 1.2 / sqrt(room), 0.06% by default.

    Args:
        room: Hashes kept at most; as many wait to be sorted in.
    """

    def __init__(self, *, room: int = 4_000_000) -> None:
        self.room = room
        self._level = 0
        self._kept = np.zeros(0, dtype=np.uint64)
        self._waiting: list[np.ndarray] = []

    def add(self, hashes: np.ndarray) -> None:
        """Counts hashes, uint64, evenly spread over all bits."""
        self._waiting.append(np.unique(self._sampled(hashes)))
        if sum(map(len, self._waiting)) > self.room:
            self._merge()

    def value(self) -> int:
        """How many different ones there were."""
        self._merge()
        return len(self._kept) << self._level

    def _merge(self) -> None:
        self._kept = np.unique(np.concatenate([self._kept, *self._waiting]))
        self._waiting = []
        while len(self._kept) > self.room:
            self._level += 1
            self._kept = self._sampled(self._kept)

    def _sampled(self, hashes: np.ndarray) -> np.ndarray:
        low = np.uint64((1 << self._level) - 1)
        return hashes[(hashes & low) == 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Distinct n-grams among the first ``reports`` reports.

    Args:
        reports: Read so far. words: Of them. grams: n-grams, repeats counted. distinct: Different ones.
    """

    reports: int
    words: int
    grams: int
    distinct: int


def distinct_curve(
    batches: Iterable[Sequence[str]], *, length: int = 4, marks: Sequence[int] = (), room: int = 4_000_000
) -> list[CurvePoint]:
    """Counts distinct n-grams as reports are added.

    Args:
        batches: Reports, in portions.
        length: Words of an n-gram.
        marks: Numbers of reports at which a point is taken, ascending; one more is taken at the end.
        room: See `DistinctCount`.

    Returns:
        Points; a batch is cut where a mark lies in it.
    """
    seen = DistinctCount(room=room)
    points: list[CurvePoint] = []
    reports = words = grams = 0
    waiting = list(marks)
    for batch in batches:
        texts = list(batch)
        while texts:
            ahead = waiting[0] - reports if waiting else len(texts)
            part, texts = texts[:ahead], texts[ahead:]
            table = read_words(part)
            hashes, _ = ngrams(table, length=length)
            seen.add(hashes)
            reports, words, grams = reports + len(part), words + len(table.hashes), grams + len(hashes)
            if waiting and reports == waiting[0]:
                points.append(CurvePoint(reports=reports, words=words, grams=grams, distinct=seen.value()))
                waiting.pop(0)
    if reports and (not points or points[-1].reports != reports):
        points.append(CurvePoint(reports=reports, words=words, grams=grams, distinct=seen.value()))
    return points


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Words in a report or a section: mean and quantiles over ``count`` of them."""

    count: int
    mean: float
    p5: int
    p50: int
    p95: int


def lengths(texts: Sequence[str]) -> Lengths:
    """Measures the lengths of texts in words; empty ones are left out."""
    counts = read_words(texts).counts()
    counts = counts[counts > 0]
    if not len(counts):
        return Lengths(count=0, mean=0.0, p5=0, p50=0, p95=0)
    p5, p50, p95 = (int(value) for value in np.percentile(counts, (5, 50, 95)))
    return Lengths(count=len(counts), mean=round(float(counts.mean()), 1), p5=p5, p50=p50, p95=p95)


def vocabulary(texts: Iterable[str]) -> Counter[str]:
    """Counts words of two and more letters, in lower case; masked words are left out."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text.lower()))
    counts.pop(_MASKED, None)
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How the words of two collections meet, cut to the same number of reports.

    Args:
        ours: Different words of ours. theirs: Different words of the other collection.
        covered: Share of the other's running words that stand in ours.
        foreign: Share of our running words that stand nowhere in the other.
        missing: The other's commonest words that ours lacks.
    """

    ours: int
    theirs: int
    covered: float
    foreign: float
    missing: tuple[str, ...]


def overlap(ours: Counter[str], *, theirs: Counter[str]) -> Overlap:
    """Compares two vocabularies."""
    missing = [word for word, _ in theirs.most_common() if word not in ours]
    return Overlap(
        ours=len(ours),
        theirs=len(theirs),
        covered=_share(sum(count for word, count in theirs.items() if word in ours), theirs),
        foreign=_share(sum(count for word, count in ours.items() if word not in theirs), ours),
        missing=tuple(missing[:40]),
    )


def _share(part: int, whole: Counter[str]) -> float:
    return part / whole.total() if whole else 0.0
