"""Slots of the sentences about findings: how each is filled for many rows at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osler.synth.fact_table import CERTAINTIES, CHANGES, SEVERITIES
from osler.synth.reports.patterns import Slot
from osler.synth.reports.phrases import EMPTY
from osler.synth.reports.places import place_row
from osler.synth.reports.rows import FactRows
from osler.synth.reports.voices import choose
from osler.synth.reports.wording import COUNTED, KINDS, PLURAL, Choices, Wording

# Salts: each choice of a row has its own.
_PATTERN, _NOUN, _PLACE, _SINCE, _CERTAINTY, _SEVERITY, _ADVICE = range(1, 8)
_FIRST_WORD_SALT = 100
_MANY = 4
_RESOLVED = CHANGES.index("resolved")
_SETTLED = np.array([change in ("smaller", "stable", "resolved") for change in CHANGES])
_NOT_URGENT = 1  # row of advice


class Sentences:
    """The rows with their nouns, places and sizes chosen, and a function for each slot.

    Args:
        rows: In the order of the text.
        wording: Of their language.
        salt: Another number gives other wording for the same rows.
    """

    def __init__(self, rows: FactRows, *, wording: Wording, salt: int) -> None:
        self.rows, self.wording, self._salt = rows, wording, salt
        self._noun = self._pick(wording.nouns.choices, rows.facts.finding, salt=_NOUN)
        self.noun = wording.nouns.phrase[self._noun]
        grammar = wording.nouns.grammar[self._noun]
        self._counted = grammar % 10 == COUNTED
        self.gender = np.where(grammar % 10 == PLURAL, _MANY, grammar // 10)
        self._place_row = place_row(
            rows.facts.finding, site=rows.facts.site.astype(np.int64), side=rows.facts.side, knee=rows.knee
        )
        self._unit = rows.voice("unit")

    def chosen(self, styles: np.ndarray) -> np.ndarray:
        """A pattern for each row, by its style, kind and certainty."""
        facts = self.rows.facts
        measured = np.where(facts.change == _RESOLVED, facts.prior_size_mm, facts.size_mm) > 0
        kind = facts.change.astype(np.int64) * 2 + measured
        kind = np.where((facts.change == _RESOLVED) & self.wording.device[facts.finding], len(KINDS) - 1, kind)
        where = styles, kind, facts.certainty
        count = self.wording.sentence_count[where]
        return self.wording.sentence_start[where] + choose(self.rows.bits, count=count, salt=self._salt + _PATTERN)

    def slots(self) -> dict[str, Slot]:
        """All slots of the sentences, by name."""
        return self._word_slots() | self._fact_slots() | self._article_slots()

    def _word_slots(self) -> dict[str, Slot]:
        words = self.wording.words
        names = [name for name in words if "." not in name]
        slots = {
            name: self._word(words[name], salt=self._salt + _FIRST_WORD_SALT + 2 * k) for k, name in enumerate(names)
        }
        normal, of_slide = slots["normal"], slots["normal-slide"]
        return slots | {"normal": lambda rows: np.where(self.rows.slide[rows], of_slide(rows), normal(rows))}

    def _word(self, texts: np.ndarray, *, salt: int) -> Slot:
        def slot(rows: np.ndarray) -> np.ndarray:
            if len(texts) == 1:
                return texts[0, self.gender[rows]]
            return texts[choose(self.rows.bits[rows], count=len(texts), salt=salt), self.gender[rows]]

        return slot

    def _fact_slots(self) -> dict[str, Slot]:
        w, facts = self.wording, self.rows.facts
        since = choose(self.rows.bits, count=len(w.since), salt=self._salt + _SINCE)
        return {
            "noun": lambda rows: self.noun[rows],
            "cert": self._cert,
            "sev": self._severity,
            "size": lambda rows: w.sizes[self._unit[rows], facts.size_mm[rows]],
            "size_adj": lambda rows: self._before_noun(rows, facts.size_mm),
            "size_prior_adj": lambda rows: self._before_noun(rows, facts.prior_size_mm),
            "prior": lambda rows: w.sizes[self._unit[rows], facts.prior_size_mm[rows]],
            "percent": lambda rows: w.whole[np.abs(facts.change_percent[rows])],
            "days": lambda rows: w.days[self.rows.days[rows]],
            "in": self._in,
            "at": lambda rows: np.where(self._attribute(rows) == EMPTY, self._in(rows), EMPTY),
            "attr": self._attribute,
            "loc": self._placed(w.plain_places),
            "front": self._placed(w.fronts),
            "lead_in": self._placed(w.lead_ins),
            "c_site": self._placed(w.comma_places),
            "since_a": lambda rows: w.since[since[rows], 0],
            "since_d": lambda rows: np.where(w.since[since[rows], 1] == EMPTY, EMPTY, w.days[self.rows.days[rows]]),
            "since_b": lambda rows: w.since[since[rows], 2],
            "status": self._status,
            "c_sev": self._comma_severity,
            "box": self._single("box_yes"),
            "box_no": self._single("box_no"),
            "advice": lambda rows: self._pick_for(w.advice, self._advice_row(), rows, salt=_ADVICE),
        }

    def _article_slots(self) -> dict[str, Slot]:
        """Articles by what may stand after them."""

        def after(*slots: Callable[[np.ndarray], np.ndarray]) -> Slot:
            def article(rows: np.ndarray) -> np.ndarray:
                first = slots[-1](rows)
                for slot in reversed(slots[:-1]):
                    number = slot(rows)
                    first = np.where(number == EMPTY, first, number)
                return self._article(rows, vowel=self.wording.phrases.vowel[first])

            return article

        def size(rows: np.ndarray) -> np.ndarray:
            return self._before_noun(rows, self.rows.facts.size_mm)

        return {
            "a_n": after(self._cert, self._severity, lambda rows: self.noun[rows]),
            "a_c": after(self._cert, size),
            "a_j": after(self._cert, self._severity, self._attribute, lambda rows: self.noun[rows]),
            "a_0": after(self._severity, lambda rows: self.noun[rows]),
            "a_s": after(size),
            "a_new": lambda rows: self._article(rows, vowel=np.zeros(rows.size, dtype=bool)),
        }

    def _article(self, rows: np.ndarray, *, vowel: np.ndarray) -> np.ndarray:
        single = self.wording.single
        return np.where(self._counted[rows], np.where(vowel, single["an"], single["a"]), EMPTY)

    def _pick(self, choices: Choices, row: np.ndarray, *, salt: int) -> np.ndarray:
        drawn = choose(self.rows.bits, count=choices.count[row], salt=self._salt + salt)
        return choices.numbers[choices.start[row] + drawn]

    def _pick_for(self, choices: Choices, row: np.ndarray, rows: np.ndarray, *, salt: int) -> np.ndarray:
        row = row[rows]
        drawn = choose(self.rows.bits[rows], count=choices.count[row], salt=self._salt + salt)
        return choices.numbers[choices.start[row] + drawn]

    def _advice_row(self) -> np.ndarray:
        """Kind of advice for each row: what is stable or better is no longer urgent."""
        care = self.wording.care[self.rows.facts.finding]
        return np.where(_SETTLED[self.rows.facts.change], np.maximum(care, _NOT_URGENT), care)

    def _cert(self, rows: np.ndarray) -> np.ndarray:
        return self._graded("certainty", names=CERTAINTIES, grade=self.rows.facts.certainty[rows], rows=rows, end="")

    def _status(self, rows: np.ndarray) -> np.ndarray:
        grade = self.rows.facts.certainty[rows]
        found = self._graded("certainty", names=CERTAINTIES, grade=grade, rows=rows, end="_word")
        return np.where(found == EMPTY, self._word_slots()["yes"](rows), found)

    def _severity(self, rows: np.ndarray) -> np.ndarray:
        return self._severity_word(rows, end="")

    def _comma_severity(self, rows: np.ndarray) -> np.ndarray:
        return self._severity_word(rows, end="_after")

    def _severity_word(self, rows: np.ndarray, *, end: str) -> np.ndarray:
        """How severe; for tumors, of which grade."""
        severity = self.rows.facts.severity[rows]
        if not severity.any():
            return np.zeros(rows.size, dtype=np.int32)
        found = self._graded("severity", names=SEVERITIES, grade=severity, rows=rows, end=end)
        grade = self._graded("grade", names=SEVERITIES, grade=severity, rows=rows, end=end)
        return np.where(self.wording.graded[self.rows.facts.finding[rows]], grade, found)

    def _graded(
        self, kind: str, *, names: tuple[str, ...], grade: np.ndarray, rows: np.ndarray, end: str
    ) -> np.ndarray:
        """A word for a grade; nothing for grades without words."""
        numbers = np.zeros(rows.size, dtype=np.int32)
        salt = self._salt + (_CERTAINTY if kind == "certainty" else _SEVERITY)
        for i, name in enumerate(names):
            texts = self.wording.words.get(f"{kind}.{name}{end}")
            at = np.flatnonzero(grade == i)
            if texts is not None and at.size:
                chosen = rows[at]
                drawn = choose(self.rows.bits[chosen], count=len(texts), salt=salt)
                numbers[at] = texts[drawn, self.gender[chosen]]
        return numbers

    def _before_noun(self, rows: np.ndarray, size: np.ndarray) -> np.ndarray:
        return self.wording.sizes_before_noun[self._unit[rows], self.rows.voice("hyphen")[rows], size[rows]]

    def _in(self, rows: np.ndarray) -> np.ndarray:
        return self._pick_for(self.wording.places, self._place_row, rows, salt=_PLACE)

    def _attribute(self, rows: np.ndarray) -> np.ndarray:
        found = self._pick_for(self.wording.attributes, self._place_row, rows, salt=_PLACE)
        return np.where(self.wording.nouns.attributive[self._noun[rows]], found, EMPTY)

    def _placed(self, table: np.ndarray) -> Slot:
        """The place, in another form of the same choice."""
        places = self.wording.places

        def slot(rows: np.ndarray) -> np.ndarray:
            row = self._place_row[rows]
            drawn = choose(self.rows.bits[rows], count=places.count[row], salt=self._salt + _PLACE)
            return table[places.start[row] + drawn]

        return slot

    def _single(self, name: str) -> Slot:
        return lambda rows: np.full(rows.size, self.wording.single[name], dtype=np.int32)
