"""Times synthetic chest X-rays, one process and several.

    python -m benchmarks.synth_xray --out benchmarks/synth_xray

X-rays of 512 px of drawn patients, with the findings they have, in single-threaded processes. Each image paints the
patient's body on voxels of its own and sums them along the rays: all of that is within the clock. Drawing the facts
and the first picture of a process lie outside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.rate_record import Rate, RateRecord, one_thread_a_process
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40, help="of each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--note", default="", help="what else there is to know about this run")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    one_thread_a_process()
    load = os.getloadavg()[0]
    rates = {count: [rate(count, images=options.images) for _ in range(options.repeats)] for count in options.processes}
    run = RECORD.run(rates, load=load, note=options.note)
    sys.stdout.write(RECORD.markdown([run]))
    if options.out:
        RECORD.write(options.out, run)


def rate(processes: int, *, images: int) -> Rate:
    """Images per second of all processes together, and the CPU time of one image in ms."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(exams(number, images=images),) for number in range(processes)]
        pool.starmap(render, [(job[:1],) for (job,) in jobs], chunksize=1)
        started = time.perf_counter()
        cpu = pool.starmap(render, jobs, chunksize=1)
        wall = time.perf_counter() - started
    return Rate(per_second=processes * images / wall, cpu_ms=1000 * sum(cpu) / (processes * images))


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


def render(work: list[tuple[PatientFacts, Exam]]) -> float:
    """Renders X-rays; returns CPU seconds."""
    started = time.process_time()
    for patient, exam in work:
        render_xray(patient, exam=exam, size=512)
    return time.process_time() - started


if __name__ == "__main__":
    main()
