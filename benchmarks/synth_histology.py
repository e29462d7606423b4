"""Times tiles of synthetic histology, one process and several.

    python -m benchmarks.synth_histology --out benchmarks/synth_histology

Tiles of 256 px are rendered at random places of slides of every organ and grade, in single-threaded
processes; each has made its textures before the clock starts. JPEG is not included.
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
from osler.synth.histology import ORGANS, PATTERNS, SlideSpec, TumorPlace, render_tile

RECORD = RateRecord(
    title="Tiles of synthetic histology",
    about="256 px at 0.5 µm, all organs and grades, in single-threaded processes. Aim: 50 per second on two processes.",
    unit="tile",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=150, help="of each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--note", default="", help="what else there is to know about this run")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    one_thread_a_process()
    load = os.getloadavg()[0]
    rates = {count: [rate(count, tiles=options.tiles) for _ in range(options.repeats)] for count in options.processes}
    run = RECORD.run(rates, load=load, note=options.note)
    sys.stdout.write(RECORD.markdown([run]))
    if options.out:
        RECORD.write(options.out, run)


def rate(processes: int, *, tiles: int) -> Rate:
    """Tiles per second of all processes together, and the CPU time of one tile in ms."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(warm, range(processes), chunksize=1)
        started = time.perf_counter()
        cpu = pool.starmap(render, [(tiles, number) for number in range(processes)], chunksize=1)
        wall = time.perf_counter() - started
    return Rate(per_second=processes * tiles / wall, cpu_ms=1000 * sum(cpu) / (processes * tiles))


def warm(number: int) -> None:
    """Makes the textures of a process."""
    for slide in slides():
        render_tile(slide, column=1600, row=1600)


def render(tiles: int, number: int) -> float:
    """Renders tiles at random places; returns CPU seconds."""
    every = slides()
    rng = np.random.default_rng(number)
    started = time.process_time()
    for n in range(tiles):
        column, row = rng.integers(600, 3200, 2)
        render_tile(every[n % len(every)], column=int(column), row=int(row))
    return time.process_time() - started


def slides() -> list[SlideSpec]:
    """A slide of each organ's tissue and of each tumor pattern."""
    tumors = [name for name in PATTERNS if "-g" in name]
    every = [SlideSpec(organ=organ, key=n) for n, organ in enumerate(ORGANS)]
    for n, name in enumerate(tumors):
        place = TumorPlace(center_mm=(1.0, 1.0), half_mm=(0.6, 0.6), pattern=name, necrosis=0.1)
        every.append(SlideSpec(organ=name.split("-")[0], key=100 + n, tumors=(place,)))
    return every


if __name__ == "__main__":
    main()
