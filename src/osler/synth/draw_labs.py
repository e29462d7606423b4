"""Draws laboratory values that follow the activity of disease over the days.

Each disease process (inflammation, malignancy...) has an activity on every exam: the sum
over the lesions that are there, by their size or grade, plus what chronic conditions
bring. Between exams it is interpolated; after the last it fades. A value is
``typical * exp(spread * noise + shifts of the activities and conditions)``; the noise
has a part that stays with the patient, so normal values differ less within one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_findings import Sightings
from osler.synth.draw_lesions import Lesions
from osler.synth.draw_medications import History
from osler.synth.draw_patients import People
from osler.synth.draw_tables import ACTIVITIES, normal, sum_of_rows, tables, uniform16
from osler.synth.draws import Draws
from osler.synth.fact_table import LabColumns
from osler.synth.ontology import load_ontology

MOST_ACTIVITY = 4.0
BETWEEN = 0.45
"""Chance of laboratory values between two exams."""
AFTER = 0.3
"""Chance of values some days after the last exam."""
FADES = 0.6
"""Activity left at those."""
_STEPS = 256.0  # activities and shifts are whole multiples of 1 / 256: their sums are exact in any order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _LabTables:
    chance: np.ndarray  # (G, panels)
    raised: np.ndarray  # (conditions, panels)
    panel: np.ndarray  # (L,)
    low: np.ndarray  # (sexes, L)
    high: np.ndarray
    typical: np.ndarray
    spread: np.ndarray
    least: np.ndarray
    most: np.ndarray
    decimals: np.ndarray
    shifts: np.ndarray  # (activities, L)
    conditions: np.ndarray  # (conditions, L)
    chronic: np.ndarray  # (conditions, activities)


def _exact(values: np.ndarray) -> np.ndarray:
    return np.rint(values * _STEPS) / _STEPS


@cache
def _lab_tables() -> _LabTables:
    ontology, groups = load_ontology(), tables().groups
    labs, panels, conditions = ontology.labs, ontology.panels, ontology.conditions
    limits = np.array([[lab.female for lab in labs], [lab.male for lab in labs]], dtype=np.float64)
    return _LabTables(
        chance=np.array([[max(p.groups.get(g, 0.0), p.chance) for p in panels] for g in groups]),
        raised=np.array([[p.conditions.get(c.key, 0.0) for p in panels] for c in conditions]),
        panel=np.array([[p.key for p in panels].index(lab.panel) for lab in labs]),
        low=limits[..., 0],
        high=limits[..., 1],
        typical=np.array([lab.typical for lab in labs]).T,
        spread=np.array([lab.spread for lab in labs]),
        least=np.array([lab.least for lab in labs]),
        most=np.array([lab.most for lab in labs]),
        decimals=np.array([lab.decimals for lab in labs]),
        shifts=_exact(np.array([[lab.shifts.get(a, 0.0) for lab in labs] for a in ACTIVITIES])),
        conditions=_exact(np.array([[lab.conditions.get(c.key, 0.0) for lab in labs] for c in conditions])),
        chronic=_exact(np.array([[c.activity.get(a, 0.0) for a in ACTIVITIES] for c in conditions])),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Samplings:
    """One row a day with laboratory values, in order of patient and day."""

    patient: np.ndarray
    exam: np.ndarray  # the exam of that day, or the one before
    index: np.ndarray  # 2 * exam number, 1 more between exams
    day: np.ndarray
    activity: np.ndarray  # (D, activities)


def draw_labs(
    people: People, *, exams: Exams, lesions: Lesions, sightings: Sightings, history: History
) -> tuple[LabColumns, np.ndarray]:
    """Draws the laboratory values, with the starts of their rows by patient."""
    t = _lab_tables()
    activity = _activities(exams, lesions=lesions, sightings=sightings)
    samplings = _samplings(exams, activity=activity)
    draws = people.draws.rows(samplings.patient)
    row, lab = _asked(samplings, draws=draws, exams=exams, people=people)
    patient, sex = samplings.patient[row], people.sex[samplings.patient[row]]
    known = history.has[samplings.patient] & (history.onset[samplings.patient] <= samplings.day[:, None])
    total = np.minimum(samplings.activity + sum_of_rows(t.chronic, chosen=known), MOST_ACTIVITY)
    shift = (np.einsum("da,al->dl", total, t.shifts) + sum_of_rows(t.conditions, chosen=known))[row, lab]
    own = people.draws.rows(patient).bits("lab-person", lab)
    day = draws.rows(row).bits("lab-day", samplings.index[row] * 256 + lab)
    noise = t.spread[lab] * (0.8 * normal(own, part=0) + 0.5 * normal(day, part=0))
    scale = np.array([1.0, 10.0, 100.0])[t.decimals[lab]]
    value = np.clip(t.typical[sex, lab] * np.exp(noise + shift), t.least[lab], t.most[lab])
    value = np.rint(value * scale) / scale
    low, high = t.low[sex, lab], t.high[sex, lab]
    flag = np.where(value < low, 0, np.where(value > high, 2, 1))
    columns = LabColumns(
        patient=patient.astype(np.int32),
        lab=lab.astype(np.int16),
        day=samplings.day[row].astype(np.int32),
        value=value,
        low=low,
        high=high,
        flag=flag.astype(np.int8),
    )
    return columns, np.searchsorted(patient, np.arange(len(people.exams) + 1))


def _activities(exams: Exams, *, lesions: Lesions, sightings: Sightings) -> np.ndarray:
    """Activity of each process on each exam (E, activities), from the lesions in the body."""
    t = tables()
    activity = np.zeros((len(exams.day), len(ACTIVITIES)))
    finding = lesions.finding[sightings.lesion]
    rows = np.nonzero(sightings.there & (t.activity[finding] != 0).any(axis=1))[0]
    finding, level, size = finding[rows], sightings.level[rows], sightings.size[rows]
    by_size = np.clip(size / t.median[finding], 0.3, 2.5)
    amount = np.where(level > 0, level / 2, np.where(size > 0, by_size, np.minimum(sightings.extent[rows], 2.5)))
    weighted = np.rint(t.activity[finding] * amount[:, None] * _STEPS)
    for a in range(len(ACTIVITIES)):
        activity[:, a] = np.bincount(sightings.exam[rows], weights=weighted[:, a], minlength=len(activity)) / _STEPS
    return activity


def _samplings(exams: Exams, *, activity: np.ndarray) -> _Samplings:
    """Days with laboratory values: those of exams, some between, some after the last."""
    count = len(exams.day)
    bits = exams.draws.bits("lab-times", exams.number)
    last = np.concatenate([exams.patient[1:] != exams.patient[:-1], [True]])[:count]
    following = np.minimum(np.arange(count) + 1, count - 1)
    gap = np.where(last, 12, exams.day[following] - exams.day)
    between = (uniform16(bits, part=0) < np.where(last, AFTER, BETWEEN)) & (gap > 2)
    share = uniform16(bits, part=1)
    days_on = 1 + np.floor(share * np.maximum(gap - 1, 1)).astype(np.int64)
    part = (days_on / np.maximum(gap, 1))[:, None]
    later = np.where(last[:, None], activity * FADES, activity * (1 - part) + activity[following] * part)
    exam = np.repeat(np.arange(count), 1 + between)
    extra = np.concatenate([[False], exam[1:] == exam[:-1]])[: len(exam)]
    return _Samplings(
        patient=exams.patient[exam],
        exam=exam,
        index=2 * exams.number[exam] + extra,
        day=exams.day[exam] + np.where(extra, days_on[exam], 0),
        activity=_exact(np.where(extra[:, None], later[exam], activity[exam])),
    )


def _asked(samplings: _Samplings, *, draws: Draws, exams: Exams, people: People) -> tuple[np.ndarray, np.ndarray]:
    """Sampling and lab of every value that is asked for."""
    t = _lab_tables()
    raised = np.zeros((len(people.exams), t.raised.shape[1]))
    for condition in np.nonzero(t.raised.any(axis=1))[0]:
        with_it = people.has[:, condition]
        raised[with_it] = np.maximum(raised[with_it], t.raised[condition])
    chance = np.maximum(t.chance[exams.group[samplings.exam]], raised[samplings.patient])
    panels = np.arange(chance.shape[1], dtype=np.uint64)[None]
    index = samplings.index.astype(np.uint64)[:, None] * np.uint64(64) + panels
    asked = draws.rows((slice(None), None)).uniform("lab-panel", index) < chance
    return np.nonzero(asked[:, t.panel])
