"""``osler locate``: boxes of what is named."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.outputs import (
    CaptureOption,
    FhirOption,
    ForceOption,
    GspsOption,
    MarkdownOption,
    Outputs,
    PictureOption,
    SegOption,
    SrOption,
)
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PathArgument,
    QuietOption,
    VisualTokensOption,
    WithoutOption,
    parts_of,
    run_task,
    visual_tokens_of,
)


@guarded
def locate(
    path: PathArgument,
    labels: Annotated[list[str], typer.Argument(help='What to draw boxes around, such as "right lung".')],
    slices: Annotated[int, typer.Option(min=1, help="Slices of a volume that are asked about, evenly spread.")] = 24,
    model: ModelOption = "osler-mini",
    visual_tokens: VisualTokensOption = None,
    as_json: JsonOption = False,
    picture: PictureOption = None,
    markdown: MarkdownOption = None,
    fhir: FhirOption = None,
    sr: SrOption = None,
    seg: SegOption = None,
    gsps: GspsOption = None,
    capture: CaptureOption = None,
    force: ForceOption = False,
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    without: WithoutOption = "",
    quiet: QuietOption = False,
) -> None:
    """Draw boxes around what is named, in pixels and in millimeters of the patient.

    Left is the patient's left. Weights that were not trained to draw boxes draw none, and say so.

    Example: osler locate chest.png "right lung" "left lung" --picture boxes.png
    """
    from osler.tasks.box_text import check_labels
    from osler.tasks.locate import LocateRequest, run_locate

    request = LocateRequest(
        path=path,
        labels=check_labels(labels),
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        parts=parts_of(without),
        slices=slices,
        visual_tokens=visual_tokens_of(visual_tokens),
    )
    outputs = Outputs.checked(
        force=force, picture=picture, markdown=markdown, fhir=fhir, sr=sr, seg=seg, gsps=gsps, capture=capture
    )
    run_task(
        functools.partial(run_locate, request),
        title=f"Where is {', '.join(request.labels)}?",
        outputs=outputs,
        as_json=as_json,
        quiet=quiet,
    )
