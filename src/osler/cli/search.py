"""``osler index`` and ``osler search``: studies that look like one, or whose reports speak of something."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import BackendOption, BitsOption, DeviceOption, JsonOption, ModelOption, QuietOption


class QueryKind(StrEnum):
    """What the query is."""

    AUTO = "auto"
    STUDY = "study"
    TEXT = "text"


@guarded
def index(
    folders: Annotated[list[str], typer.Argument(help="Folders in which each file or folder is one study.")],
    out: Annotated[Path, typer.Option("--out", help="The index: a file that is made, or brought up to date.")],
    model: ModelOption = "osler-mini",
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Make an index of studies, to search them by a study or by words of their reports.

    Run again, it reads only what is new or has changed. A study that cannot be read is listed and
    the others go on.

    Example: osler index archive/ --out archive.index
    """
    from osler.engine.backend import check_backend
    from osler.readers.inbox import list_inbox
    from osler.tasks.search import build_index

    check_backend(backend)
    for folder in folders:
        list_inbox(folder)
    with StageProgress(quiet=quiet) as progress:
        progress.update("load", 0, 0)
        from osler.engine.load import load

        session = load(model, device=device, bits=bits, backend=backend, studies="memory")
        report = build_index(
            session, folders, index=out, on_study=lambda done, total, path: progress.update("index", done, total)
        )
    if as_json:
        echo_json(
            {
                "index": str(out),
                "added": report.added,
                "kept": len(report.kept),
                "removed": report.removed,
                "failed": report.failed,
            }
        )
    else:
        from osler.writers import printable

        typer.echo(
            f"{len(report.added):,} studies added, {len(report.kept):,} unchanged, {len(report.removed):,} no longer "
            f"there, {len(report.failed):,} could not be read: {out}"
        )
        for path, reason in report.failed.items():
            typer.echo(printable(f"  {path}: {reason}"), err=True)
    if report.failed and not report.added and not report.kept:
        raise typer.Exit(2)


@guarded
def search(
    index: Annotated[str, typer.Argument(help="From `osler index`.")],
    query: Annotated[str, typer.Argument(help="A path to a study, or words in quotes.")],
    kind: Annotated[QueryKind, typer.Option("--kind", help="What the query is.")] = QueryKind.AUTO,
    top: Annotated[int, typer.Option(min=1, help="Most matches.")] = 10,
    model: Annotated[str, typer.Option(help="Whose vectors the index holds.")] = "osler-mini",
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find studies that look like one, or whose reports speak of something.

    Example: osler search archive.index new-scan/

    Example: osler search archive.index "pleural effusion on the left"
    """
    from osler.tasks.search import SearchRequest
    from osler.tasks.search import search as search_task
    from osler.writers import format_answer

    request = SearchRequest(
        index=index, query=query, kind=kind.value, top=top, model=model, device=device, bits=bits, backend=backend
    )
    with StageProgress(quiet=quiet) as progress:
        answer = search_task(request, on_progress=progress.update)
    if as_json:
        echo_json(answer.to_dict())
        return
    typer.echo(format_answer(replace(answer, matches=())))  # they stand in the numbered list
