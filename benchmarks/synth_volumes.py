"""Times phantoms of 96x192x192 in process time, one thread, by protocol.

    python benchmarks/synth_volumes.py [--count 20]

Set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1. Prints seconds a volume; two processes
do twice the rate of one on two cores.
"""

from __future__ import annotations

import argparse
import time

from osler.synth.draw import draw_patient
from osler.synth.phantoms import render_volume

SHAPE = (96, 192, 192)


def main() -> None:
    """Renders the first CT and MR exams of a collection and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    spent: dict[str, list[float]] = {}
    number = made = 0
    while made < options.count + 1:
        patient = draw_patient(seed=options.seed, number=number)
        number += 1
        exam = next((e for e in patient.exams if e.modality in ("CT", "MR")), None)
        if exam is None:
            continue
        start = time.process_time()
        render_volume(patient, exam=exam.number, shape=SHAPE)
        if made:  # the first pays for imports and tables
            spent.setdefault(exam.protocol, []).append(time.process_time() - start)
        made += 1
    print("| protocol | volumes | s a volume |\n|---|---|---|")
    for protocol, seconds in sorted(spent.items()):
        print(f"| {protocol} | {len(seconds)} | {sum(seconds) / len(seconds):.3f} |")
    total = [s for seconds in spent.values() for s in seconds]
    print(f"| all | {len(total)} | {sum(total) / len(total):.3f} |")


if __name__ == "__main__":
    main()
