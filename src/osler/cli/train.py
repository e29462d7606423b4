"""``osler train``: a training run from a recipe file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.failure import guarded


@guarded
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as one of those in recipes/.")],
) -> None:
    """Train or fine-tune a model by a recipe."""
    from osler.train import run_recipe

    run_recipe(recipe)
