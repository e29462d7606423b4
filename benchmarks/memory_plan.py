"""Compares the memory that a request is planned to take with what it takes.

    python benchmarks/memory_plan.py

One process a case: the model is loaded, a small request warms up, the high-water
mark of resident memory is set back (Linux only), the request runs, and the mark is
read again. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

# Images, words of the question, tokens of the answer.
CASES = {
    "text, short": (0, 10, 16),
    "text, long": (0, 3500, 16),
    "one image": (1, 10, 16),
    "16 images": (16, 10, 16),
    "85 images": (85, 10, 16),
    "85 images, long answer": (85, 10, 512),
}


def _study(images: int) -> Any:
    from osler.study import Affine, ArrayPixels, Study, TimePoint, Volume

    if images == 0:
        return None
    voxels = np.random.default_rng(0).integers(-1000, 1000, (images, 256, 256)).astype(np.int16)
    volume = Volume(
        series="1.2.3",
        pixels=ArrayPixels(voxels),
        affine=Affine.from_parts(spacing=(1.0, 1.0, 2.0)),
        modality="CT",
        units="HU",
    )
    return Study(timepoints=(TimePoint(series=(volume,)),))


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def _once(case: str, dtype: str) -> None:
    """One measured request in this process; prints JSON."""
    import osler
    from osler.engine.features import image_batch
    from osler.engine.memory_plan import plan_request

    images, words, max_tokens = CASES[case]
    session = osler.load("osler-mini", dtype=dtype, bits=32 if dtype == "float32" else 16)
    session.ask(None, "What is a lung?", max_tokens=2)
    session.forget()
    study, question = _study(images), " ".join(["lung"] * words) + "?"
    session.prepare(study) if study is not None else None
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    answer = session.ask(study, question, max_tokens=max_tokens)
    taken = _memory("VmHWM") - before
    assert answer.tokens is not None
    plan = plan_request(
        session.model.config,
        prompt_tokens=answer.tokens["prompt"],
        max_tokens=max_tokens,
        images=images,
        itemsize=session.runner.dtype.itemsize,
        image_batch=image_batch(session.model),
    )
    parts = {"cache": plan.kv_cache, "features": plan.features, "activations": plan.activations}
    result = {"tokens": answer.tokens["prompt"], "taken": taken, "planned": plan.total, **parts}
    sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    """Runs the cases and prints a Markdown table, MB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        _once(options.case, options.dtype)
        return
    lines = [
        f"| {options.dtype} | prompt tokens | taken, MB | planned, MB | cache, features, activations |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        command = [sys.executable, __file__, "--dtype", options.dtype, "--case", case]
        # Memory that is given back must leave the process, else old pages hide new ones.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found = json.loads(run.stdout.splitlines()[-1])
        parts = ", ".join(f"{found[name] / 1e6:.0f}" for name in ("cache", "features", "activations"))
        taken, planned = found["taken"] / 1e6, found["planned"] / 1e6
        lines.append(f"| {case} | {found['tokens']:,} | {taken:.0f} | {planned:.0f} | {parts} |")
        sys.stderr.write(lines[-1] + "\n")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
