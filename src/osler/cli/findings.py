"""``osler findings``: a probability for each finding, or "cannot tell"."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.outputs import (
    CaptureOption,
    FhirOption,
    ForceOption,
    MarkdownOption,
    Outputs,
    PictureOption,
    SrOption,
)
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VisualTokensOption,
    run_task,
    visual_tokens_of,
)
from osler.errors import RequestError


@guarded
def findings(
    path: Annotated[
        str | None, typer.Argument(help="DICOM file, folder, ZIP or DICOMDIR; NIfTI or MGH; PNG, JPEG, TIFF.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FINDING]...", help="Names; all that fit the modality and region without."),
    ] = None,
    from_answers: Annotated[
        bool,
        typer.Option("--from-answers", help="Without a trained head: yes against no of the model, NOT calibrated."),
    ] = False,
    list_names: Annotated[bool, typer.Option("--list", help="Print the names that are known, and stop.")] = False,
    model: ModelOption = "osler-mini",
    visual_tokens: VisualTokensOption = None,
    as_json: JsonOption = False,
    picture: PictureOption = None,
    markdown: MarkdownOption = None,
    fhir: FhirOption = None,
    sr: SrOption = None,
    capture: CaptureOption = None,
    force: ForceOption = False,
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    quiet: QuietOption = False,
) -> None:
    """Give a probability for each finding, or say that it cannot be told.

    Weights without a trained findings head answer "cannot tell" for each.

    Example: osler findings chest.dcm "pleural effusion" cardiomegaly
    """
    from osler.tasks.findings import FindingsRequest, run_findings

    if list_names:
        _print_names()
        return
    if path is None:
        raise RequestError("No scan.", allowed="osler findings PATH [FINDING]..., or osler findings --list.")
    request = FindingsRequest(
        path=path,
        findings=tuple(names or ()),
        source="answers" if from_answers else "head",
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        visual_tokens=visual_tokens_of(visual_tokens),
    )
    outputs = Outputs.checked(force=force, picture=picture, markdown=markdown, fhir=fhir, sr=sr, capture=capture)
    run_task(
        functools.partial(run_findings, request),
        title="Findings",
        outputs=outputs,
        as_json=as_json,
        quiet=quiet,
    )


def _print_names() -> None:
    from osler.tasks.finding_names import finding_names

    for finding in finding_names():
        places = ", ".join(" ".join(place) for place in sorted(finding.where))
        typer.echo(f"{finding.name}  ({places})")
