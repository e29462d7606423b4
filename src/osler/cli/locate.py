"""``osler locate``: boxes of what is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.task_options import (
    DeviceOption,
    ForceOption,
    JsonOption,
    ModelOption,
    PathArgument,
    QuietOption,
    picture_target,
    run_task,
)


@guarded
def locate(
    path: PathArgument,
    labels: Annotated[list[str], typer.Argument(help='What to draw boxes around, such as "right lung".')],
    slices: Annotated[int, typer.Option(min=1, help="Slices of a volume that are asked about, evenly spread.")] = 24,
    model: ModelOption = "osler-mini",
    as_json: JsonOption = False,
    picture: Annotated[Path | None, typer.Option(help="PNG to write: what was seen, with the boxes.")] = None,
    force: ForceOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Draw boxes around what is named, in pixels and in millimeters of the patient.

    Left is the patient's left. Weights that were not trained to draw boxes draw none, and say so.

    Example: osler locate chest.png "right lung" "left lung" --picture boxes.png
    """
    from osler.tasks.box_text import check_labels
    from osler.tasks.locate import LocateRequest, run_locate

    request = LocateRequest(path=path, labels=check_labels(labels), model=model, device=device, slices=slices)
    run_task(
        lambda progress: run_locate(request, on_progress=progress),
        title=f"Where is {', '.join(request.labels)}?",
        target=picture_target(picture, force=force),
        as_json=as_json,
        quiet=quiet,
    )
