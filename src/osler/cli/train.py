"""``osler train``: a training run from a recipe file, or a fine-tuning from a table of local scans."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json


class Method(StrEnum):
    """What learns."""

    LORA = "lora"
    FULL = "full"


@guarded
def train(
    recipe: Annotated[Path | None, typer.Argument(help="TOML file, such as those in recipes/.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Table of scans: path, question, answer; or path, label, x0, y0, x1, y1."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the fine-tuned model.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="Model to start from; osler-mini if not given.")] = None,
    method: Annotated[Method | None, typer.Option("--method", help="An adapter (lora), or all weights.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Updates in all; 200 if not given, 400 of a box head.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Train a model by a recipe, or fine-tune one on your own scans with --csv and --out.

    Interrupted, the same command goes on from the last saved state.

    Example: osler train recipes/debug.toml
    """
    # Films and volumes are rendered by one process a core; NumPy's own threads would make them wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from osler.train import run_stage
    from osler.train.recipe import load_recipes

    options = {"csv": csv, "out": out, "base": base, "method": method, "steps": steps}
    given = {name: str(value) if name != "steps" else value for name, value in options.items() if value is not None}
    recipes = load_recipes(recipe) if recipe is not None else (_from_options(given),)
    if recipe is not None and given:
        recipes = tuple(_changed(one, given) for one in recipes)
    made = [_told(run_stage(one), stage=one.stage) for one in recipes]
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        echo_json({"made": made})
        return
    for one in made:
        _say(one)


def _from_options(given: dict[str, Any]) -> Any:
    from osler.errors import RequestError
    from osler.train.recipe import FinetuneRecipe
    from osler.train.recipe_file import build

    if absent := [f"--{name}" for name in ("csv", "out") if name not in given]:
        raise RequestError(
            f"There is no recipe, and no {' and no '.join(absent)}.",
            allowed="A recipe file, or a table and a folder.",
            next_step="Run: osler train --csv DATA.csv --out FOLDER",
        )
    steps = given.pop("steps", None)
    recipe = build(FinetuneRecipe, {"stage": "finetune", **given}, where="the command")
    return recipe if steps is None else _changed(recipe, {"steps": steps})


def _changed(recipe: Any, given: dict[str, Any]) -> Any:
    import dataclasses

    from osler.errors import RequestError
    from osler.train.recipe import FinetuneRecipe

    if not isinstance(recipe, FinetuneRecipe):
        raise RequestError(
            f"Options stand beside a recipe of the stage {recipe.stage!r}.",
            allowed="Options change the stage 'finetune' only.",
            next_step="Change the recipe file.",
        )
    fields = {name: value for name, value in given.items() if name != "steps"}
    if "steps" in given:
        fields["optimizer"] = dataclasses.replace(recipe.optimizer, steps=given["steps"])
        head = dataclasses.replace(recipe.box_head.optimizer, steps=given["steps"])
        fields["box_head"] = dataclasses.replace(recipe.box_head, optimizer=head)
    return dataclasses.replace(recipe, **fields)


def _told(made: Path, *, stage: str) -> dict[str, Any]:
    import json

    places = {"finetune": made / "run" / "summary.json", "joint": made.parent / "summary.json"}
    summary = places.get(stage)
    told = json.loads(summary.read_text(encoding="utf-8")) if summary is not None and summary.is_file() else {}
    return {"path": str(made), "stage": stage, **told}


def _say(made: dict[str, Any]) -> None:
    typer.echo(f"Written: {made['path']}")
    if made.get("unreadable"):
        listed = Path(made["path"]) / "run" / "unreadable.csv"
        typer.echo(f"Not used: {made['unreadable']} of {made['rows']} rows, listed with reasons in {listed}", err=True)
    if boxes := made.get("kept_out", {}).get("boxes"):
        _say_boxes(boxes)
    if (measured := made.get("kept_out")) and "before" in measured:
        before, after = measured["before"], measured["after"]
        if not before["samples"]:
            typer.echo("No samples were kept out: nothing says whether it learned.", err=True)
            return
        typer.echo(
            f"Kept out ({before['samples']} samples): loss {before['loss']:.3f} -> {after['loss']:.3f}, "
            f"right tokens {before['right']:.1%} -> {after['right']:.1%}"
        )


def _say_boxes(measured: dict[str, Any]) -> None:
    if not measured["boxes"]:
        typer.echo("No boxes were kept out: nothing says whether the box head learned.", err=True)
        return
    patients = "1 patient" if measured["patients"] == 1 else f"{measured['patients']} patients"
    typer.echo(
        f"Kept out ({measured['boxes']} boxes of {patients}): mean IoU {measured['before']:.2f} -> "
        f"{measured['after']:.2f}; the mean box of the other rows has {measured['mean_box']:.2f}"
    )
    if measured["after"] <= measured["mean_box"]:
        typer.echo("That is no better than the mean box, which looks at nothing: do not use these boxes.", err=True)
