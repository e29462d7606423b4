"""Synthetic patients of a seed that training never draws from, as studies in memory.

Everything is made from the same facts: pixels, boxes, laboratory values, dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from osler.study import ArrayPixels, ClinicalEvent, Image, Study, TimePoint
from osler.study.slide import Series
from osler.synth.draw import draw_facts
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms.render import Phantom, render_volume
from osler.synth.renderers import volume_shape
from osler.synth.timeline import calendar_date, patient_id

HELD_OUT_SEED = 5_151_151
"""Of all synthetic patients that are evaluated. A training recipe must name another seed."""

XRAY_SIZE = 512
VOLUME_MATRIX = 128
_BLOCK = 200


def held_out_patients(*, most: int = 100_000) -> Iterator[PatientFacts]:
    """Yields the facts of the held-out patients, in order of their numbers."""
    for start in range(0, most, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, most), dtype=np.int64)
        table = draw_facts(seed=HELD_OUT_SEED, patients=numbers)
        for row in range(len(numbers)):
            yield table.patient(row)


def draw_phantom(patient: PatientFacts, exam: Exam, *, matrix: int = VOLUME_MATRIX) -> Phantom:
    """Renders a CT or MR exam with at most ``matrix`` pixels a row."""
    return render_volume(patient, exam=exam.number, shape=volume_shape(exam, matrix=matrix))


def draw_series(patient: PatientFacts, exam: Exam) -> Series:
    """Renders an exam: an X-ray of `XRAY_SIZE` px, or a volume of at most `VOLUME_MATRIX` px a row."""
    if exam.modality != "DX":
        return draw_phantom(patient, exam).volume()
    from osler.synth.xrays import render_xray

    drawn = render_xray(patient, exam=exam, size=XRAY_SIZE)
    return Image(
        series=f"{patient_id(patient)}-{exam.number}",
        pixels=ArrayPixels(drawn.pixels),
        modality="DX",
        spacing=(drawn.pixel_mm, drawn.pixel_mm),
        body_part=exam.region.upper(),
        view=drawn.view,
    )


def study_of(
    patient: PatientFacts, exams: Sequence[Exam], *, events: Sequence[ClinicalEvent] = (), drawn: Sequence[Series] = ()
) -> Study:
    """Puts exams, oldest first, and events into one study.

    Args:
        patient: The facts. exams: Of them.
        events: Of the record.
        drawn: The exams' series where they were rendered before.
    """
    shown = drawn or [draw_series(patient, exam) for exam in exams]
    points = tuple(
        TimePoint(series=(series,), date=calendar_date(exam.day)) for exam, series in zip(exams, shown, strict=True)
    )
    return Study(timepoints=points, events=tuple(events), patient=patient_id(patient))
