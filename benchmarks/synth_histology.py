"""Times tiles of synthetic histology, one process and several.

    python -m benchmarks.synth_histology --out benchmarks/synth_histology

Tiles of 256 px are rendered at random places of slides of every organ and grade, in single-threaded
processes; each has made its textures before the clock starts. JPEG is not included.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rate_record import Rate, RateRecord, rate_of
from osler.synth.histology import ORGANS, PATTERNS, SlideSpec, TumorPlace, render_tile

RECORD = RateRecord(
    title="Tiles of synthetic histology",
    about="256 px at 0.5 µm, all organs and grades, in single-threaded processes. Aim: 50 per second on two processes.",
    unit="tile",
)


def rate(processes: int, tiles: int) -> Rate:
    """Tiles per second of all processes together, and the CPU time of one tile in ms."""
    jobs = [(tiles, number) for number in range(processes)]
    return rate_of(jobs, each=tiles, warm=warm, render=render)


def warm(*_job: int) -> None:
    """Makes the textures of a process, the same for every job."""
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
    RECORD.main(rate, description=__doc__.splitlines()[0], each=150)
