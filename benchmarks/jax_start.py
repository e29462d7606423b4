"""Measures what compiling costs before the first token, in a first process and in later ones.

    python -m benchmarks.jax_start --out benchmarks/jax_start

Each process loads Osler-mini on JAX and asks three questions about three pictures
of one size. The first question meets every program for the first time, the later
ones compile nothing: their time to the first token is what it is without
compilation. The first process starts with an empty folder of compiled programs,
the others find them there. Seconds of the processor are given beside those of the
clock, because other work on the machine does not change them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, cpu_features

WARM = 3
LIMIT = 1.3
QUESTIONS = ("Which part of the body is this?", "Is it an X-ray or a CT scan?", "Which plane does this image show?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="one process; prints JSON")
    parser.add_argument("--warm", type=int, default=WARM)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    if options.once:
        sys.stdout.write(json.dumps(once()) + "\n")
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        runs = [process(Path(folder)) for _ in range(1 + options.warm)]
    record = {"cold": runs[0], "warm": runs[1:], "load": load, "commit": commit(), "cpu": list(cpu_features())}
    sys.stdout.write(report(record))
    if options.out:
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        options.out.with_suffix(".md").write_text(report(record), encoding="utf-8")


def process(folder: Path) -> list[dict[str, float]]:
    """One process that keeps its programs in a folder."""
    environment = {**os.environ, "OSLER_COMPILATION_CACHE": str(folder), "OSLER_STUDY_CACHE": "off"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "benchmarks.jax_start", "--once"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def once() -> list[dict[str, float]]:
    """Seconds to the first token of each question, by the clock and of the processor."""
    import osler

    session = osler.load("osler-mini", bits=32, backend="jax", device="cpu", studies="memory")
    found = []
    for number, question in enumerate(QUESTIONS):
        study = picture(number)
        clock, processor = time.perf_counter(), time.process_time()
        first: dict[str, float] = {"before": processor}

        def note(stage: str, done: int, _: int, clock=clock, processor=processor, first=first) -> None:
            if stage == "answer" and "clock" not in first:
                first.update(clock=time.perf_counter() - clock, processor=time.process_time() - processor)

        session.ask(study, question, max_tokens=2, on_progress=note)
        found.append(first)
    return found


def picture(seed: int) -> Any:
    """A picture of noise."""
    import numpy as np

    from osler.study import ArrayPixels, Image, Study, TimePoint

    pixels = np.random.default_rng(seed).normal(500, 100, (300, 260)).astype(np.float32)
    film = Image(series=f"film-{seed}", pixels=ArrayPixels(pixels), modality="DX", view="PA")
    return Study(timepoints=(TimePoint(series=(film,)),))


def report(record: dict[str, Any]) -> str:
    """The result as Markdown."""
    without = {
        kind: statistics.median(question[kind] for run in record["warm"] for question in run[1:])
        for kind in ("clock", "processor")
    }
    rows = {
        "first process, nothing compiled": record["cold"][0],
        "later process, programs found": {
            kind: statistics.median(run[0][kind] for run in record["warm"]) for kind in without
        },
        "without compilation": without,
    }
    ratio = rows["later process, programs found"]["processor"] / without["processor"]
    loaded = statistics.median(run[0]["before"] for run in record["warm"])
    whole = (loaded + rows["later process, programs found"]["processor"]) / (loaded + without["processor"])
    lines = [
        "# The first token on JAX",
        "",
        "Written by `python -m benchmarks.jax_start --out benchmarks/jax_start`.",
        f"Commit {record['commit']}; {os.cpu_count()} cores ({', '.join(record['cpu'])}); "
        f"load {record['load']:.1f} at the start. Osler-mini in float32 on the CPU, one picture and one question; "
        f"medians of {len(record['warm'])} later processes.",
        "",
        "| First token | Seconds of the processor | Seconds by the clock |",
        "|---|---|---|",
        *(f"| {name} | {row['processor']:.2f} | {row['clock']:.2f} |" for name, row in rows.items()),
        "",
        f"Starting and loading take {loaded:.2f} seconds of the processor before the question. From the start of the "
        f"process to its first token, a later process needs {whole:.2f} times what it would without compilation "
        f"(aim {LIMIT}: {'met' if whole <= LIMIT else 'not met'}); from the question to the first token, "
        f"{ratio:.2f} times ({'met' if ratio <= LIMIT else 'not met'}).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
