"""``osler evaluate``: how good a model is on public sets, with intervals and baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import BackendOption, BitsOption, DeviceOption, QuietOption, WithoutOption, parts_of


@guarded
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder with the sets (docs/how-to/evaluate-a-model.md).")] = Path("data"),
    model: Annotated[
        str, typer.Option(help="A name from `osler models`, or a folder: Osler's, MedGemma's, LLaVA-Med's, BioMedLM's.")
    ] = "osler-mini",
    sets: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Only these sets or groups, such as published; all without.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Cases of a set at most.")] = None,
    split: Annotated[
        str, typer.Option(help="held-out patients, all, or auto: held-out for Osler's own weights.")
    ] = "auto",
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Ask for what the weights were not trained for, too.")
    ] = False,
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    without: WithoutOption = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result, pictures and rows; a stopped run goes on from there.")
    ] = None,
    radgraph: Annotated[
        Path | None, typer.Option(metavar="FILE", help="RadGraph annotations of the reports of mimic-cxr-reports.")
    ] = None,
    list_sets: Annotated[bool, typer.Option("--list", help="Print the sets that are known, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Measure a model on public sets: intervals over patients, baselines, the worst cases.

    What the weights were not trained for is listed and not scored.

    Example: osler evaluate --data data --sets lung-boxes,nih-findings --out result
    """
    from osler.evaluate.evaluation import EvaluationRequest
    from osler.evaluate.evaluation import evaluate as run
    from osler.evaluate.evaluation_text import evaluation_text

    if list_sets:
        _print_sets()
        return
    request = EvaluationRequest(
        data=data,
        model=model,
        sets=tuple(name.strip() for name in sets.split(",") if name.strip()),
        limit=limit,
        split=split,  # type: ignore[arg-type]
        untrained="ask" if untrained else "list",
        radgraph=radgraph or "",
        out=out or "",
        bits=bits,
        backend=backend,
        parts=parts_of(without),
        device=device,
    )
    with StageProgress(quiet=quiet) as progress:
        record = run(request, on_progress=progress.update)
    if as_json:
        echo_json(record)
    else:
        typer.echo(evaluation_text(record))
        if out is not None:
            typer.echo(f"Result: {out / 'evaluation.md'}, {out / 'evaluation.json'}")
    if all(one["state"] in ("no data", "failed") for one in record["sets"]):
        typer.echo(
            f"Nothing was measured: no set below {str(data)!r} could be used. Name another with --data.", err=True
        )
        raise typer.Exit(2)


def _print_sets() -> None:
    from osler.evaluate.sets import GROUPS, all_sets

    for one in all_sets():
        needs = " or ".join(sorted(one.skills)) or "no skill"
        typer.echo(f"{one.name}: {one.title} (needs {needs})")
    for name, members in GROUPS.items():
        typer.echo(f"{name} = {', '.join(members)}")
