"""Times CT and MR phantoms of 96x192x192 voxels, one process and several.

    python -m benchmarks.synth_volumes --out benchmarks/synth_volumes

The first CT or MR exam of each drawn patient, with the findings it has, in single-threaded processes; drawing
the facts and the first volume of a process lie outside the clock.
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
from osler.synth.phantoms import render_volume

RECORD = RateRecord(
    title="Synthetic volumes",
    about="96 x 192 x 192 voxels, CT and MR of all regions, with masks and findings, "
    "in single-threaded processes. Aim: 5 per second on two processes.",
    unit="volume",
)
PATIENTS = 400
SHAPE = (96, 192, 192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=16, help="of each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--note", default="", help="what else there is to know about this run")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    one_thread_a_process()
    load = os.getloadavg()[0]
    rates = {
        count: [rate(count, volumes=options.volumes) for _ in range(options.repeats)] for count in options.processes
    }
    run = RECORD.run(rates, load=load, note=options.note)
    sys.stdout.write(RECORD.markdown([run]))
    if options.out:
        RECORD.write(options.out, run)


def rate(processes: int, *, volumes: int) -> Rate:
    """Volumes per second of all processes together, and the CPU time of one volume in ms."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(exams(number, volumes=volumes),) for number in range(processes)]
        pool.starmap(render, [(job[:1],) for (job,) in jobs], chunksize=1)
        started = time.perf_counter()
        cpu = pool.starmap(render, jobs, chunksize=1)
        wall = time.perf_counter() - started
    return Rate(per_second=processes * volumes / wall, cpu_ms=1000 * sum(cpu) / (processes * volumes))


def exams(number: int, *, volumes: int) -> list[tuple[PatientFacts, Exam]]:
    """The first CT or MR exam of drawn patients that have one."""
    table = draw_facts(seed=number, patients=np.arange(PATIENTS))
    found = []
    for patient in map(table.patient, range(PATIENTS)):
        exam = next((e for e in patient.exams if e.modality in ("CT", "MR")), None)
        if exam is not None:
            found.append((patient, exam))
    return (found * (volumes // len(found) + 1))[:volumes]


def render(work: list[tuple[PatientFacts, Exam]]) -> float:
    """Renders volumes; returns CPU seconds."""
    started = time.process_time()
    for patient, exam in work:
        render_volume(patient, exam=exam.number, shape=SHAPE)
    return time.process_time() - started


if __name__ == "__main__":
    main()
