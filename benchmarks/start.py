"""Times what everyone waits for: ``import osler`` and ``osler --help``, in new processes.

    python -m benchmarks.start --out benchmarks/start

Each row is the median of several starts, in turns, files in the page cache; the
bare interpreter is measured in the same run, and packages that must not be
loaded are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import commit, cpu_features

TURNS = 5
LIMIT = 0.3
HEAVY = ("torch", "numpy", "pydicom", "nibabel", "PIL", "transformers")
STARTS = {
    "python -c pass": "pass",
    "import osler": "import osler",
    "osler --version": "import sys; sys.argv = ['osler', '--version']; from osler.cli import main; main()",
    "osler --help": "import sys; sys.argv = ['osler', '--help']; from osler.cli import main; main()",
    "osler ask --help": "import sys; sys.argv = ['osler', 'ask', '--help']; from osler.cli import main; main()",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    for code in STARTS.values():
        seconds(code)
    turns = [{name: seconds(code) for name, code in STARTS.items()} for _ in range(options.turns)]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in STARTS}
    loaded = {name: heavy_after(code) for name, code in STARTS.items()}
    text = report(medians, loaded=loaded, load=load)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")
        record = {"medians": medians, "turns": turns, "loaded": loaded, "load": load, "commit": commit()}
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def seconds(code: str) -> float:
    """Times one start."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def heavy_after(code: str) -> list[str]:
    """The heavy packages that a start has loaded."""
    ending = f"import atexit, sys; atexit.register(lambda: print([n for n in {HEAVY!r} if n in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", f"{ending}; {code}"], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1].replace("'", '"'))


def report(medians: dict[str, float], *, loaded: dict[str, list[str]], load: float) -> str:
    """Writes the table."""
    lines = [
        "# Starting Osler",
        "",
        "Written by `python -m benchmarks.start --out benchmarks/start`.",
        f"Commit {commit()}; {os.cpu_count()} cores ({', '.join(cpu_features())}); load {load:.1f} at the start.",
        "",
        "| Start | Median, s | Heavy packages loaded |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {medians[name]:.3f} | {', '.join(loaded[name]) or 'none'} |" for name in medians]
    within = all(medians[name] < LIMIT for name in ("import osler", "osler --help"))
    lines += ["", f"Aim: `import osler` and `osler --help` under {LIMIT} s: {'met' if within else 'missed'}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
