"""``osler compare``: what changed between dates."""

from __future__ import annotations

import datetime as dt
import functools
from pathlib import Path
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
from osler.cli.patient_options import MixedPatientsOption, RecordOption, mixing_of
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VisualTokensOption,
    WithoutOption,
    parts_of,
    run_task,
    visual_tokens_of,
)


@guarded
def compare(
    now: Annotated[str, typer.Argument(help="The study of today.")],
    priors: Annotated[list[str], typer.Argument(metavar="PRIOR...", help="Earlier studies of the same patient.")],
    boxes: Annotated[
        list[Path] | None,
        typer.Option(help="Boxes (`osler locate --json`) or a label map; one for each study, NOW first."),
    ] = None,
    date: Annotated[
        list[dt.datetime] | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day of each study where files give none, NOW first."),
    ] = None,
    finding: Annotated[list[str] | None, typer.Option(help="A finding to follow; repeatable.")] = None,
    record: RecordOption = None,
    allow_mixed_patients: MixedPatientsOption = False,
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
    """Say what became of each finding: improved, stable, worsened, new or resolved.

    Measured are boxes and label maps that you give, and laboratory values of the record.

    Example: osler compare now.png before.png --boxes now.json --boxes before.json
    """
    from osler.tasks.compare import CompareRequest, run_compare

    request = CompareRequest(
        now=now,
        priors=tuple(priors),
        records=tuple(record or ()),
        mixing=mixing_of(allow_mixed_patients),
        drawn=tuple(boxes or ()),
        dates=tuple(day.date() for day in date or ()),
        findings=tuple(finding or ()),
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        parts=parts_of(without),
        visual_tokens=visual_tokens_of(visual_tokens),
    )
    outputs = Outputs.checked(
        force=force, picture=picture, markdown=markdown, fhir=fhir, sr=sr, seg=seg, gsps=gsps, capture=capture
    )
    run_task(
        functools.partial(run_compare, request),
        title="What changed?",
        outputs=outputs,
        as_json=as_json,
        quiet=quiet,
    )
