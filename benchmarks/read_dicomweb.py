"""Times fetching a series from a real Orthanc on loopback against reading its files.

    python -m benchmarks.read_dicomweb [--slices 275] [--rounds 3] [--out benchmarks/read_dicomweb]

Makes a CT of 512 x 512 slices in a temporary folder, stores it in Orthanc (which must be installed), and
reads it in turns from disk and from the server, each time opened anew. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import commit
from osler.readers import open_study
from osler.readers.dicomweb import list_studies
from tests.readers.make_dicom import write_series
from tests.readers.orthanc import running


def _timed(address: str) -> tuple[float, float]:
    start = time.perf_counter()
    study = open_study(address)
    opened = time.perf_counter()
    study.volumes()[0].read()
    return opened - start, time.perf_counter() - opened


def measure(*, slices: int, rounds: int) -> str:
    """Returns the figures as Markdown."""
    rng = np.random.default_rng(0)
    volume = rng.integers(-1000, 1000, (slices, 512, 512), dtype=np.int16)
    with tempfile.TemporaryDirectory() as place, running(Path(place) / "orthanc") as server:
        paths = write_series(Path(place) / "files", volume=volume)
        server.store(paths)
        (listed,) = list_studies(server.address)
        disk, web = [], []
        for _ in range(rounds):
            disk.append(_timed(str(Path(place) / "files")))
            web.append(_timed(listed.address))
    rows = ["| | open, s | read, s | MB/s |", "|---|---:|---:|---:|"]
    size = volume.nbytes / 1e6
    for name, times in (("files", disk), ("Orthanc", web)):
        opened, read = (statistics.median(column) for column in zip(*times, strict=True))
        rows.append(f"| {name} | {opened:.2f} | {read:.2f} | {size / read:.0f} |")
    head = f"{slices} slices of 512 x 512, uncompressed, loopback; median of {rounds}; commit {commit()}"
    return "\n".join([head, "", *rows, ""])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=275)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = measure(slices=arguments.slices, rounds=arguments.rounds)
    print(text)
    if arguments.out is not None:
        arguments.out.with_suffix(".md").write_text("# Reading from a server\n\n" + text)


if __name__ == "__main__":
    main()
