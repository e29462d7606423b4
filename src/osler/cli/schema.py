"""``osler schema``: the published JSON Schemas of what ``--json`` prints."""

from __future__ import annotations

from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json


@guarded
def schema(
    name: Annotated[
        str,
        typer.Argument(
            help="Which schema: answer, extraction (osler extract), failure (an error), inspection (osler inspect)."
        ),
    ] = "answer",
) -> None:
    """Print the JSON Schema of an answer, an extraction, an error or an inspection.

    Example: osler schema answer
    """
    from osler.writers import load_schema

    echo_json(load_schema(name))
