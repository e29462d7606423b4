"""The facts of each report as JSON, written for many exams at once, and read back.

Values that are unset are left out, as the defaults of `FindingFact` are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from osler.errors import FileFormatError
from osler.synth.fact_table import CERTAINTIES, CHANGES, SEVERITIES, SEXES, SIDES, FactTable
from osler.synth.facts import Exam, FindingFact, Sex
from osler.synth.metadata import read_acquisition
from osler.synth.ontology import load_ontology
from osler.synth.reports.patterns import Patterns, Slot, Stream, compile_patterns, fill
from osler.synth.reports.phrases import EMPTY, PhraseBook, Phrases
from osler.synth.reports.rows import ABSENT

FACTS_SCHEMA = "1.0"
_MOST_WHOLE = 100_000
_MOST_TENTHS = 10_000  # 1 m
_MOST_SIZE = 10_000
_LEAST_PERCENT = 100  # below zero
_WORDS_SHAPE = (len(CERTAINTIES), len(SIDES), len(SEVERITIES), len(CHANGES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What one report was rendered from.

    Args:
        seed: Of the collection. patient: Number of the patient in it.
        age: Years on the day of the exam.
    """

    seed: int
    patient: int
    sex: Sex
    age: int
    exam: Exam


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tables:
    """JSON pieces by number."""

    phrases: Phrases
    patterns: Patterns
    findings: np.ndarray
    words: np.ndarray
    sites: np.ndarray
    whole: np.ndarray
    sizes: np.ndarray
    percents: np.ndarray
    priors: np.ndarray
    axes: np.ndarray
    center: np.ndarray
    protocols: np.ndarray
    indications: np.ndarray
    sexes: np.ndarray
    sides: np.ndarray
    comma: int
    end: int


def facts_json(table: FactTable) -> pa.StringArray:
    """Writes the facts of every exam of a table as JSON objects."""
    count = np.diff(table.exams.finding_start)
    rest = _joined(_heads(table), _findings(table), count=count)
    patient = pc.cast(pa.array(table.patients.number[table.exams.patient]), pa.string())
    opening = f'{{"schema":"{FACTS_SCHEMA}","seed":{table.seed},"patient":'
    return pc.binary_join_element_wise(opening, patient, rest, "")


def read_report_facts(facts: str, *, metadata: str) -> ReportFacts:
    """Reads facts and metadata of a report back.

    Args:
        facts: As `facts_json` writes them. metadata: As `osler.synth.metadata.metadata_json` writes it.

    Raises:
        FileFormatError: If they are of another version or not complete.
    """
    try:
        row = json.loads(facts)
        if row["schema"] != FACTS_SCHEMA:
            raise FileFormatError(
                f"Facts of version {row['schema']!r}.",
                allowed=f"This Osler reads version {FACTS_SCHEMA}.",
                next_step="Use the version of Osler that wrote them.",
            )
        exam = Exam(
            number=row["exam"],
            acquisition=read_acquisition(metadata),
            findings=tuple(_read_finding(finding) for finding in row["findings"]),
            **{name: row[name] for name in ("day", "protocol", "modality", "region", "indication")},
            compared=row.get("compared"),
            side=row.get("side", "none"),
        )
        return ReportFacts(seed=row["seed"], patient=row["patient"], sex=row["sex"], age=row["age"], exam=exam)
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            f"Not the facts of a report: {type(error).__name__} at {str(error)[:60]!r}.",
            allowed="The columns 'facts' and 'metadata' of one row of a shard.",
        ) from error


def _read_finding(row: dict[str, Any]) -> FindingFact:
    triples = {name: tuple(map(float, row[name])) for name in ("axes_mm", "center_mm") if name in row}
    return FindingFact(**({"lesion": 0} | row | triples))


def _joined(heads: Stream, findings: Stream, *, count: np.ndarray) -> pa.StringArray:
    """Puts the findings of each exam behind its head."""
    t = _tables()
    row_bounds = np.concatenate([[0], np.cumsum(count)])
    inner = findings.grouped(row_bounds)
    head_size, inner_size = np.diff(heads.bounds), np.diff(inner.bounds)
    bounds = np.concatenate([[0], np.cumsum(head_size + inner_size + 1)])
    numbers = np.full(bounds[-1], t.end, dtype=np.int32)
    numbers[np.arange(heads.numbers.size) + np.repeat(bounds[:-1] - heads.bounds[:-1], head_size)] = heads.numbers
    shift = np.repeat(bounds[:-1] + head_size - inner.bounds[:-1], inner_size)
    numbers[np.arange(inner.numbers.size) + shift] = inner.numbers
    return t.phrases.write(numbers, bounds=bounds)


def _heads(table: FactTable) -> Stream:
    t, e = _tables(), table.exams
    compared = np.where(e.compared >= 0, e.number[np.maximum(e.compared, 0)], 0)
    slots: dict[str, Slot] = {
        "sex": lambda rows: t.sexes[e.sex[rows]],
        "age": lambda rows: t.whole[e.age[rows]],
        "number": lambda rows: t.whole[e.number[rows]],
        "day": lambda rows: t.whole[e.day[rows]],
        "protocol": lambda rows: t.protocols[e.protocol[rows]],
        "side": lambda rows: t.sides[e.side[rows]],
        "indication": lambda rows: t.indications[e.indication[rows]],
        "compared": lambda rows: t.whole[compared[rows]],
    }
    chosen = np.where(e.compared >= 0, t.patterns.groups["compared"][0], t.patterns.groups["first"][0])
    return fill(t.patterns, chosen=chosen, slots=slots, phrases=t.phrases)


def _findings(table: FactTable) -> Stream:
    t, f = _tables(), table.findings
    first = np.zeros(f.finding.size, dtype=bool)
    starts = table.exams.finding_start[:-1]
    first[starts[np.diff(table.exams.finding_start) > 0]] = True
    words = np.ravel_multi_index((f.certainty, f.side, f.severity, f.change), _WORDS_SHAPE)
    slots: dict[str, Slot] = {
        "next": lambda rows: np.where(first[rows], EMPTY, t.comma),
        "finding": lambda rows: t.findings[f.finding[rows]],
        "lesion": lambda rows: t.whole[f.lesion[rows]],
        "words": lambda rows: t.words[words[rows]],
        "site": lambda rows: t.sites[f.site[rows] + 1],
        "size": lambda rows: t.sizes[f.size_mm[rows]],
        "percent": lambda rows: t.percents[f.change_percent[rows] + _LEAST_PERCENT],
        "prior": lambda rows: t.priors[f.prior_size_mm[rows]],
    }
    for axis in range(3):
        slots[f"axis_{axis}"] = _tenths(f.axes_mm[:, axis], texts=t.axes[axis])
        slots[f"center_{axis}"] = _tenths(f.center_mm[:, axis], texts=t.center[axis])
    group = np.where(f.certainty == ABSENT, t.patterns.groups["absent"][0], t.patterns.groups["finding"][0])
    return fill(t.patterns, chosen=group, slots=slots, phrases=t.phrases)


def _tenths(values: np.ndarray, *, texts: np.ndarray) -> Slot:
    """Numbers to 0.1; the last text stands for "unset"."""
    set_values = np.nan_to_num(values, nan=0.0)
    step = np.rint(set_values * 10).astype(np.int64) + _MOST_TENTHS
    row = np.where(np.isnan(values), -1, step)
    return lambda rows: texts[row[rows]]


@cache
def _tables() -> _Tables:
    book, ontology = PhraseBook(), load_ontology()
    head = ',"sex":"{sex}","age":{age},"exam":{number},"day":{day},{protocol}{side},"indication":"{indication}"'
    groups = {
        "first": [head + ',"findings":['],
        "compared": [head + ',"compared":{compared},"findings":['],
        "absent": ['{next}{"key":"{finding}","certainty":"absent"}'],
        "finding": [
            '{next}{"key":"{finding}","lesion":{lesion}{words}{site}{size}{percent}{prior}'
            "{axis_0}{axis_1}{axis_2}{center_0}{center_1}{center_2}}"
        ],
    }
    patterns = compile_patterns(groups, book=book)
    grid = [(certainty, side, severity, change) for certainty in CERTAINTIES for side in SIDES
            for severity in SEVERITIES for change in CHANGES]  # fmt: skip
    parts = {
        "findings": book.add_all(finding.key for finding in ontology.findings),
        "words": book.add_all(_words(*row) for row in grid),
        "sites": book.add_all(["", *(f',"site":"{site.key}"' for site in ontology.sites)]),
        "whole": book.add_all(str(value) for value in range(_MOST_WHOLE)),
        "sizes": _optional("size_mm", book=book),
        "percents": _optional("change_percent", book=book, least=-_LEAST_PERCENT),
        "priors": _optional("prior_size_mm", book=book),
        "axes": _triples("axes_mm", book=book),
        "center": _triples("center_mm", book=book),
        "protocols": book.add_all(
            f'"protocol":"{entry.key}","modality":"{entry.modality}","region":"{entry.region}"'
            for entry in ontology.protocols
        ),
        "indications": book.add_all(entry.key for entry in ontology.indications),
        "sexes": book.add_all(SEXES),
        "sides": book.add_all("" if side == "none" else f',"side":"{side}"' for side in SIDES),
        "comma": book.add(","),
        "end": book.add("]}"),
    }
    return _Tables(patterns=patterns, phrases=book.close(slips={}), **parts)


def _words(certainty: str, side: str, severity: str, change: str) -> str:
    values = {"certainty": certainty, "side": side, "severity": severity, "change": change}
    defaults = {"side": "none", "severity": "none", "change": "first"}
    return "".join(f',"{name}":"{value}"' for name, value in values.items() if value != defaults.get(name))


def _optional(name: str, *, book: PhraseBook, least: int = 0) -> np.ndarray:
    """Whole numbers; 0 is unset."""
    return book.add_all(f',"{name}":{value}' if value else "" for value in range(least, _MOST_SIZE))


def _triples(name: str, *, book: PhraseBook) -> np.ndarray:
    """(3, values + 1) the pieces of three numbers in brackets."""
    values = [f"{step / 10:g}" for step in range(-_MOST_TENTHS, _MOST_TENTHS + 1)]
    return np.stack(
        [
            book.add_all([*(f"{before}{value}{after}" for value in values), ""])
            for before, after in ((f',"{name}":[', ","), ("", ","), ("", "]"))
        ]
    )
