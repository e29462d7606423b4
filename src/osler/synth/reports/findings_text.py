"""The Findings section: every fact in a sentence of its own, negatives taken together."""

from __future__ import annotations

import numpy as np

from osler.synth.reports.patterns import Slot, Stream, fill
from osler.synth.reports.phrases import EMPTY
from osler.synth.reports.rows import ABSENT, FactRows
from osler.synth.reports.sentences import Sentences
from osler.synth.reports.voices import STYLES, choice_share, choose
from osler.synth.reports.wording import Wording

_SALT = 1000
_NEGATIVE, _GROUP, _SERIAL, _HEADING = range(50, 54)
_ALONE = 0.25
_SERIAL_SHARE = 0.5
_STRUCTURED, _TEMPLATE = STYLES.index("structured"), STYLES.index("template")
_TURNS = 8


def findings_text(rows: FactRows, *, wording: Wording) -> Stream:
    """Writes the findings of each exam; nothing where an exam has none."""
    rows = rows.take(_order(rows, wording=wording), bounds=rows.bounds)
    sentences = Sentences(rows, wording=wording, salt=_SALT)
    negative = rows.facts.certainty == ABSENT
    style = rows.voice("sentences")
    chosen = np.where(negative, _negative_pattern(style, wording=wording), sentences.chosen(style))
    organ = wording.organ_of[rows.facts.finding]
    groups = _Groups(rows, negative=negative, organ=organ, sentences=sentences)
    slots = sentences.slots() | groups.slots() | {"lead": _lead(rows, organ=organ, groups=groups, wording=wording)}
    return fill(wording.sentences, chosen=chosen, slots=slots, phrases=wording.phrases).grouped(rows.bounds)


def _order(rows: FactRows, *, wording: Wording) -> np.ndarray:
    """Rows of each exam by organ, abnormal ones first, in a random order of the rest."""
    organs = len(wording.organs)
    turn = rows.voice("turn")
    place = wording.organ_of[rows.facts.finding] + turn % _TURNS
    place = np.where(turn < 4 * _TURNS, place % organs, organs - 1 - place % organs)
    negative = rows.facts.certainty == ABSENT
    first = np.where(rows.voice("positives") == 1, negative, 0)
    key = (rows.exam << 2 | first) << 8 | place
    key = (key << 1 | negative) << 20 | (rows.bits >> np.uint64(44)).astype(np.int64)
    return np.argsort(key, kind="stable")


def _negative_pattern(style: np.ndarray, *, wording: Wording) -> np.ndarray:
    groups = wording.sentences.groups
    return np.where(style == _TEMPLATE, groups["negative-template"][0], groups["negative"][0])


class _Groups:
    """Neighboring negatives that share a sentence: "No A, B or C."."""

    def __init__(self, rows: FactRows, *, negative: np.ndarray, organ: np.ndarray, sentences: Sentences) -> None:
        self._rows, self._sentences = rows, sentences
        self._wording = sentences.wording
        size = negative.size
        new_exam = np.ones(size, dtype=bool)
        new_exam[1:] = rows.exam[1:] != rows.exam[:-1]
        self.new_exam = new_exam
        self.new_organ = new_exam.copy()
        self.new_organ[1:] |= organ[1:] != organ[:-1]
        apart = choice_share(rows.bits, salt=_GROUP) < _ALONE
        by_organ = (rows.voice("positives") == 0) & self.new_organ
        starts = new_exam | ~negative | by_organ | apart
        starts[1:] |= ~negative[:-1]
        self.starts = starts
        begin = np.flatnonzero(starts)
        group = np.cumsum(starts) - 1
        self._first = begin[group] if size else begin
        length = np.diff(np.append(begin, size))
        self._place = np.arange(size) - self._first
        self._left = (length[group] if size else length) - 1 - self._place
        self._way = self._ways()

    def _ways(self) -> np.ndarray:
        """How each group says no, for each row of it."""
        use = self._wording.negative_use
        spoken = np.minimum(self._rows.voice("sentences"), len(use) - 1)
        way = np.zeros(spoken.size, dtype=np.int64)
        for style, ways in enumerate(use):
            at = np.flatnonzero(spoken == style)
            way[at] = ways[choose(self._rows.bits[self._first[at]], count=len(ways), salt=_NEGATIVE)]
        return way

    def slots(self) -> dict[str, Slot]:
        """Words before and after the noun of a negative."""
        return {"neg_before": self._before, "neg_after": self._after}

    def _before(self, rows: np.ndarray) -> np.ndarray:
        negatives, place = self._wording.negatives, self._place[rows]
        gender = self._sentences.gender[rows]
        first = self._wording.phrases.capital[negatives["before"][self._way[rows], gender]]
        serial = choice_share(self._rows.bits[self._first[rows]], salt=_SERIAL) < _SERIAL_SHARE
        last = negatives["last"][(serial & (place > 1)).astype(np.int64), gender]
        between = np.where(self._left[rows] == 0, last, negatives["comma"][0, gender])
        return np.where(place == 0, first, between)

    def _after(self, rows: np.ndarray) -> np.ndarray:
        after = self._wording.negatives["after"][self._way[rows], self._sentences.gender[rows]]
        return np.where(self._left[rows] == 0, after, EMPTY)


def _lead(rows: FactRows, *, organ: np.ndarray, groups: _Groups, wording: Wording) -> Slot:
    """What stands before a sentence: nothing, a space, a new line, an organ's heading."""
    single = wording.single
    style, paragraphs = rows.voice("style"), rows.voice("paragraphs")
    heading_style = rows.voice("turn") % wording.organs.shape[1]

    def lead(at: np.ndarray) -> np.ndarray:
        first, organ_first = groups.new_exam[at], groups.new_organ[at]
        plain = np.where(organ_first & (paragraphs[at] == 1), single["line"], single["space"])
        found = np.where(first, EMPTY, plain)
        found = np.where(style[at] == _TEMPLATE, np.where(first, EMPTY, single["line"]), found)
        heading = wording.organs[organ[at], heading_style[at], np.where(first, 0, 1)]
        found = np.where((style[at] == _STRUCTURED) & organ_first, heading, found)
        inside = ~groups.starts[at] & (style[at] != _TEMPLATE)
        return np.where(inside, EMPTY, found)

    return lead
