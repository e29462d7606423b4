"""Times CT and MR phantoms of 96x192x192 voxels, one process and several.

    python -m benchmarks.synth_volumes --out benchmarks/synth_volumes

The first CT or MR exam of each drawn patient, with the findings it has, in single-threaded processes; drawing
the facts and the first volume of a process lie outside the clock. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import commit
from osler.synth.draw import draw_facts
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms import render_volume

AIM = 5.0
PATIENTS = 400
SHAPE = (96, 192, 192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=16, help="of each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rates = {count: rate(count, volumes=options.volumes) for count in options.processes}
    text = report(rates, load=load)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")
        record = {"volumes_per_second": rates, "load": load, "commit": commit()}
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def rate(processes: int, *, volumes: int) -> dict[str, float]:
    """Volumes per second of all processes together, and the CPU time of one volume in ms."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        jobs = [(exams(number, volumes=volumes),) for number in range(processes)]
        pool.starmap(render, [(job[:1],) for (job,) in jobs], chunksize=1)
        started = time.perf_counter()
        cpu = pool.starmap(render, jobs, chunksize=1)
        wall = time.perf_counter() - started
    return {
        "volumes_per_second": processes * volumes / wall,
        "cpu_ms_per_volume": 1000 * sum(cpu) / (processes * volumes),
    }


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


def report(rates: dict[int, dict[str, float]], *, load: float) -> str:
    """Markdown of the rates."""
    lines = [
        "# Synthetic volumes",
        "",
        f"96 x 192 x 192 voxels, CT and MR of all regions, with masks and findings. "
        f"Aim: {AIM:.0f} per second on two processes. Load before: {load:.1f}.",
        f"Commit {commit()}; {os.cpu_count()} cores.",
        "",
        "| processes | volumes per second | CPU ms per volume |",
        "|---|---|---|",
    ]
    for count, row in rates.items():
        lines.append(f"| {count} | {row['volumes_per_second']:.1f} | {row['cpu_ms_per_volume']:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
