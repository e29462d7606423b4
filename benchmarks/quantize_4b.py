"""What memory `osler quantize` takes for the 4B network: layer by layer, so that it never holds the whole.

    python -m benchmarks.quantize_4b FOLDER --calibration none --bits 4

Random weights in the published layout are written once into FOLDER/source (8.6 GB). The command runs in a process of
its own, whose pages in memory are counted ten times a second: all of them, those of the mapped source among them, which
the system takes back when it needs room, and those that no file stands behind.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.full_size_4b import memory, write_weights
from benchmarks.machine import commit, cpu_features


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A process that ended: seconds, and its most memory in bytes, resident and without a file behind it."""

    seconds: float
    resident: int
    own: int


def watch(command: list[str]) -> Watched:
    """Runs a command to its end.

    Raises:
        SystemExit: If it fails.
    """
    started, resident, own = time.perf_counter(), 0, 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        now = memory(process.pid)  # one that has ended is there until it is waited for
        resident, own = max(resident, now.resident), max(own, now.own)
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(f"quantize_4b: {' '.join(command)} failed.")
    return Watched(seconds=time.perf_counter() - started, resident=resident, own=own)


def main() -> None:
    """Writes the source where it is missing, quantizes it and prints a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", type=int, choices=(4, 8), default=4)
    parser.add_argument("--calibration", default="none")
    given = parser.parse_args()
    source, out = given.folder / "source", given.folder / f"{given.bits}-bits-{given.calibration}"
    if not (source / "config.json").is_file():
        writing = multiprocessing.get_context("spawn").Process(target=write_weights, args=(source,))
        writing.start()  # in a process of its own, as the weights would stay in this one's memory
        writing.join()
        if writing.exitcode:
            raise SystemExit(f"quantize_4b: the weights could not be written into {str(source)!r}.")
    command = [sys.executable, "-m", "osler", "quantize", str(source), "--bits", str(given.bits)]
    found = watch([*command, "--calibration", given.calibration, "--out", str(out), "--quiet"])
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"Commit {commit()}; {', '.join(cpu_features())}.\n")
    print("| Bits | Calibration | Seconds | Peak resident, GB | Of it without a file behind, GB | Written, GB |")
    print("|---|---|---:|---:|---:|---:|")
    print(
        f"| {given.bits} | {given.calibration} | {found.seconds:.0f} | {found.resident / 1e9:.2f} | "
        f"{found.own / 1e9:.2f} | {size / 1e9:.2f} |"
    )


if __name__ == "__main__":
    main()
