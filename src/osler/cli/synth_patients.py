"""``osler synth patients``: whole patients as folders that `open_study` reads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import QuietOption

_MOST_NAMED = 10


@guarded
def patients(
    count: Annotated[int, typer.Option(help="How many patients.")],
    out: Annotated[Path, typer.Option(help="Folder for them: new, empty, or of an earlier run, which goes on.")],
    seed: Annotated[int, typer.Option(help="Of the collection: the same seed gives the same patients.")] = 0,
    first: Annotated[int, typer.Option(help="Number of the first patient.")] = 0,
    images: Annotated[
        Literal["dicom", "none"], typer.Option(help="DICOM series and slides, or the record alone.")
    ] = "dicom",
    documents: Annotated[
        Literal["all", "text", "none"],
        typer.Option(help="PDFs: all (a share is scanned), text (none is scanned), or none."),
    ] = "all",
    matrix: Annotated[
        int, typer.Option(help="Most pixels along a row; coarser than the scanner's to save space.")
    ] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write synthetic patients: DICOM series, FHIR record, PDFs and reports that tell one story.

    Example: osler synth patients --count 2 --out patients --images none
    """
    from osler.synth.extra import require_synth

    require_synth()
    from osler.synth.patient_folder import FolderPlan
    from osler.synth.patient_set import PatientSet, write_patients
    from osler.synth.renderers import grid_name, renderer

    plan = FolderPlan(
        images=images, documents=documents, grid=grid_name(matrix=matrix) if images == "dicom" else "none"
    )
    wanted = PatientSet(seed=seed, count=count, first=first, plan=plan)
    render = renderer(matrix=matrix) if images == "dicom" else None
    with StageProgress(quiet=quiet) as progress:
        made = write_patients(
            wanted, out=out, render=render, progress=lambda done, total: progress.update("patients", done, total)
        )
    if as_json:
        echo_json(asdict(made) | {"folder": str(made.folder), "seed": seed})
        return
    for name in made.remade[:_MOST_NAMED]:
        typer.echo(f"Missing or damaged, made again: {name}", err=True)
    if len(made.remade) > _MOST_NAMED:
        typer.echo(f"... and {len(made.remade) - _MOST_NAMED} more files (--json names all).", err=True)
    there = f", {made.kept} there already" if made.kept else ""
    typer.echo(f"{made.written} patients written{there}: {made.folder}")
    typer.echo(f"Look at one:  osler inspect {made.folder / made.patients[0]}")
