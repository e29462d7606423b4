"""Rates of a benchmark on one machine after another, as JSON and Markdown: a new run replaces that of its machine.

record = RateRecord(title="Synthetic X-rays", about="512 px ...", unit="image")
record.add(rates, load=load)
record.write(Path("benchmarks/synth_xray"))
"""

from __future__ import annotations

import json
import os
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


def one_thread_a_process() -> None:
    """Lets NumPy of processes started from now on compute on one core each, whatever was set before."""
    for name in THREADS:
        os.environ[name] = "1"
