"""What each part of the perception training brings: the same recipe with one thing left out, on the same patients.

    python -m benchmarks.ablate_training --recipe recipes/mini_perception.toml --held-films runs/films-test \
        --steps 300 --out benchmarks/ablate_training

Variants: ``full``; ``no-temporal`` (progression without attention over time); ``no-contrastive``, ``no-boxes`` (and
no presence), ``no-findings`` (weight 0 of that loss, which is then not learned); ``no-synthetic`` (synthetic films
left out of findings and boxes); ``layer-states`` (states of findings normalized each by itself, not over pictures).
All share banks and films; each trains in a folder and a process of its own and goes on where it was stopped. Figures
are those of `benchmarks.mini_heads`, which resamples patients; parts that no figure belongs to are left out of the
table. Beside them stands what a variant costs beyond the frozen tower: tokens (features that are read), FLOPs and
time of an update and of the heads' answers on one patient's films, and the largest memory in training. Slices against
the volumetric projection, and the adapter, are another recipe's: `benchmarks.ablate_volumes`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.held_out_figures import Figure
from benchmarks.machine import commit, cpu_features
from benchmarks.mini_heads import HELD_SEED, TASKS, Bench
from osler.errors import OslerError, RequestError, unknown_name
from osler.train.heads_recipe import FilmShares
from osler.train.losses import total_loss
from osler.train.perception_data import PerceptionData, open_perception_data
from osler.train.perception_lesson import Lesson, draw_lesson
from osler.train.perception_losses import lesson_losses
from osler.train.perception_stage import train_perception
from osler.train.recipe import PerceptionRecipe, load_recipes

_LESSONS = 4
_TURNS = 3

Change = Callable[[PerceptionRecipe], PerceptionRecipe]


def _weightless(*names: str) -> Change:
    return lambda recipe: replace(recipe, weights=replace(recipe.weights, **dict.fromkeys(names, 0.0)))


VARIANTS: Mapping[str, Change] = {
    "full": lambda recipe: recipe,
    "no-temporal": lambda recipe: replace(recipe, time="none"),
    "no-contrastive": _weightless("contrastive"),
    "no-boxes": _weightless("boxes", "presence"),
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
    """Trains a variant and measures it, in a process that does nothing else."""
    torch.set_num_threads(1)
    train_perception(recipe)
    trained_peak = peak_memory()
    bench = Bench(recipe, held_films=held_films, banks=banks / f"trunk-{recipe.trunk}")
    data = open_perception_data(recipe, checkpoint=bench.base)
    one = replace(recipe, shares=FilmShares(series=1, xrays=0, volumes=0))
    return {
        "updates": recipe.optimizer.steps,
        "update": cost(bench, recipe, data=data, learns=True),
        "answer": cost(bench, one, data=data, learns=False),
        "trained_mb": sum(p.numel() * 4 for p in bench.trainee.parameters()) / 1e6,
        "peak_mb": round(trained_peak / 1e6),
        "figures": [asdict(figure) for task in tasks for figure in TASKS[task](bench)],
    }


def cost(bench: Bench, recipe: PerceptionRecipe, *, data: PerceptionData, learns: bool) -> dict[str, float]:
    """What heads and attention over time cost on the same lessons for all variants.

    Returns:
        ``tokens``: features of pictures and slices that are read; ``gflop``: counted, of the forward pass or of both;
        ``seconds``: of one lesson. Means, and a median, over lessons.
    """
    lessons = [draw_lesson(recipe, step=step, data=data) for step in range(_LESSONS)]

    def run(lesson: Lesson) -> None:
        with torch.set_grad_enabled(learns):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                losses = lesson_losses(bench.trainee, lesson, data=data, recipe=recipe)
            if learns:
                total_loss(losses, weights=recipe.weights).backward()

    # The counter has no formula for the fused attention of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for lesson in lessons:
            run(lesson)
    seconds = []
    for lesson in lessons * _TURNS:
        started = time.perf_counter()
        run(lesson)
        seconds.append(time.perf_counter() - started)
    bench.trainee.zero_grad(set_to_none=True)
    batches = [part for one in lessons for part in (one.films, one.xrays, one.volumes) if part is not None]
    return {
        "tokens": sum(part.features.shape[0] * part.features.shape[1] for part in batches) / _LESSONS,
        "gflop": counter.get_total_flops() / _LESSONS / 1e9,
        "seconds": statistics.median(seconds),
    }


def peak_memory() -> int:
    """Bytes that this process had resident at most (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


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
        # A process each: what one has in memory is not counted for the next.
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as alone:
            work = alone.submit(run_variant, recipe, held_films=held_films, banks=runs / "held", tasks=tasks)
            record = work.result()
        kept.write_text(json.dumps(record), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def markdown(records: Mapping[str, Mapping[str, Any]]) -> str:
    """One table of costs, one of figures: a row a figure, a column a variant."""
    names = list(records)
    lines = ["# What each part of the training brings", "", f"Commit {commit()}; {', '.join(cpu_features())}.", ""]
    lines += [
        "| Variant | Updates | Tokens an update | GFLOP an update | s an update | Tokens an answer | GFLOP an answer "
        "| ms an answer | Weights that learn, MB | Peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        update, answer = record["update"], record["answer"]
        lines.append(
            f"| {name} | {record['updates']} | {update['tokens']:,.0f} | {update['gflop']:.1f} | "
            f"{update['seconds']:.2f} | {answer['tokens']:,.0f} | {answer['gflop']:.2f} | "
            f"{1e3 * answer['seconds']:.1f} | {record['trained_mb']:.1f} | {record['peak_mb']:,} |"
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
