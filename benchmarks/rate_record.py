"""Rates of a benchmark on one machine after another, as JSON and Markdown: a new run replaces that of its machine.

record = RateRecord(title="Synthetic X-rays", about="512 px ...", unit="image")
record.main(rate, description="Times ...", each=40)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import commit, cpu_features, processor

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What some processes did together.

    Args:
        per_second: Things of all processes. cpu_ms: CPU time of one thing.
    """

    per_second: float
    cpu_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRecord:
    """What is measured.

    Args:
        title: Of the page. about: What the things are, and the aim. unit: One thing, for example "image".
    """

    title: str
    about: str
    unit: str

    def main(self, rate: Callable[[int, int], Rate], *, description: str, each: int) -> None:
        """The command line: measures, prints the page and writes it.

        Args:
            rate: Of so many processes and things of each. description: Of the command.
            each: Things of each process where nothing is said.
        """
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument(f"--{self.unit}s", dest="each", type=int, default=each, help="of each process")
        parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
        parser.add_argument("--note", default="", help="what else there is to know about this run")
        parser.add_argument("--repeats", type=int, default=1)
        parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
        options = parser.parse_args()
        for name in THREADS:
            os.environ[name] = "1"  # of the processes that are started, whatever was set before
        load = os.getloadavg()[0]
        rates = {count: [rate(count, options.each) for _ in range(options.repeats)] for count in options.processes}
        run = self.run(rates, load=load, note=options.note)
        sys.stdout.write(self.markdown([run]))
        if options.out:
            self.write(options.out, run)

    def run(self, rates: dict[int, list[Rate]], *, load: float, note: str = "") -> dict:
        """This machine's run.

        Args:
            rates: By number of processes, one for each repeat. load: Before it. note: What else there is to know.
        """
        return {
            "processor": processor(),
            "features": list(cpu_features()),
            "cores": os.cpu_count(),
            "commit": commit(),
            "load": round(load, 1),
            "note": note,
            "rates": {
                str(count): [{"per_second": rate.per_second, "cpu_ms": rate.cpu_ms} for rate in repeats]
                for count, repeats in rates.items()
            },
        }

    def markdown(self, runs: list[dict]) -> str:
        """All machines' runs, the newest first."""
        lines = [f"# {self.title}", "", self.about]
        for number, run in enumerate(runs):
            features = f" ({', '.join(run['features'])})" if run["features"] else ""
            lines += [
                "",
                f"{'Machine' if not number else 'An earlier run, of an earlier commit, on another machine'}: "
                f"{run['processor']}{features}, {run['cores']} cores. Commit {run['commit']}; "
                f"load before: {run['load']:.1f}. {run.get('note', '')}".strip(),
                "",
                f"| processes | {self.unit}s per second | CPU ms per {self.unit} |",
                "|---|---|---|",
            ]
            for count, repeats in run["rates"].items():
                rates = ", ".join(f"{rate['per_second']:.1f}" for rate in repeats)
                times = ", ".join(f"{rate['cpu_ms']:.0f}" for rate in repeats)
                lines.append(f"| {count} | {rates} | {times} |")
        return "\n".join(lines) + "\n"

    def write(self, out: Path, run: dict) -> None:
        """Writes OUT.json and OUT.md with this run before those of other machines."""
        file = out.with_suffix(".json")
        known = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
        runs = [run, *(other for other in known if other["processor"] != run["processor"])]
        file.write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf-8")
        out.with_suffix(".md").write_text(self.markdown(runs), encoding="utf-8")


def rate_of(jobs: Sequence[tuple], *, each: int, warm: Callable[..., object], render: Callable[..., float]) -> Rate:
    """Runs one process a job, all at once.

    Args:
        jobs: Arguments of ``warm`` and ``render``. each: Things of a job.
        warm: Called in each process before the clock starts.
        render: Makes the things; returns CPU seconds.
    """
    with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
        pool.starmap(warm, jobs, chunksize=1)
        started = time.perf_counter()
        cpu = pool.starmap(render, jobs, chunksize=1)
        wall = time.perf_counter() - started
    things = len(jobs) * each
    return Rate(per_second=things / wall, cpu_ms=1000 * sum(cpu) / things)
