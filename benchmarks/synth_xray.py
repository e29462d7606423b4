"""Times synthetic chest X-rays, one process and several.

    python -m benchmarks.synth_xray --out benchmarks/synth_xray

X-rays of 512 px of drawn patients, with the findings they have, in single-threaded processes. Each image paints the
patient's body on voxels of its own and sums them along the rays: all of that is within the clock. Drawing the facts
and the first picture of a process lie outside it.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rate_record import Rate, RateRecord, rate_of
from osler.synth.draw import draw_facts
from osler.synth.facts import Exam, PatientFacts
from osler.synth.xrays import render_xray

RECORD = RateRecord(
    title="Synthetic X-rays",
    about="512 px, PA, AP and lateral, with the findings of drawn patients, painting of the body included, "
    "in single-threaded processes. Aim: 5 per second on two processes.",
    unit="image",
)
PATIENTS = 400


def rate(processes: int, images: int) -> Rate:
    """Images per second of all processes together, and the CPU time of one image in ms."""
    jobs = [(exams(number, images=images),) for number in range(processes)]
    return rate_of(jobs, each=images, warm=warm, render=render)


def exams(number: int, *, images: int) -> list[tuple[PatientFacts, Exam]]:
    """Chest X-rays of drawn patients."""
    table = draw_facts(seed=number, patients=np.arange(PATIENTS))
    found = [
        (patient, exam)
        for patient in map(table.patient, range(PATIENTS))
        for exam in patient.exams
        if exam.modality == "DX"
    ]
    return (found * (images // len(found) + 1))[:images]


def warm(work: list[tuple[PatientFacts, Exam]]) -> None:
    """Renders the first of a process."""
    render(work[:1])


def render(work: list[tuple[PatientFacts, Exam]]) -> float:
    """Renders X-rays; returns CPU seconds."""
    started = time.process_time()
    for patient, exam in work:
        render_xray(patient, exam=exam, size=512)
    return time.process_time() - started


if __name__ == "__main__":
    RECORD.main(rate, description=__doc__.splitlines()[0], each=40)
