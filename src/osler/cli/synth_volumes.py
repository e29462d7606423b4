"""``osler synth volumes``: CT and MR volumes of synthetic patients, with label maps and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import QuietOption


@guarded
def volumes(
    count: Annotated[int, typer.Option("--count", help="How many volumes.")],
    out: Annotated[Path, typer.Option("--out", help="Folder: new, empty, or of an earlier run, which goes on.")],
    seed: Annotated[int, typer.Option("--seed", help="Of the collection: the same seed gives the same patients.")] = 0,
    spacing: Annotated[float, typer.Option("--spacing", help="mm between voxels.")] = 2.0,
    form: Annotated[Literal["nifti", "npz"], typer.Option("--format", help="nifti or npz.")] = "nifti",
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write CT and MR volumes of synthetic patients, with label maps and boxes.

    Example: osler synth volumes --count 1 --out volumes --spacing 4
    """
    from osler.synth.phantoms.write import write_volumes

    records = []
    with StageProgress(quiet=quiet) as progress:
        for record in write_volumes(count=count, out=out, seed=seed, spacing=spacing, form=form):
            records.append(record)
            progress.update("volumes", len(records), count)
    if as_json:
        echo_json({"folder": str(out), "seed": seed, "volumes": records})
        return
    lesions = sum(len(record["lesions"]) for record in records)
    typer.echo(f"{len(records)} volumes with {lesions} boxes: {out}")
