"""Indication, Technique and Comparison: what was known before the pictures were read."""

from __future__ import annotations

from functools import cache

import numpy as np

from osler.synth.fact_table import SEXES, FactTable
from osler.synth.ontology import load_ontology
from osler.synth.reports.patterns import Slot, Stream, fill
from osler.synth.reports.voices import Voices, choose
from osler.synth.reports.wording import Wording

_MODALITIES = ("CT", "MR", "DX", "SM")
_INDICATION, _TECHNIQUE, _COMPARISON, _SEX = range(1, 5)
_MOST_TENTHS, _MOST_HUNDREDTHS = 19_999, 1_999


class HeaderText:
    """The first sections of some exams.

    Args:
        table: All facts. exams: (E,) rows that are rendered. voices: Of these exams.
    """

    def __init__(self, table: FactTable, *, exams: np.ndarray, voices: Voices, wording: Wording) -> None:
        self._columns, self._exams = table.exams, exams
        self._bits, self._wording = voices.bits, wording
        self._slots = self._number_slots() | self._word_slots()

    def indication(self) -> Stream:
        """Why the exam was made."""
        return self._fill(self._pattern(["indication"], salt=_INDICATION))

    def technique(self) -> Stream:
        """How it was made."""
        modality = _modality_of_protocols()[self._columns.protocol[self._exams]]
        names = [f"technique-{name}" for name in _MODALITIES]
        return self._fill(self._pattern(names, group=modality, salt=_TECHNIQUE))

    def comparison(self) -> Stream:
        """What it is compared with."""
        compared = (self._columns.compared[self._exams] >= 0).astype(np.int64)
        return self._fill(self._pattern(["comparison-none", "comparison-prior"], group=compared, salt=_COMPARISON))

    def _pattern(self, names: list[str], *, salt: int, group: np.ndarray | int = 0) -> np.ndarray:
        start, count = self._wording.header.ranges(names)
        return start[group] + choose(self._bits, count=count[group], salt=salt)

    def _fill(self, chosen: np.ndarray) -> Stream:
        return fill(self._wording.header, chosen=chosen, slots=self._slots, phrases=self._wording.phrases)

    def _number_slots(self) -> dict[str, Slot]:
        w, c = self._wording, self._columns
        whole = {"age": c.age, "kvp": c.kvp, "mas": c.mas, "slices": c.slices, "magnification": c.magnification}
        slots: dict[str, Slot] = {name: self._whole(column) for name, column in whole.items()}
        slots["days"] = lambda rows: w.days[(c.day - c.compared_day)[self._exams[rows]]]
        slots["a_age"] = lambda rows: np.where(w.phrases.vowel[slots["age"](rows)], w.single["an"], w.single["a"])
        for name, column in {"te": c.te_ms, "field": c.field_t}.items():
            slots[name] = self._tenths(column)
        slots["tr"] = lambda rows: w.whole[np.rint(np.nan_to_num(c.tr_ms[self._exams[rows]])).astype(np.int64)]
        for name, column in {"slice": c.slice_mm, "pixel": c.pixel_mm}.items():
            slots[name] = self._hundredths(column)
        return slots

    def _word_slots(self) -> dict[str, Slot]:
        c = self._columns
        slots: dict[str, Slot] = {
            name: self._named("acquisition", column)
            for name, column in {
                "kernel": c.kernel,
                "contrast": c.contrast,
                "sequence": c.sequence,
                "view": c.view,
                "stain": c.stain,
            }.items()
        }
        slots["protocol"] = lambda rows: self._protocol(self._exams[rows])
        slots["indication"] = self._named("indication", c.indication)
        slots["prior_protocol"] = lambda rows: self._protocol(c.compared[self._exams[rows]])
        slots["sex"] = self._sex
        return slots

    def _whole(self, column: np.ndarray) -> Slot:
        return lambda rows: self._wording.whole[column[self._exams[rows]]]

    def _tenths(self, column: np.ndarray) -> Slot:
        return lambda rows: self._wording.tenths[_steps(column[self._exams[rows]], per_unit=10, most=_MOST_TENTHS)]

    def _hundredths(self, column: np.ndarray) -> Slot:
        return lambda rows: self._wording.hundredths[
            _steps(column[self._exams[rows]], per_unit=100, most=_MOST_HUNDREDTHS)
        ]

    def _named(self, name: str, column: np.ndarray) -> Slot:
        return lambda rows: self._wording.names[name][column[self._exams[rows]]]

    def _protocol(self, exams: np.ndarray) -> np.ndarray:
        return self._wording.names["protocol"][self._columns.protocol[exams], self._columns.side[exams]]

    def _sex(self, rows: np.ndarray) -> np.ndarray:
        words = np.stack([self._wording.words[f"sex.{sex}"][:, 0] for sex in SEXES])
        drawn = choose(self._bits[rows], count=words.shape[1], salt=_SEX)
        return words[self._columns.sex[self._exams[rows]], drawn]


def _steps(values: np.ndarray, *, per_unit: int, most: int) -> np.ndarray:
    return np.minimum(np.rint(np.nan_to_num(values) * per_unit), most).astype(np.int64)


@cache
def _modality_of_protocols() -> np.ndarray:
    return np.array([_MODALITIES.index(protocol.modality) for protocol in load_ontology().protocols])
