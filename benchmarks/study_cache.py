"""Times the first and the second question about a CT of 85 shown slices.

    python -m benchmarks.study_cache --out benchmarks/study_cache

The CT (85 slices of 512 x 512, made here) is asked in new processes: the first question with an
empty study cache, a second question in the same session, and one in another process that
finds the study on disk. What is timed is the wait from `Session.ask` to the first text, with
the model loaded. Texts must be those of a session without any cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import ask_cold
from benchmarks.machine import Machine, measure

SLICES, TURNS = 85, 3
FIRST, SECOND = "Which part of the body does this scan show?", "Which plane is this?"

_CHILD = """
import json, sys, time
import osler
scan, model, *questions = sys.argv[1:]
started = time.perf_counter()
session = osler.load(model)
loaded = time.perf_counter() - started
rows = []
study = None
for question in questions:
    start = time.perf_counter()
    study = study or osler.open_study(scan)
    waits = []
    answer = session.ask(study, question, max_tokens=48,
                         on_text=lambda text: waits.append(time.perf_counter() - start))
    rows.append({"wait": waits[0], "text": answer.text, "tokens": answer.tokens, "timings": answer.timings})
print(json.dumps({"load": loaded, "rows": rows}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--scan", type=Path, help="a folder of your own in place of the CT made here")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    machine = measure(peaks=("bfloat16",))
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        scan = options.scan or Path(folder, "ct")
        if options.scan is None:
            ask_cold.write_ct(scan, slices=SLICES)
        for number in range(options.turns):
            cache = {"OSLER_STUDY_CACHE": str(Path(folder, f"studies-{number}"))}
            both = ask(scan, FIRST, SECOND, model=options.model, environment=cache)
            later = ask(scan, SECOND, model=options.model, environment=cache)
            plain = ask(scan, SECOND, model=options.model, environment={"OSLER_STUDY_CACHE": "off"})
            size = sum(path.stat().st_size for path in Path(cache["OSLER_STUDY_CACHE"]).iterdir())
            turns.append({"both": both, "later": later, "plain": plain, "bytes": size})
    record = {"turns": turns, "machine": asdict(machine)}
    text = report(turns, machine=machine)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def ask(scan: Path, *questions: str, model: str, environment: dict[str, str]) -> dict:
    """Asks in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(scan), model, *questions],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def report(turns: list[dict], *, machine: Machine) -> str:
    """Writes the table."""
    first = [turn["both"]["rows"][0]["wait"] for turn in turns]
    second = [turn["both"]["rows"][1]["wait"] for turn in turns]
    later = [turn["later"]["rows"][0]["wait"] for turn in turns]
    pixels = [sum(turn["later"]["rows"][0]["timings"][stage] for stage in ("read", "prepare")) for turn in turns]
    same = all(
        turn["plain"]["rows"][0]["text"] == row["text"]
        for turn in turns
        for row in (turn["both"]["rows"][1], turn["later"]["rows"][0])
    )
    tokens = turns[0]["both"]["rows"][0]["tokens"]
    lines = [
        "# The second question about a study",
        "",
        f"`{' '.join(['python -m benchmarks.study_cache', *sys.argv[1:]])}`, medians of {len(turns)} turns.",
        "",
        machine.markdown(),
        "",
        f"{tokens['prompt']:,} tokens, {tokens['images']:,} of them of images; "
        f"{turns[0]['bytes'] / 1e6:.1f} MB on disk.",
        "",
        "| wait for the first text | s | sooner than the first question |",
        "|---|---|---|",
        f"| first question, nothing kept | {_median(first):.2f} | |",
        f"| second question, same session | {_median(second):.3f} | {_ratio(first, second)} |",
        f"| second question, another process (model loaded) | {_median(later):.2f} | {_ratio(first, later)} |",
        "",
        f"Same text as without any cache: {'yes' if same else 'NO'}.",
        f"Of the last line, reading and preparing the pixels, by which the study is known: {_median(pixels):.2f} s.",
        "",
    ]
    return "\n".join(lines)


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _ratio(first: list[float], later: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(first, later, strict=True))
    return f"{statistics.median(ratios):.0f} times ({ratios[0]:.0f} to {ratios[-1]:.0f})"


if __name__ == "__main__":
    main()
