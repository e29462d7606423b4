"""VQA-RAD by how many training pictures an adapter learns their questions from.

    python -m benchmarks.vqa_rad_curve --recipe recipes/mini_vqa.toml --data ../shared/data --work runs/vqa-rad \
        --out benchmarks/vqa_rad_curve

Each point trains the recipe on the questions of a share of the training pictures, chosen by a hash, as many times over
them as the whole recipe goes, and is measured by `osler evaluate --sets vqa-rad` on the held-out pictures. The first
point is the base. A point whose figures lie in its folder is not made again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablations import read_rows
from benchmarks.machine import commit, cpu_features
from osler.errors import OslerError, RequestError
from osler.evaluate.evaluation import EvaluationRequest, evaluate_sets, load_responder
from osler.evaluate.rows import MODEL, Row, measured, paired_difference
from osler.evaluate.runner import chosen_sets
from osler.evaluate.sets.types import Setting
from osler.train import run_stage
from osler.train.pictures import split_of
from osler.train.recipe import FinetuneRecipe, load_recipes

SET = "vqa-rad"
SHARES = (0.25, 0.5, 1.0)


def write_table(data: Path, path: Path, *, share: float = 1.0) -> int:
    """Writes the questions of a share of the training pictures as a table of scans; returns how many pictures."""
    entries = json.loads((data / SET / "questions.json").read_text(encoding="utf-8"))
    names = set()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("path", "question", "answer", "patient", "split"))
        for entry in entries:
            name, answer = entry["image_name"], str(entry["answer"]).strip().rstrip(".")
            picture = (data / SET / "images" / name).resolve()
            if not answer or split_of(SET, patient=name) != "train" or not picture.is_file() or part_of(name) >= share:
                continue
            names.add(name)
            said = f"{answer[0].upper()}{answer[1:]}."
            writer.writerow((picture, entry["question"].strip(), said, name, "train"))
    if not names:
        raise RequestError(f"No training picture of VQA-RAD in {str(data)!r}.", next_step="Check --data.")
    return len(names)


def part_of(name: str) -> float:
    """Where a picture lies between 0 and 1."""
    return int(hashlib.sha256(f"curve {name}".encode()).hexdigest()[:8], 16) / 2**32


def open_recipe(path: str) -> FinetuneRecipe:
    """Reads the recipe.

    Raises:
        RequestError: If it is another kind of recipe.
    """
    (recipe,) = load_recipes(path)
    if not isinstance(recipe, FinetuneRecipe):
        raise RequestError(f"{path} is a recipe of {recipe.stage!r}.", allowed="A fine-tuning recipe.")
    return recipe


def trained(recipe: FinetuneRecipe, *, data: Path, folder: Path, share: float) -> dict[str, Any]:
    """Trains a point; returns pictures, rows and updates."""
    table = folder / "questions.csv"
    pictures = write_table(data, table, share=share)
    steps = max(2, round(recipe.optimizer.steps * share))
    optimizer = replace(recipe.optimizer, steps=steps, warmup=min(recipe.optimizer.warmup, steps // 4))
    run_stage(replace(recipe, csv=str(table), out=str(folder / "model"), ship="", optimizer=optimizer))
    rows = len(table.read_text(encoding="utf-8").splitlines()) - 1
    return {"pictures": pictures, "rows": rows, "updates": steps}


def measure(model: str, *, data: Path, out: Path) -> list[Row]:
    """The rows of the set on held-out pictures."""
    responder = load_responder(EvaluationRequest(data=data, model=model))
    evaluate_sets(chosen_sets([SET]), Setting(root=data, responder=responder, untrained="ask"), out=out)
    return read_rows(out, name=SET)


def figures(rows: Sequence[Row], *, base: Sequence[Row]) -> dict[str, Any]:
    """Closed accuracy and token F1 of a point and of the baselines, and the difference from the base."""
    found: dict[str, Any] = {}
    for one in chosen_sets([SET])[0].measures:
        (whole,) = [entry for entry in measured(rows, [one]) if entry.group == "all" and not entry.part]
        systems = {("model" if name == MODEL else name): asdict(value) for name, value in whole.systems.items()}
        difference, count = paired_difference(rows, base, measure=one)
        found[one.name] = {**systems, "less the base": asdict(difference), "rows": count}
    return found


def draw(points: Sequence[Mapping[str, Any]], *, path: Path) -> None:
    """Closed accuracy over the training pictures, with its intervals and the majority."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = canvas.subplots()
    closed = [point["figures"]["closed accuracy"] for point in points]
    values = [one["model"]["value"] for one in closed]
    below = [one["model"]["value"] - one["model"]["low"] for one in closed]
    above = [one["model"]["high"] - one["model"]["value"] for one in closed]
    axes.errorbar([point["pictures"] for point in points], values, yerr=[below, above], fmt="o-", capsize=3)
    axes.axhline(closed[0]["majority"]["value"], color="gray", linestyle=":", label="majority")
    axes.axhline(0.702, color="gray", linestyle="--", label="published 4B network")
    axes.set_xlabel("training pictures the adapter learned from (0: shipped weights)")
    axes.set_ylabel("closed questions, accuracy")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def markdown(points: Sequence[Mapping[str, Any]]) -> str:
    """A row a point."""
    lines = [f"Commit {commit()}; {', '.join(cpu_features())}.", ""]
    lines += [
        "| Pictures | Questions | Updates | Closed accuracy | Less the base | Token F1 |",
        "|---|---|---|---|---|---|",
    ]
    for point in points:
        closed, words = point["figures"]["closed accuracy"], point["figures"]["token F1"]
        change = _span(closed["less the base"], sign="+") if point["pictures"] else "-"
        lines.append(
            f"| {point['pictures']} | {point['rows']} | {point['updates']} | {_span(closed['model'])} | {change} | "
            f"{_span(words['model'])} |"
        )
    first = points[0]["figures"]["closed accuracy"]
    lines += ["", f"Majority {_span(first['majority'])}, blanked {_span(first['blanked'])}; {first['rows']} questions."]
    return "\n".join(lines) + "\n"


def _span(found: Mapping[str, float], *, sign: str = "") -> str:
    value, low, high = (f"{found[end] * 100:{sign}.1f}" for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    """Trains and measures the points that have no figures yet; draws them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for tables, models and rows")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json, OUT-table.md and OUT.svg")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        recipe = open_recipe(given.recipe)
        points: list[dict[str, Any]] = [{"pictures": 0, "rows": 0, "updates": 0}]
        base = measure(recipe.base, data=given.data, out=given.work / "base")
        points[0]["figures"] = figures(base, base=base)
        for share in given.shares:
            folder = given.work / f"share-{share:g}"
            about = trained(recipe, data=given.data, folder=folder, share=share)
            rows = measure(str(folder / "model"), data=given.data, out=folder / "evaluated")
            points.append({**about, "figures": figures(rows, base=base)})
            print(markdown(points), flush=True)
    except OslerError as error:
        raise SystemExit(f"vqa_rad_curve: {error}") from error
    given.out.with_suffix(".json").write_text(json.dumps({"points": points}, indent=1) + "\n", encoding="utf-8")
    given.out.with_name(f"{given.out.name}-table.md").write_text(markdown(points), encoding="utf-8")
    draw(points, path=given.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
