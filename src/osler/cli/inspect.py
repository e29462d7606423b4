"""``osler inspect``: what a file or folder holds, and what the model would see of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.progress import StageProgress
from osler.errors import OslerError

if TYPE_CHECKING:
    from rich.table import Table

    from osler.study import Study
    from osler.tasks.inspect import InspectedSeries, Inspection

_DEFAULT_PICTURE = Path("osler-inspect.png")
_PIPED_WIDTH = 140


@guarded
def inspect(
    path: Annotated[str, typer.Argument(help="DICOM file, folder, ZIP or DICOMDIR; NIfTI; PNG, JPEG or TIFF.")],
    picture: Annotated[
        Path | None,
        typer.Option(help=f"PNG of what the model would see.  [default: {_DEFAULT_PICTURE} in this folder]"),
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Read headers only and draw nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let --picture overwrite any file.")] = False,
    model: Annotated[str, typer.Option(help="Whose view to draw: a name from `osler models`.")] = "osler-mini",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (`osler schema inspection`).")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the terminal.")] = False,
) -> None:
    """Show what a file or folder holds: dates, series, geometry, units, problems."""
    from osler.readers import open_study
    from osler.tasks.inspect import inspect_study

    target = None if no_picture else _picture_target(picture, force=force)
    with StageProgress(quiet=quiet) as progress:
        progress.update("read", 0, 0)
        study = open_study(path)
        inspection = inspect_study(study)
        if not as_json:
            progress.clear()
            _print_inspection(inspection)
        if target is not None:
            _draw(study, target=target, model=model, progress=progress)
    if as_json:
        record = inspection.to_dict()
        if target is not None:
            record["picture"] = str(target)
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    elif target is not None:
        typer.echo(f"\nWhat the model would see: {target}")
