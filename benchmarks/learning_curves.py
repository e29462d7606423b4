"""How far more patients or more updates carry the heads: the perception recipe with shares of both.

    python -m benchmarks.learning_curves --recipe recipes/mini_perception.toml --held-films runs/films-test \
        --steps 250 --out benchmarks/learning_curves

Points: ``xrays-25``, ``xrays-50`` (percent of the real patients), ``series-25``, ``series-50`` (of the synthetic
ones), ``updates-25``, ``updates-50``, ``updates-200`` (of ``--steps``), and ``full``, which all curves share. Banks and
films are those of `benchmarks.ablate_training`; each point trains in a folder of its own under ``--runs`` and is not
trained again where its figures lie. States that are normalized over pictures read all pictures, without their labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablate_training import kept_record, open_recipe, variant_recipe
from benchmarks.held_out_figures import Figure
from benchmarks.machine import commit, cpu_features
from osler.errors import OslerError, unknown_name
from osler.train.recipe import PerceptionRecipe

SHOWN = {
    "findings, macro AUROC [NIH]": "findings, NIH: macro AUROC",
    "findings, macro AUROC [synthetic]": "findings, synthetic: macro AUROC",
    "progression, accuracy [synthetic]": "progression: accuracy",
}
"""Figures that are drawn, with their names in the picture."""

CURVES: Mapping[str, Sequence[str]] = {
    "real patients": ("xrays-25", "xrays-50", "full"),
    "synthetic patients": ("series-25", "series-50", "full"),
    "updates": ("updates-25", "updates-50", "full", "updates-200"),
}
POINTS = tuple(dict.fromkeys(point for points in CURVES.values() for point in points))


def percent(point: str) -> int:
    """Where a point lies on its curve."""
    return 100 if point == "full" else int(point.rpartition("-")[2])


def point_recipe(recipe: PerceptionRecipe, *, point: str, runs: Path, steps: int) -> PerceptionRecipe:
    """Returns the recipe of a point, with a folder of its own.

    Raises:
        RequestError: If the point is unknown, with the nearest name.
    """
    if point not in POINTS:
        raise unknown_name("point", name=point, known=POINTS)
    kind, share = point.partition("-")[0], percent(point) / 100
    plain = variant_recipe(recipe, name="full", runs=runs, steps=round(steps * share) if kind == "updates" else steps)
    changes = {"xrays": {"xrays_share": share}, "series": {"series_share": share}}.get(kind, {})
    return replace(plain, out=str(runs / point), **changes)


def _named(record: Mapping[str, Any]) -> dict[str, Figure]:
    return {f"{stored['task']} [{stored['data']}]": Figure(**stored) for stored in record["figures"]}


def page(records: Mapping[str, Mapping[str, Any]], *, picture: str) -> str:
    """A table for each curve."""
    lines = [f"Commit {commit()}; {', '.join(cpu_features())}.", "", f"![Curves]({picture})", ""]
    for curve, points in CURVES.items():
        done = [point for point in points if point in records]
        lines += [f"## {curve.capitalize()}", "", f"| Figure | {' | '.join(f'{percent(p)}%' for p in done)} |"]
        lines += [f"|---|{'---|' * len(done)}", f"| updates | {' | '.join(str(records[p]['updates']) for p in done)} |"]
        for name in _named(records[done[0]]) if done else ():
            found = [_named(records[point])[name] for point in done]
            cells = [f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in found]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def draw(records: Mapping[str, Mapping[str, Any]], *, path: Path) -> None:
    """A panel for each curve, with intervals over patients."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 3.7), layout="constrained")
    for panel, (curve, points) in zip(canvas.subplots(1, len(CURVES), sharey=True), CURVES.items(), strict=True):
        done = [point for point in points if point in records]
        for name, label in SHOWN.items():
            found = [_named(records[point])[name] for point in done]
            where, values = [percent(point) for point in done], [one.value for one in found]
            spread = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
            panel.errorbar(where, values, yerr=spread, marker="o", capsize=3, label=label)
        panel.set_xscale("log")
        panel.set_xticks([percent(point) for point in done], [f"{percent(point)}%" for point in done])
        panel.minorticks_off()
        panel.set_xlabel(curve)
        panel.grid(alpha=0.3)
    lines, names = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(lines, names, loc="outside lower center", ncols=len(names), fontsize=8)
    canvas.savefig(path, metadata={"Date": None})


def main() -> None:
    """Trains and measures the points that have no figures yet, and draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--held-films", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/curves"))
    parser.add_argument("--points", default=",".join(POINTS))
    parser.add_argument("--tasks", default="findings,progression")
    parser.add_argument("--steps", type=int, default=250, help="updates of the point that all curves share")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json, OUT-tables.md and OUT.svg")
    given = parser.parse_args()
    try:
        recipe = open_recipe(given.recipe, held_films=given.held_films)
        torch.set_num_threads(1)
        records = {}
        for point in given.points.split(","):
            mine = point_recipe(recipe, point=point, runs=given.runs, steps=given.steps)
            tasks = given.tasks.split(",")
            records[point] = kept_record(mine, held_films=given.held_films, runs=given.runs, tasks=tasks)
            given.out.with_suffix(".json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
            picture = given.out.with_suffix(".svg")
            draw(records, path=picture)
            tables = given.out.with_name(given.out.name + "-tables.md")
            tables.write_text(page(records, picture=picture.name), encoding="utf-8")
    except OslerError as error:
        raise SystemExit(f"learning_curves: {error}") from error


if __name__ == "__main__":
    main()
