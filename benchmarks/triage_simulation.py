"""How good must a model be, for an order by urgency to be worth it? A simulated reading room.

    python -m benchmarks.triage_simulation --out benchmarks/triage_simulation

No times of this machine are measured. The runs are the same for every order that is compared
(same arrivals, reading times and chance), and intervals are bootstrap intervals over runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from osler.evaluate.reading_room import Comparison, Flagging, ReadingRoom, compare

RUNS = 100
GOAL = 0.15
SENSITIVITIES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SPECIFICITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
UTILIZATIONS = (0.7, 0.8, 0.9)
URGENT_SHARES = (0.05, 0.1, 0.2)
BOUNDS = (60.0, 120.0, 240.0)
MINI = Flagging(sensitivity=0.0, specificity=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.json and OUT.svg")
    options = parser.parse_args()
    rooms = {utilization: ReadingRoom(utilization=utilization) for utilization in UTILIZATIONS}
    grid = [Flagging(sensitivity=a, specificity=b) for b in SPECIFICITIES for a in SENSITIVITIES]
    example = [Flagging(sensitivity=0.8, specificity=0.9)]
    base = rooms[0.8]
    jobs: dict[str, tuple[ReadingRoom, list[Flagging]]] = {
        f"utilization {utilization}": (room, grid) for utilization, room in rooms.items()
    }
    jobs |= {f"urgent {share}": (dataclasses.replace(base, urgent_share=share), example) for share in URGENT_SHARES}
    jobs |= {f"bound {bound:g}": (dataclasses.replace(base, bound=bound), example) for bound in BOUNDS}
    with ProcessPoolExecutor(options.workers) as pool:
        futures = {
            name: pool.submit(compare, room, flaggings=flaggings, runs=options.runs)
            for name, (room, flaggings) in jobs.items()
        }
        results = {name: future.result() for name, future in futures.items()}
    text = report(results, runs=options.runs)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text)
        record = {name: [dataclasses.asdict(row) for row in rows] for name, rows in results.items()}
        options.out.with_suffix(".json").write_text(json.dumps({"runs": options.runs, **record}, indent=1) + "\n")
        draw(results, path=options.out.with_suffix(".svg"))


def report(results: dict[str, tuple[Comparison, ...]], *, runs: int) -> str:
    """Writes the tables."""
    room = ReadingRoom()
    lines = [
        "# Triage in a simulated reading room",
        "",
        f"`python -m benchmarks.triage_simulation --runs {runs} --out benchmarks/triage_simulation`",
        "",
        f"{room.readers} readers, {room.reading_mean} min a study (log-normal, spread {room.reading_spread}), "
        f"{room.urgent_share:.0%} of the studies urgent, the model's verdict after {room.model_minutes:g} min; flagged "
        f"studies go first, and a study that has waited {room.bound:g} min is overtaken no more. {runs} runs of "
        f"{room.days:g} days, the first {room.warm_up:g} not counted; 95% intervals over runs. Sources: "
        "`osler.evaluate.reading_room`. The share of urgent studies is an assumption, varied below.",
        "",
        "## A model of sensitivity 0.8 and specificity 0.9",
        "",
        "| | urgent, mean wait, min | saved | others, mean wait, min | others over the bound | longest wait, min |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():
        row = next(row for row in rows if row.flagging == Flagging(sensitivity=0.8, specificity=0.9))
        lines.append(
            f"| {name} | {row.urgent_before:.1f} to {row.urgent_now:.1f} | {_saved(row)} "
            f"| {row.others_before:.1f} to {row.others_now:.1f} | {row.late_before:.1%} to {row.late_now:.1%} "
            f"| {row.longest_before:.0f} to {row.longest_now:.0f} |"
        )
    lines += ["", f"## Least sensitivity that saves {GOAL:.0%} (lower end of the interval)", ""]
    lines += ["| specificity | " + " | ".join(f"utilization {value}" for value in UTILIZATIONS) + " |"]
    lines += ["|---" * (len(UTILIZATIONS) + 1) + "|"]
    for specificity in SPECIFICITIES:
        cells = [
            _least([row for row in results[f"utilization {value}"] if row.flagging.specificity == specificity])
            for value in UTILIZATIONS
        ]
        lines.append(f"| {specificity} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "![Share of the urgent studies' wait that is saved](triage_simulation.svg)",
        "",
        "## The present model",
        "",
        "Osler-mini was not trained to find diseases: it flags nothing by its images (sensitivity 0, specificity 1), "
        "its order is first come, first served, and it saves 0%. What `osler triage` orders by today are the "
        "requested priority in the file and critical laboratory values in the record; how many urgent studies those "
        "name differs from house to house and was not measured.",
        "",
    ]
    return "\n".join(lines)


def _saved(row: Comparison) -> str:
    low, high = row.saved_interval
    return f"{row.saved:.0%} [{low:.0%}, {high:.0%}]"


def _least(rows: Sequence[Comparison]) -> str:
    enough = [row.flagging.sensitivity for row in rows if row.saved_interval[0] >= GOAL]
    return f"{min(enough):g}" if enough else "never"


def draw(results: dict[str, tuple[Comparison, ...]], *, path: Path) -> None:
    """Draws what is saved over the sensitivity, one panel a utilization."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(UTILIZATIONS), figsize=(12, 4.2), sharey=True, layout="constrained")
    for panel, utilization in zip(panels, UTILIZATIONS, strict=True):
        rows = results[f"utilization {utilization}"]
        for specificity in SPECIFICITIES:
            line = [row for row in rows if row.flagging.specificity == specificity]
            xs = [row.flagging.sensitivity for row in line]
            (drawn,) = panel.plot(xs, [row.saved for row in line], label=f"specificity {specificity}", marker=".")
            panel.fill_between(
                xs, *zip(*(row.saved_interval for row in line), strict=True), alpha=0.15, color=drawn.get_color()
            )
        panel.axhline(GOAL, color="black", linewidth=0.8, linestyle="--")
        panel.annotate("goal 15%", (0.0, GOAL), textcoords="offset points", xytext=(2, 4), fontsize=8)
        panel.set_title(f"readers busy {utilization:.0%} of the time", fontsize=10)
        panel.set_xlabel("sensitivity")
    panels[0].set_ylabel("share of the urgent studies' wait saved")
    panels[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
