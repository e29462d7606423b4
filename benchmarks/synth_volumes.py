"""Times CT and MR phantoms of 96x192x192 voxels, one process and several.

    python -m benchmarks.synth_volumes --out benchmarks/synth_volumes

The first CT or MR exam of each drawn patient, with the findings it has, in single-threaded processes; drawing
the facts and the first volume of a process lie outside the clock.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rate_record import Rate, RateRecord, rate_of
from osler.synth.draw import draw_facts
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms import render_volume

RECORD = RateRecord(
    title="Synthetic volumes",
    about="96 x 192 x 192 voxels, CT and MR of all regions, with masks and findings, "
    "in single-threaded processes. Aim: 5 per second on two processes.",
    unit="volume",
)
PATIENTS = 400
SHAPE = (96, 192, 192)


def rate(processes: int, volumes: int) -> Rate:
    """Volumes per second of all processes together, and the CPU time of one volume in ms."""
    jobs = [(exams(number, volumes=volumes),) for number in range(processes)]
    return rate_of(jobs, each=volumes, warm=warm, render=render)


def exams(number: int, *, volumes: int) -> list[tuple[PatientFacts, Exam]]:
    """The first CT or MR exam of drawn patients that have one."""
    table = draw_facts(seed=number, patients=np.arange(PATIENTS))
    found = []
    for patient in map(table.patient, range(PATIENTS)):
        exam = next((e for e in patient.exams if e.modality in ("CT", "MR")), None)
        if exam is not None:
            found.append((patient, exam))
    return (found * (volumes // len(found) + 1))[:volumes]


def warm(work: list[tuple[PatientFacts, Exam]]) -> None:
    """Renders the first of a process."""
    render(work[:1])


def render(work: list[tuple[PatientFacts, Exam]]) -> float:
    """Renders volumes; returns CPU seconds."""
    started = time.process_time()
    for patient, exam in work:
        render_volume(patient, exam=exam.number, shape=SHAPE)
    return time.process_time() - started


if __name__ == "__main__":
    RECORD.main(rate, description=__doc__.splitlines()[0], each=16)
