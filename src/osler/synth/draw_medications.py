"""Draws diagnoses and drugs: chronic ones, and those that findings establish."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_findings import Sightings
from osler.synth.draw_lesions import Lesions, one_of_each
from osler.synth.draw_patients import People
from osler.synth.draw_tables import tables, uniform16
from osler.synth.fact_table import STILL_TAKEN, ConditionColumns, MedicationColumns
from osler.synth.ontology import load_ontology

STOPPED = 0.1
"""Share of lasting drugs that are stopped during the time covered."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """What patients have (P, conditions), and since which day."""

    has: np.ndarray
    onset: np.ndarray


def draw_history(people: People, *, exams: Exams, lesions: Lesions, sightings: Sightings) -> History:
    """Adds to the chronic conditions those that certain findings establish, from the exam that shows them first."""
    t = tables()
    diagnosis = t.diagnosis[lesions.finding[sightings.lesion]]
    rows = np.nonzero(sightings.seen & (diagnosis >= 0) & (lesions.certainty[sightings.lesion] == 0))[0]
    exam, condition = sightings.exam[rows], diagnosis[rows]
    found = np.full(people.has.shape, STILL_TAKEN, dtype=np.int64)
    np.minimum.at(found, (exams.patient[exam], condition), exams.day[exam])
    new = (found < STILL_TAKEN) & ~people.has
    return History(has=people.has | new, onset=np.where(new, found, people.onset))


def condition_columns(history: History) -> tuple[ConditionColumns, np.ndarray]:
    """Writes the conditions in order of patient and onset, with the starts of their rows."""
    patient, condition = np.nonzero(history.has)
    onset = history.onset[patient, condition]
    order = np.lexsort((condition, onset, patient))
    columns = ConditionColumns(
        patient=patient[order].astype(np.int32),
        condition=condition[order].astype(np.int16),
        onset=onset[order].astype(np.int32),
    )
    return columns, np.searchsorted(patient, np.arange(len(history.has) + 1))


@cache
def _medication_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Condition, drug and chance of each treatment; drugs lie in the order of the ontology."""
    ontology = load_ontology()
    conditions = [condition.key for condition in ontology.conditions]
    pairs = [
        (conditions.index(key), m, chance)
        for m, entry in enumerate(ontology.medications)
        for key, chance in entry.treats.items()
    ]
    condition, drug, chance = zip(*pairs, strict=True)
    return np.array(condition), np.array(drug), np.array(chance)


@cache
def _drugs() -> tuple[np.ndarray, np.ndarray]:
    """Days of a course (0: lasting) and class (0: none) of each drug."""
    entries = load_ontology().medications
    classes = sorted({entry.drug_class for entry in entries} - {""})
    return (
        np.array([entry.days for entry in entries]),
        np.array([classes.index(entry.drug_class) + 1 if entry.drug_class else 0 for entry in entries]),
    )


def draw_medications(people: People, *, history: History, exams: Exams) -> tuple[MedicationColumns, np.ndarray]:
    """Draws the drugs that conditions call for, in order of patient and start, with the starts of their rows."""
    conditions, drugs, chances = _medication_tables()
    days, classes = _drugs()
    codes = np.arange(len(drugs), dtype=np.uint64)[None]
    bits = people.draws.rows((slice(None), None)).bits("treatment", codes)
    u = (bits >> np.uint64(11)) * 2.0**-53
    patient, treatment = np.nonzero(history.has[:, conditions] & (u < chances))
    bits, share = bits[patient, treatment], u[patient, treatment] / chances[treatment]
    drug, onset = drugs[treatment], history.onset[patient, conditions[treatment]]
    once = one_of_each(drug + 1, patient=patient, rank=share)
    once &= one_of_each(classes[drug], patient=patient, rank=share)
    patient, drug, onset, bits = patient[once], drug[once], onset[once], bits[once]
    lag = np.where(onset < 0, np.floor(uniform16(bits, part=0) * 0.8 * -onset), 0).astype(np.int64)
    start = onset + lag
    last = exams.day[exams.start[patient + 1] - 1]
    ended = np.maximum(start, 0) + 1 + np.floor(uniform16(bits, part=1) * np.maximum(last, 30)).astype(np.int64)
    stop = np.where(uniform16(bits, part=2) < STOPPED, ended, STILL_TAKEN)
    stop = np.where(days[drug] > 0, start + days[drug], stop)
    order = np.lexsort((drug, start, patient))
    columns = MedicationColumns(
        patient=patient[order].astype(np.int32),
        medication=drug[order].astype(np.int16),
        start=start[order].astype(np.int32),
        stop=stop[order].astype(np.int32),
    )
    return columns, np.searchsorted(columns.patient, np.arange(len(people.exams) + 1))
