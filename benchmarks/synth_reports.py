"""Times the writing of synthetic reports: rate, size and memory of a run, and where the time goes.

    python -m benchmarks.synth_reports --out benchmarks/synth_reports
    python -m benchmarks.synth_reports --count 50000000 --folder FOLDER --out benchmarks/synth_50m

Without ``--folder`` the shards go to a temporary folder and are removed. With it they
stay, and a run that was stopped goes on; the time of all its sessions is added up (a file
beside the folder keeps it, renewed with every shard). Memory is the sum over this process
and its workers, looked at twice a second. Stages are measured in one process, in CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import commit, cpu_features
from osler.synth.draw import draw_facts
from osler.synth.metadata import metadata_json
from osler.synth.report_run import write_reports
from osler.synth.reports import facts_json, render_texts
from osler.synth.shards import BATCH_PATIENTS, ReportRun, render_batch

COUNT = 1_000_000
AIM_PER_SECOND = 25_000
AIM_GB = 2.0
_REPEATS = 5
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session of a run: wall seconds, reports it wrote, highest memory (bytes)."""

    seconds: float
    reports: int
    memory: int
    load: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the shards here; an unfinished run goes on")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    run = ReportRun(count=options.count, seed=options.seed)
    if options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            record = measure(run, folder=Path(folder) / "reports", workers=options.workers)
    else:
        record = measure(run, folder=options.folder, workers=options.workers)
    record["stages"] = stages()
    text = report(record)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def measure(run: ReportRun, *, folder: Path, workers: int) -> dict[str, Any]:
    """Writes the run, or what is missing of it, and says what it took."""
    kept = folder.with_name(f"{folder.name}.sessions.json")
    before = [Session(**row) for row in json.loads(kept.read_text())] if kept.exists() else []
    started, load = time.perf_counter(), os.getloadavg()[0]
    first: list[int] = []

    def note(done: int, total: int) -> None:
        first.append(done)
        now = Session(seconds=time.perf_counter() - started, reports=done - first[0], memory=memory.most, load=load)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps([asdict(session) for session in (*before, now)]))
        part.replace(kept)

    with Memory() as memory:
        result = write_reports(run, folder=folder, workers=workers, progress=note)
    sessions = [Session(**row) for row in json.loads(kept.read_text())]
    sessions = [session for session in sessions if session.reports]
    manifest = result.manifest
    return {
        "commit": commit(),
        "cores": os.cpu_count(),
        "features": cpu_features(),
        "workers": workers,
        "reports": manifest.rows,
        "seconds": sum(session.seconds for session in sessions),
        "bytes": manifest.bytes,
        "memory": max((session.memory for session in sessions), default=memory.most),
        "sessions": [asdict(session) for session in sessions],
        "manifest": {
            "seed": run.seed,
            "shards": len(manifest.shards),
            "patients": manifest.shards[-1].stop_patient,
            "generator": manifest.generator,
            "schema": manifest.schema,
            "pyarrow": manifest.pyarrow,
            "numpy": np.__version__,
            "first_sha256": manifest.shards[0].sha256,
            "last_sha256": manifest.shards[-1].sha256,
        },
    }


class Memory:
    """The most memory that this process and its children held together."""

    def __init__(self) -> None:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(_LOOK_SECONDS):
            held = 0
            for one in (process, *process.children(recursive=True)):
                try:
                    held += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.most = max(self.most, held)


def stages() -> dict[str, float]:
    """CPU microseconds of a report in each stage, in one process."""
    pa.set_cpu_count(1)
    patients = np.arange(BATCH_PATIENTS)
    table = draw_facts(seed=0, patients=patients)
    batch = render_batch(seed=0, patients=patients)

    def write() -> None:
        with pq.ParquetWriter(pa.BufferOutputStream(), batch.schema, compression="zstd", compression_level=3) as writer:
            writer.write_batch(batch)

    work: dict[str, Callable[[], object]] = {
        "facts": lambda: draw_facts(seed=0, patients=patients),
        "text": lambda: render_texts(table),
        "facts as JSON": lambda: facts_json(table),
        "metadata as JSON": lambda: metadata_json(table),
        "Parquet, zstd": write,
    }
    return {name: _least_seconds(run) / batch.num_rows * 1e6 for name, run in work.items()}


def _least_seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def report(record: dict[str, Any]) -> str:
    """Writes the table."""
    rate = record["reports"] / record["seconds"] if record["seconds"] else float("nan")
    memory = record["memory"] / 1e9
    loads = ", ".join(f"{session['load']:.1f}" for session in record["sessions"])
    lines = [
        f"# Writing {record['reports']:,} synthetic reports",
        "",
        "Written by `python -m benchmarks.synth_reports`: text, facts and imaging metadata of each report, on disk.",
        f"Commit {record['commit']}; {record['cores']} cores ({', '.join(record['features'])}),"
        f" {record['workers']} workers; load at the start of each session: {loads}.",
        "",
        "| | Measured | Aim |",
        "|---|---|---|",
        f"| Reports per second | {rate:,.0f} | {AIM_PER_SECOND:,} ({_met(rate >= AIM_PER_SECOND)}) |",
        f"| Wall time, s | {record['seconds']:,.1f} in {len(record['sessions'])} sessions | |",
        f"| Size, GB | {record['bytes'] / 1e9:,.2f} | |",
        f"| Bytes of a report | {record['bytes'] / record['reports']:,.0f} | |",
        f"| Memory at most, all processes, GB | {memory:.2f} | under {AIM_GB} ({_met(memory < AIM_GB)}) |",
        "",
        "Manifest: " + ", ".join(f"{name} {value}" for name, value in record["manifest"].items()) + ".",
        "",
        "| Stage | CPU time of a report, one process, µs |",
        "|---|---|",
        *(f"| {name} | {micros:.1f} |" for name, micros in record["stages"].items()),
    ]
    return "\n".join(lines) + "\n"


def _met(met: bool) -> str:
    return "met" if met else "missed"


if __name__ == "__main__":
    main()
