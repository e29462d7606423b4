"""What each part of the perception training brings: the same recipe with one thing left out, on the same patients.

    python -m benchmarks.ablate_training --recipe recipes/mini_perception.toml --held-films runs/films-test \
        --steps 300 --out benchmarks/ablate_training

Variants: ``full``; ``no-temporal`` (progression without attention over time); ``no-contrastive``, ``no-boxes``,
``no-findings`` (weight 0 of that loss); ``no-synthetic`` (synthetic films left out of findings and boxes);
``layer-states`` (states of findings normalized each by itself, not over pictures). All share banks and films; each
trains in a folder of its own under ``--runs`` and goes on where it was stopped. Figures are those of
`benchmarks.mini_heads`, which resamples patients; parts that no figure belongs to are left out of the table. Slices
against the volumetric projection, and the adapter, are another recipe's: `benchmarks.ablate_volumes`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.held_out_figures import Figure
from benchmarks.machine import commit, cpu_features
from benchmarks.mini_heads import HELD_SEED, TASKS, Bench
from osler.errors import OslerError, RequestError, unknown_name
from osler.train.perception_stage import train_perception
from osler.train.recipe import PerceptionRecipe, load_recipes

Change = Callable[[PerceptionRecipe], PerceptionRecipe]


def _weightless(name: str) -> Change:
    return lambda recipe: replace(recipe, weights=replace(recipe.weights, **{name: 0.0}))


VARIANTS: Mapping[str, Change] = {
    "full": lambda recipe: recipe,
    "no-temporal": lambda recipe: replace(recipe, time="none"),
    "no-contrastive": _weightless("contrastive"),
    "no-boxes": _weightless("boxes"),
    "no-findings": _weightless("findings"),
    "no-synthetic": lambda recipe: replace(recipe, synthetic="none"),
    "layer-states": lambda recipe: replace(recipe, states="layer"),
}


def variant_recipe(recipe: PerceptionRecipe, *, name: str, runs: Path, steps: int | None) -> PerceptionRecipe:
    """Returns the recipe of a variant: nothing is shipped, and its run lies in a folder of its own.

    Raises:
        RequestError: If the variant is unknown, with the nearest name.
    """
    if name not in VARIANTS:
        raise unknown_name("variant", name=name, known=VARIANTS)
    changed = VARIANTS[name](replace(recipe, ship="", out=str(runs / name)))
    if changed.trunk != recipe.trunk:
        changed = replace(changed, banks=f"{recipe.banks}-trunk-{changed.trunk}")  # features of other layers
    if steps is None:
        return changed
    warmup = min(recipe.optimizer.warmup, max(1, steps // 5))
    return replace(changed, optimizer=replace(recipe.optimizer, steps=steps, warmup=warmup), save_every=steps)


def run_variant(recipe: PerceptionRecipe, *, held_films: Path, banks: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """Trains a variant and measures it; seconds are of the updates, after the banks are there."""
    times: list[float] = []
    train_perception(recipe, listener=lambda _: times.append(time.perf_counter()))
    bench = Bench(recipe, held_films=held_films, banks=banks / f"trunk-{recipe.trunk}")
    figures = [figure for task in tasks for figure in TASKS[task](bench)]
    return {
        "figures": [asdict(figure) for figure in figures],
        "updates": recipe.optimizer.steps,
        "seconds_an_update": (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None,
        "trained_mb": sum(p.numel() * 4 for p in bench.trainee.parameters()) / 1e6,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def open_recipe(path: str, *, held_films: Path) -> PerceptionRecipe:
    """Reads the recipe, once the films of held-out patients are there: before anything is trained.

    Raises:
        RequestError: If there are no films, or it is another kind of recipe.
    """
    if not any(held_films.glob("*.npz")):
        raise RequestError(
            f"No films in {str(held_films)!r}.",
            next_step=f"Render them first: `render_films` with the seed {HELD_SEED}.",
        )
    (recipe,) = load_recipes(path)
    if not isinstance(recipe, PerceptionRecipe):
        raise RequestError(f"{path} is a recipe of {recipe.stage!r}.", allowed="A perception recipe.")
    return recipe


def kept_record(recipe: PerceptionRecipe, *, held_films: Path, runs: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """The record of a variant, trained and measured unless its figures lie in its folder."""
    kept = Path(recipe.out) / f"figures-{recipe.optimizer.steps}.json"
    if not kept.is_file():
        record = run_variant(recipe, held_films=held_films, banks=runs / "held", tasks=tasks)
        kept.write_text(json.dumps(record), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def markdown(records: Mapping[str, Mapping[str, Any]]) -> str:
    """One table of costs, one of figures: a row a figure, a column a variant."""
    names = list(records)
    lines = ["# What each part of the training brings", "", f"Commit {commit()}; {', '.join(cpu_features())}.", ""]
    lines += ["| Variant | Updates | s an update | Weights that learn, MB | Peak MB so far |", "|---|---|---|---|---|"]
    for name, record in records.items():
        pace = record["seconds_an_update"]
        lines.append(
            f"| {name} | {record['updates']} | {'-' if pace is None else f'{pace:.2f}'} | {record['trained_mb']:.1f} | "
            f"{record['peak_mb']} |"
        )
    lines += ["", "Values with 95% intervals over patients; *constant*: a baseline that sees no image.", ""]
    lines += [f"| Figure | {' | '.join(names)} | Constant |", f"|---|{'---|' * (len(names) + 1)}"]
    rows: dict[str, dict[str, Figure]] = {}
    for name, record in records.items():
        for stored in record["figures"]:
            rows.setdefault(f"{stored['task']} [{stored['data']}]", {})[name] = Figure(**stored)
    for row, found in rows.items():
        cells = [
            f"{found[name].value:.3f} ({found[name].low:.3f} to {found[name].high:.3f})" if name in found else "-"
            for name in names
        ]
        constant = next(iter(found.values())).constant
        lines.append(f"| {row} | {' | '.join(cells)} | {'-' if constant is None else f'{constant:.3f}'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Trains and measures the variants that have no record yet, and writes the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--held-films", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--tasks", default="lungs,findings,progression,retrieval")
    parser.add_argument("--steps", type=int, default=None, help="updates of each variant; the recipe's without")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    try:
        recipe = open_recipe(given.recipe, held_films=given.held_films)
        torch.set_num_threads(1)
        records = {}
        for name in given.variants.split(","):
            mine = variant_recipe(recipe, name=name, runs=given.runs, steps=given.steps)
            tasks = given.tasks.split(",")
            records[name] = kept_record(mine, held_films=given.held_films, runs=given.runs, tasks=tasks)
            given.out.with_suffix(".md").write_text(markdown(records), encoding="utf-8")
    except OslerError as error:
        raise SystemExit(f"ablate_training: {error}") from error


if __name__ == "__main__":
    main()
