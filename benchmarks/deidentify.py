"""Times `osler deidentify` on a CT of 275 slices, in files a second, and the share of the search of the output.

    python -m benchmarks.deidentify [--slices 275] [--out benchmarks/deidentify]

The CT is made in a temporary folder, with identifying elements; pixels are not searched for text.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import commit
from osler.tasks.deidentify import DeidentifyRequest, deidentify
from tests.tasks.planted import planted, save


def measure(*, slices: int) -> str:
    """Returns the figures as Markdown."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        for number in range(1, slices + 1):
            pixels = rng.integers(-1000, 1000, (512, 512), dtype=np.int16)
            save(planted(number=number, pixels=pixels), Path(place) / "in" / f"{number}.dcm")
        start = time.perf_counter()
        run = deidentify(DeidentifyRequest(source=Path(place) / "in", out=Path(place) / "out"))
        seconds = time.perf_counter() - start
        profile = cProfile.Profile()
        profile.runcall(deidentify, DeidentifyRequest(source=Path(place) / "in", out=Path(place) / "again"))
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = max(row[3] for row in stats.values())
    search = sum(row[3] for (_, _, name), row in stats.items() if name == "find_left")
    assert run.count("written") == slices
    return (
        f"{slices} slices of 512 x 512, uncompressed, 512 KiB each; commit {commit()}\n\n"
        f"| files a second | s in all | share of searching the output |\n|---:|---:|---:|\n"
        f"| {slices / seconds:.0f} | {seconds:.1f} | {search / total:.0%} |\n"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=275)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = measure(slices=arguments.slices)
    print(text)
    if arguments.out is not None:
        arguments.out.with_suffix(".md").write_text("# De-identification\n\n" + text)


if __name__ == "__main__":
    main()
