"""Training: recipes, data sets, losses, loops. `run_recipe` is the way in.

torch is imported when a run starts, not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from osler.errors import RequestError

if TYPE_CHECKING:
    from osler.train.recipe import Recipe

__all__ = ["run_recipe", "run_stage"]


def run_recipe(path: str | Path, *, listener: Callable[[Mapping[str, float]], None] | None = None) -> tuple[Path, ...]:
    """Runs a recipe file, each stage from its last checkpoint if it was interrupted.

    Args:
        path: A TOML file such as those in ``recipes/``.
        listener: Called with the metrics of each update, and before the first one with progress such as
            ``{"scans": 3, "scans in all": 80}``; without one, a live table is drawn.

    Returns:
        What each stage made: the tower's file, the folder of the run, or that of the model.

    Raises:
        RequestError: If the recipe or its data folder is not right, or a stage cannot run on several processes.
        DataError: If data are damaged, or give nothing to learn from.
        CheckpointError: If a file of the run or of the weights is damaged, does not fit, or cannot be written.
        TrainingError: If a loss or the gradient is not a number.
    """
    from osler.train.recipe import load_recipes

    return tuple(run_stage(recipe, listener=listener) for recipe in load_recipes(path))


def run_stage(recipe: Recipe, *, listener: Callable[[Mapping[str, float]], None] | None = None) -> Path:
    """Runs one stage; see `run_recipe`."""
    _require_one_process(recipe)
    from osler.train.recipe import FinetuneRecipe, JointRecipe, PerceptionRecipe, VisionRecipe

    run: Callable[..., Path]
    if isinstance(recipe, VisionRecipe):
        from osler.train.vision_stage import train_vision as run
    elif isinstance(recipe, PerceptionRecipe):
        from osler.train.perception_stage import train_perception as run
    elif isinstance(recipe, JointRecipe):
        from osler.train.joint_stage import train_joint as run
    elif isinstance(recipe, FinetuneRecipe):
        from osler.train.finetune_stage import train_finetune as run
    else:
        from osler.train.answers_stage import train_answers as run
    if listener is not None or os.environ.get("RANK", "0") != "0":
        # Of several processes, only the first draws.
        return run(recipe, listener=listener)
    from rich.console import Console

    from osler.train.live_table import live_table

    with live_table(recipe, console=Console(stderr=True)) as show:
        return run(recipe, listener=show)


def _require_one_process(recipe: Recipe) -> None:
    """Refuses what `torchrun` starts of a stage whose processes would not join: all would write into one folder."""
    processes = os.environ.get("WORLD_SIZE") or "1"
    if recipe.stage not in ("finetune", "joint", "perception") and processes != "1":
        raise RequestError(
            f"The stage {recipe.stage!r} was started as {processes} processes (WORLD_SIZE).",
            allowed="One process; the stages 'finetune', 'joint' and 'perception' run on several.",
            next_step="Start it without torchrun: osler train RECIPE",
        )
