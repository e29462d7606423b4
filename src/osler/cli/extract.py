"""``osler extract``: laboratory reports and letters to structured values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    ModelOption,
    QuietOption,
    SpeculationOption,
)
from osler.errors import RequestError

if TYPE_CHECKING:
    from osler.tasks.extract import Extraction


@guarded
def extract(
    path: Annotated[str, typer.Argument(help="A PDF, a picture of a document (PNG, JPEG, TIFF), or a folder of them.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (see `osler schema extraction`).")
    ] = False,
    fhir: Annotated[Path | None, typer.Option(help="FHIR R4 Bundle of Observations to write.")] = None,
    schema: Annotated[Path | None, typer.Option(help="JSON Schema of your own form, filled by the model.")] = None,
    pictures: Annotated[
        Literal["judge", "document", "image"], typer.Option("--as", help="What pictures are taken for.")
    ] = "judge",
    rules_only: Annotated[
        bool, typer.Option("--rules-only", help="Leave lines that the rules cannot read; no model for them.")
    ] = False,
    model: ModelOption = "osler-mini",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest filled form, in tokens.")] = 512,
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    speculation: SpeculationOption = "none",
    force: Annotated[bool, typer.Option("--force", help="Let --fhir overwrite any file.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Read a lab report or letter to structured values, each with the line that it stands in.

    Example: osler extract report.pdf --fhir observations.json
    """
    from osler.tasks.extract import ExtractRequest, check_form
    from osler.tasks.extract import extract as extract_task
    from osler.writers import check_writable, write_atomic
    from osler.writers.fhir_observations import format_observations

    form = None if schema is None else check_form(_read_schema(schema))
    target = None
    if fhir is not None:
        target = check_writable(fhir, replace="any" if force else "ours", is_ours=_is_own_bundle)
    request = ExtractRequest(
        path=path,
        pictures=pictures,
        unread="leave" if rules_only else "model",
        form=form,
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        speculation=speculation,
        max_tokens=max_tokens,
    )
    with StageProgress(quiet=quiet) as progress:
        extraction = extract_task(request, on_progress=progress.update)
    if target is not None:
        write_atomic(target, data=format_observations(extraction.answer.observations).encode())
    if as_json:
        echo_json(extraction.to_dict())
        return
    _print(extraction)
    if target is not None:
        typer.echo(f"FHIR: {target}")


def _read_schema(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise RequestError(
            f"The schema {str(path)!r} cannot be read: {reason}.", allowed="A file with a JSON Schema."
        ) from error


def _is_own_bundle(path: Path) -> bool:
    """Whether a file is a bundle that this command wrote."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(record, dict) or record.get("type") != "collection":
        return False
    notes = [entry["resource"].get("note", [{}])[0].get("text", "") for entry in record.get("entry", [])]
    return all(note.startswith("Read from ") for note in notes)


def _print(extraction: Extraction) -> None:
    from osler.tasks.extract import describe
    from osler.writers import printable

    for row in extraction.rows:
        mark = "  (read by the model)" if row.way == "model" else ""
        typer.echo(printable(describe(row)) + mark)
        typer.echo(printable(f"    page {row.page}: {row.line}"))
    if not extraction.rows:
        typer.echo("No values were found.")
    for file, page, line in extraction.unread:
        typer.echo(printable(f"Not read  {file} page {page}: {line}"))
    if extraction.filled is not None:
        typer.echo(printable(json.dumps(extraction.filled, indent=2, ensure_ascii=False)))
    for refused in extraction.refused:
        typer.echo(printable(f"Refused   {refused}"))
    for one in extraction.answer.left_out:
        typer.echo(printable(f"Left out  {one.what}: {one.why}"))
    for warning in extraction.answer.warnings:
        typer.echo(printable(f"Note      {warning}"))
