"""The facts of some exams as the rows that sentences are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.synth.draws import Draws
from osler.synth.fact_table import CERTAINTIES, FactTable, FindingColumns
from osler.synth.ontology import load_ontology
from osler.synth.reports.voices import Voices

ABSENT = CERTAINTIES.index("absent")
_MOST_ROWS = 1024  # findings of an exam


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactRows:
    """Findings of some exams, in any order within an exam.

    Args:
        exam: (F,) row among the exams that are rendered, rising. bounds: (E + 1,) rows of each exam.
        bits: (F,) uint64, for the choices of a row.
        days: (F,) since the compared exam.
        knee: (F,) whether the exam shows one knee. slide: (F,) whether it is a slide.
        facts: Columns of the same rows.
    """

    exam: np.ndarray
    bounds: np.ndarray
    bits: np.ndarray
    days: np.ndarray
    knee: np.ndarray
    slide: np.ndarray
    facts: FindingColumns
    voices: Voices

    def take(self, rows: np.ndarray, *, bounds: np.ndarray) -> FactRows:
        """Some of the rows, in a new order."""
        return FactRows(
            exam=self.exam[rows],
            bounds=bounds,
            bits=self.bits[rows],
            days=self.days[rows],
            knee=self.knee[rows],
            slide=self.slide[rows],
            facts=take_findings(self.facts, rows),
            voices=self.voices,
        )

    def voice(self, name: str) -> np.ndarray:
        """A column of the voices, for each row."""
        return getattr(self.voices, name)[self.exam]


def fact_rows(table: FactTable, *, exams: np.ndarray, voices: Voices) -> FactRows:
    """The findings of some exams.

    Args:
        exams: (E,) rows of the table's exams, rising. voices: Of these exams.
    """
    columns = table.exams
    start = columns.finding_start[exams]
    count = columns.finding_start[exams + 1] - start
    bounds = np.concatenate([[0], np.cumsum(count)])
    exam = np.repeat(np.arange(exams.size), count)
    order = np.arange(exam.size) - bounds[exam]
    source = exams[exam]
    draws = Draws(seed=table.seed, patients=table.patients.number[columns.patient[source]])
    days = np.where(columns.compared >= 0, columns.day - columns.compared_day, 0)
    return FactRows(
        exam=exam,
        bounds=bounds,
        bits=draws.bits("report-sentence", columns.number[source].astype(np.int64) * _MOST_ROWS + order),
        days=days[source],
        knee=_protocols_of(region="knee")[columns.protocol[source]],
        slide=_protocols_of(modality="SM")[columns.protocol[source]],
        facts=take_findings(table.findings, start[exam] + order),
        voices=voices,
    )


def take_findings(columns: FindingColumns, rows: np.ndarray) -> FindingColumns:
    """Rows of the columns that sentences need; positions stay behind."""
    kept = ("finding", "certainty", "side", "site", "severity", "size_mm", "change", "change_percent", "prior_size_mm")
    taken = {name: getattr(columns, name)[rows] for name in kept}
    left = {name: np.empty(0) for name in ("exam", "lesion", "axes_mm", "center_mm")}
    return FindingColumns(**taken, **left)


@cache
def _protocols_of(*, region: str = "", modality: str = "") -> np.ndarray:
    """By protocol, whether it is of a region or a modality."""
    return np.array([region == entry.region or modality == entry.modality for entry in load_ontology().protocols])
