"""``osler train``: a training run from a recipe file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.failure import guarded


@guarded
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file, such as those in recipes/.")],
) -> None:
    """Train a model by a recipe; interrupted, it goes on from its last checkpoint.

    Example: osler train recipes/debug.toml
    """
    from osler.train import run_recipe

    for made in run_recipe(recipe):
        typer.echo(f"Written: {made}")
