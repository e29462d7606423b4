"""The Impression section: the findings that matter, the most urgent first, in words of its own."""

from __future__ import annotations

import numpy as np

from osler.synth.fact_table import CHANGES
from osler.synth.reports.patterns import Slot, Stream, fill
from osler.synth.reports.phrases import EMPTY
from osler.synth.reports.rows import ABSENT, FactRows
from osler.synth.reports.sentences import Sentences
from osler.synth.reports.voices import STYLES
from osler.synth.reports.wording import Wording

_SALT = 2000
_STYLE = len(STYLES)  # after those of findings
_SETTLED = np.array([change in ("stable", "smaller", "resolved") for change in CHANGES])
_NUMBERS = 9


def impression_text(rows: FactRows, *, wording: Wording) -> Stream:
    """Writes the impression of each exam."""
    exams = rows.bounds.size - 1
    chosen, bounds, fillers = _important(rows, wording=wording, exams=exams)
    items = rows.take(chosen, bounds=bounds)
    sentences = Sentences(items, wording=wording, salt=_SALT)
    patterns = sentences.chosen(np.full(chosen.size, _STYLE))
    patterns = np.where(fillers, wording.sentences.groups["normal"][0], patterns)
    slots = sentences.slots() | {"lead": _lead(items, fillers=fillers, wording=wording)}
    return fill(wording.sentences, chosen=patterns, slots=slots, phrases=wording.phrases).grouped(bounds)


def _important(rows: FactRows, *, wording: Wording, exams: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that an impression names, where each exam's begin, and which rows stand for "normal".

    An exam with nothing abnormal keeps its first row: its bits choose how "normal" is said.
    """
    abnormal = np.flatnonzero(rows.facts.certainty != ABSENT)
    urgency = wording.care[rows.facts.finding[abnormal]] + 4 * _SETTLED[rows.facts.change[abnormal]]
    key = (rows.exam[abnormal] << 8 | urgency) << 20 | (rows.bits[abnormal] >> np.uint64(44)).astype(np.int64)
    abnormal = abnormal[np.argsort(key, kind="stable")]
    exam = rows.exam[abnormal]
    count = np.bincount(exam, minlength=exams)
    begin = np.cumsum(count) - count
    named = abnormal[np.arange(abnormal.size) - begin[exam] < rows.voices.items[exam]]
    normal = np.flatnonzero((count == 0) & (np.diff(rows.bounds) > 0))
    both = np.concatenate([named, rows.bounds[normal]])
    order = np.argsort(rows.exam[both], kind="stable")
    fillers = np.concatenate([np.zeros(named.size, dtype=bool), np.ones(normal.size, dtype=bool)])
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rows.exam[both], minlength=exams))])
    return both[order], bounds, fillers[order]


def _lead(items: FactRows, *, fillers: np.ndarray, wording: Wording) -> Slot:
    """A number, a dash or a space before each item."""
    place = np.arange(items.exam.size) - items.bounds[items.exam]
    numbering = np.where(fillers, 0, items.voice("numbering"))
    first, later = wording.item_numbers

    def lead(at: np.ndarray) -> np.ndarray:
        k = np.minimum(place[at], _NUMBERS - 1)
        numbered = np.where(place[at] == 0, first[k], later[k])
        prose = np.where(place[at] == 0, EMPTY, wording.single["space"])
        dashes = np.where(place[at] == 0, wording.single["dash"], wording.single["dash_line"])
        return np.choose(numbering[at], [prose, numbered, dashes])

    return lead
