"""Options that every command on images takes, and how its result is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress

if TYPE_CHECKING:
    from osler.tasks.opening import Done

PathArgument = Annotated[
    str, typer.Argument(help="DICOM file, folder, ZIP or DICOMDIR; NIfTI or MGH; PNG, JPEG, TIFF.")
]
ModelOption = Annotated[str, typer.Option(help="A name from `osler models`, or a folder.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object (see `osler schema`).")]
PictureOption = Annotated[Path | None, typer.Option(help="PNG to write: what was seen, with boxes, and the answer.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Let --picture overwrite any file.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the terminal.")]


def picture_target(picture: Path | None, *, force: bool) -> Path | None:
    """Where the picture goes, checked before anything is read."""
    from osler.writers import check_writable, is_own_picture

    if picture is None:
        return None
    return check_writable(picture, replace="any" if force else "ours", is_ours=is_own_picture)


def run_task(
    task: Callable[[Callable[[str, int, int], None]], Done],
    *,
    title: str,
    target: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Runs a task, writes its picture, and prints its answer.

    Args:
        task: Takes the callback of progress.
        title: What stands above the picture.
        target: Where the picture goes, checked already.
        as_json: Print the `Answer` as JSON instead of text.
        quiet: No progress.
    """
    from osler.writers import draw_answer, format_answer, write_atomic

    with StageProgress(quiet=quiet) as progress:
        done = task(progress.update)
        if target is not None:
            progress.update("draw", 0, 0)
            png = draw_answer(done.prepared, study=done.study, question=title, answer=done.answer)
            write_atomic(target, data=png)
    if as_json:
        echo_json(done.answer.to_dict())
        return
    typer.echo(format_answer(done.answer))
    if target is not None:
        typer.echo(f"Picture: {target}")
