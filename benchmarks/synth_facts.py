"""Times the drawing of facts, in processor time of one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.synth_facts --patients 20000

Processor time, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from osler.synth.draw import count_exams, draw_facts

SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=2048)
    options = parser.parse_args()
    draw_facts(seed=SEED, patients=np.arange(10))
    started = time.process_time()
    exams = findings = labs = 0
    for first in range(0, options.patients, options.batch):
        table = draw_facts(seed=SEED, patients=np.arange(first, min(first + options.batch, options.patients)))
        exams += len(table.exams.day)
        findings += len(table.findings.exam)
        labs += len(table.labs.lab)
    drawn = time.process_time() - started
    started = time.process_time()
    count_exams(SEED, np.arange(options.patients))
    counted = time.process_time() - started
    sys.stdout.write(
        f"{options.patients} patients, {exams} exams, {findings} findings, {labs} laboratory values: "
        f"{drawn:.2f} s, {1e6 * drawn / exams:.1f} us an exam; "
        f"counting exams {1e6 * counted / options.patients:.2f} us a patient\n"
    )


if __name__ == "__main__":
    main()
