"""How good must a model be, for an order by urgency to be worth it? A simulated reading room.

    python -m benchmarks.triage_simulation --data ../shared/data --out benchmarks/triage_simulation

How well the present model flags urgent studies is measured first (`benchmarks.triage_flags`).
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

from benchmarks.triage_flags import Flags, measure_flags
from osler.evaluate.reading_room import Comparison, Flagging, ReadingRoom, compare

RUNS = 100
GOAL = 0.15
SENSITIVITIES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SPECIFICITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
UTILIZATIONS = (0.7, 0.8, 0.9)
URGENT_SHARES = (0.05, 0.1, 0.2)
BOUNDS = (60.0, 120.0, 240.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--grid", type=Path, help="OUT.json of an earlier run, whose rooms are taken as they are")
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.json and OUT.svg")
    options = parser.parse_args()
    flags = measure_flags(options.data, model=options.model)
    if options.grid:
        results = earlier(options.grid, runs=options.runs)
    else:
        with ProcessPoolExecutor(options.workers) as pool:
            results = simulated(grid_jobs(), runs=options.runs, pool=pool)
    text = report(results, flags=flags, runs=options.runs)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text)
        record = {
            "runs": options.runs,
            "flags": dataclasses.asdict(flags),
            "grid": as_record(results),
        }
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        draw(results, flags=flags, path=options.out.with_suffix(".svg"))


Jobs = dict[str, tuple[ReadingRoom, list[Flagging]]]
Results = dict[str, tuple[Comparison, ...]]


def grid_jobs() -> Jobs:
    """Models of all kinds in rooms that are more or less busy, and one model in other rooms."""
    rooms = {utilization: ReadingRoom(utilization=utilization) for utilization in UTILIZATIONS}
    grid = [Flagging(sensitivity=a, specificity=b) for b in SPECIFICITIES for a in SENSITIVITIES]
    example = [Flagging(sensitivity=0.8, specificity=0.9)]
    base = rooms[0.8]
    jobs: Jobs = {f"utilization {utilization}": (room, grid) for utilization, room in rooms.items()}
    jobs |= {f"urgent {share}": (dataclasses.replace(base, urgent_share=share), example) for share in URGENT_SHARES}
    jobs |= {f"bound {bound:g}": (dataclasses.replace(base, bound=bound), example) for bound in BOUNDS}
    return jobs


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Simulated models on both sides of a measured one.

    Args:
        below: The next lower sensitivity. above: The next higher one; both at the nearest specificity.
        low: Both figures at or below the low ends of their intervals. high: At or above the high ends.
    """

    below: Flagging
    above: Flagging
    low: Flagging
    high: Flagging


def around(flags: Flags) -> Around:
    """Finds the models of the grid around the present one."""
    (sensitivity, *sensitive), (specificity, *specific) = flags.sensitivity, flags.specificity
    nearest = min(SPECIFICITIES, key=lambda one: abs(one - specificity))
    return Around(
        below=Flagging(sensitivity=_down(SENSITIVITIES, sensitivity), specificity=nearest),
        above=Flagging(sensitivity=_up(SENSITIVITIES, sensitivity), specificity=nearest),
        low=Flagging(sensitivity=_down(SENSITIVITIES, sensitive[0]), specificity=_down(SPECIFICITIES, specific[0])),
        high=Flagging(sensitivity=_up(SENSITIVITIES, sensitive[1]), specificity=_up(SPECIFICITIES, specific[1])),
    )


def _down(values: Sequence[float], value: float) -> float:
    return max((one for one in values if one <= value), default=min(values))


def _up(values: Sequence[float], value: float) -> float:
    return min((one for one in values if one >= value), default=max(values))


def simulated(jobs: Jobs, *, runs: int, pool: ProcessPoolExecutor) -> Results:
    """Runs every room."""
    futures = {
        name: pool.submit(compare, room, flaggings=flaggings, runs=runs) for name, (room, flaggings) in jobs.items()
    }
    return {name: future.result() for name, future in futures.items()}


def as_record(results: Results) -> dict[str, list[dict]]:
    """For JSON."""
    return {name: [dataclasses.asdict(row) for row in rows] for name, rows in results.items()}


def earlier(path: Path, *, runs: int) -> Results:
    """Reads the grid of an earlier run, which the same seeds would give again."""
    record = json.loads(path.read_text())
    if record["runs"] != runs:
        raise SystemExit(f"{path} holds {record['runs']} runs, not {runs}.")
    return {name: tuple(_row(row) for row in rows) for name, rows in record["grid"].items()}


def _row(record: dict) -> Comparison:
    flagging, interval = Flagging(**record.pop("flagging")), tuple(record.pop("saved_interval"))
    return Comparison(flagging=flagging, saved_interval=interval, **record)


def report(results: Results, *, flags: Flags, runs: int) -> str:
    """Writes the tables."""
    room = ReadingRoom()
    lines = [
        "# Triage in a simulated reading room",
        "",
        f"`python -m benchmarks.triage_simulation --data ../shared/data --runs {runs} "
        "--out benchmarks/triage_simulation`",
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
        *_present(results, flags=flags),
    ]
    return "\n".join(lines)


def _present(results: Results, *, flags: Flags) -> list[str]:
    """How the present model flags, and what models around it save."""

    def share(values: tuple[float, float, float]) -> str:
        return f"{values[0]:.0%} [{values[1]:.0%}, {values[2]:.0%}]"

    near = around(flags)
    lines = [
        "## The present model",
        "",
        f"Measured (`benchmarks.triage_flags`): {flags.xrays} chest X-rays of {flags.patients} NIH patients whom no "
        f"training saw, through the findings head and the rule of `osler triage`. Urgent by label are {flags.urgent} "
        f"of them: {', '.join(flags.findings)}. **Sensitivity {share(flags.sensitivity)}, specificity "
        f"{share(flags.specificity)}**, area under the curve of the highest probability {flags.auroc[0]:.2f} "
        f"[{flags.auroc[1]:.2f}, {flags.auroc[2]:.2f}]; 95% intervals over patients. What simulated models on both "
        "sides of it save, and such at the ends of its intervals or beyond:",
        "",
        "| | sensitivity, specificity | "
        + " | ".join(f"saved at utilization {value}" for value in UTILIZATIONS)
        + " | others over the bound at 0.8 |",
        "|---|---|" + "---|" * (len(UTILIZATIONS) + 1),
    ]
    names = {
        "just below": near.below, "just above": near.above, "at the low ends": near.low, "at the high ends": near.high
    }  # fmt: skip
    saved: dict[str, list[Comparison]] = {}
    for name, flagging in names.items():
        rows = [_of(results[f"utilization {value}"], flagging) for value in UTILIZATIONS]
        saved[name] = rows
        late = rows[UTILIZATIONS.index(0.8)]
        cells = " | ".join(_saved(row) for row in rows)
        lines.append(
            f"| {name} | {flagging.sensitivity:g}, {flagging.specificity:g} | {cells} "
            f"| {late.late_before:.1%} to {late.late_now:.1%} |"
        )
    reached = all(row.saved_interval[0] >= GOAL for row in saved["just below"])
    sure = all(row.saved_interval[0] >= GOAL for row in saved["at the low ends"])
    goal = (
        f"The goal of {GOAL:.0%} {'is' if reached else 'is not'} reached in each of these rooms with the measured "
        f"figures, and {'also' if sure else 'not for sure'} at the low ends of both intervals."
    )
    points = ", ".join(f"{b:.0%} at specificity {a:.0%}" for a, b in flags.points)
    return [
        *lines,
        "",
        goal,
        "",
        f"Other limits of the same score would flag, by sensitivity: {points}. No limit was chosen by these figures.",
        "",
        "What this does not show:",
        "",
        f"- {flags.urgent / flags.xrays:.0%} of these X-rays are urgent by label, far more than in a day's work; where "
        "few are, the others are healthier on average and the specificity may differ.",
        "- Labels were mined from reports by a program, and about one in ten is wrong. Sicker patients are imaged "
        "lying down, with another device: the model may know the setting and not the finding. By finding its areas "
        "differ widely (`mini_heads.md`); pneumothorax, the most urgent, is on one of these films.",
        "- CT and MR get no finding from this head and keep their place, so in a mixed list the share of urgent "
        "studies that can be flagged is smaller, and so is what is saved. `osler triage` also orders by the requested "
        "priority and by critical laboratory values, which differ from house to house and were not simulated.",
        "- A study that is not flagged waits longer than before: the column of the others, and the urgent ones that "
        f"the model misses ({1 - flags.sensitivity[0]:.0%}).",
        "",
    ]


def _of(rows: Sequence[Comparison], flagging: Flagging) -> Comparison:
    return next(row for row in rows if row.flagging == flagging)


def _saved(row: Comparison) -> str:
    low, high = row.saved_interval
    return f"{row.saved:.0%} [{low:.0%}, {high:.0%}]"


def _least(rows: Sequence[Comparison]) -> str:
    enough = [row.flagging.sensitivity for row in rows if row.saved_interval[0] >= GOAL]
    return f"{min(enough):g}" if enough else "never"


def draw(results: Results, *, flags: Flags, path: Path) -> None:
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
        at, low, high = flags.sensitivity
        panel.axvspan(low, high, color="black", alpha=0.07)
        panel.axvline(
            at, color="black", linewidth=0.8, label=f"the present model, specificity {flags.specificity[0]:.2f}"
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
