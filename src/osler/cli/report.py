"""``osler report``: a report whose sentences say what they rest on."""

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
from osler.cli.patient_options import MixedPatientsOption, PriorOption, RecordOption, mixing_of
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PathArgument,
    QuietOption,
    SpeculationOption,
    VisualTokensOption,
    run_task,
    visual_tokens_of,
)


@guarded
def report(
    path: PathArgument,
    indication: Annotated[str, typer.Option(help="Why the scan was taken, in words.")] = "",
    prior: PriorOption = None,
    record: RecordOption = None,
    allow_mixed_patients: MixedPatientsOption = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest report, in tokens.")] = 512,
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
    speculation: SpeculationOption = "none",
    quiet: QuietOption = False,
) -> None:
    """Write a report by section; sentences without evidence in the study are marked.

    Weights that were not trained to write reports give the technique only, and say so.

    Example: osler report chest-ct --indication "cough for three weeks"
    """
    from osler.tasks.report import ReportRequest, run_report

    request = ReportRequest(
        path=path,
        indication=indication,
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        visual_tokens=visual_tokens_of(visual_tokens),
        max_tokens=max_tokens,
        speculation=speculation,
        priors=tuple(prior or ()),
        records=tuple(record or ()),
        mixing=mixing_of(allow_mixed_patients),
    )
    outputs = Outputs.checked(
        force=force, picture=picture, markdown=markdown, fhir=fhir, sr=sr, seg=seg, gsps=gsps, capture=capture
    )
    run_task(
        functools.partial(run_report, request),
        title="Report",
        outputs=outputs,
        as_json=as_json,
        quiet=quiet,
    )
