"""Training: recipes, data sets, losses, loops. `run_recipe` is the way in.

torch is imported when a run starts, not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osler.train.recipe import Recipe

__all__ = ["run_recipe", "run_stage"]


def run_recipe(path: str | Path, *, listener: Callable[[Mapping[str, float]], None] | None = None) -> tuple[Path, ...]:
    """Runs a recipe file, each stage from its last checkpoint if it was interrupted.

    Args:
        path: A TOML file such as those in ``recipes/``.
        listener: Called with the metrics of each update; without one, a live table is drawn.

    Returns:
        What each stage made: the tower's file, or the folder of the run.

    Raises:
        RequestError: If the recipe or its data folder is not right.
    """
    from osler.train.recipe import load_recipes

    return tuple(run_stage(recipe, listener=listener) for recipe in load_recipes(path))


def run_stage(recipe: Recipe, *, listener: Callable[[Mapping[str, float]], None] | None = None) -> Path:
    """Runs one stage; see `run_recipe`."""
    from osler.train.recipe import FinetuneRecipe, PerceptionRecipe, VisionRecipe

    run: Callable[..., Path]
    if isinstance(recipe, VisionRecipe):
        from osler.train.vision_stage import train_vision as run
    elif isinstance(recipe, PerceptionRecipe):
        from osler.train.perception_stage import train_perception as run
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
