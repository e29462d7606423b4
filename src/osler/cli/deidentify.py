"""``osler deidentify``: takes identity out of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import QuietOption
from osler.errors import DataError, unknown_name

if TYPE_CHECKING:
    from osler.tasks.deidentify import DeidentifyRun

_PIXELS = ("likely", "all", "none")
_SHOWN = 20


@guarded
def deidentify(
    path: Annotated[Path, typer.Argument(help="File or folder: DICOM, NIfTI, PNG, JPEG. It is never changed.")],
    out: Annotated[Path, typer.Option(help="Folder for the result; new, or begun by the same --key.")],
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the profile, repeatable: modified-dates (the default), full-dates, no-dates, "
            "patient-characteristics, device-identity, institution-identity, uids, descriptors (cleaned, not removed), "
            "safe-private."
        ),
    ] = None,
    pixels: Annotated[
        str, typer.Option(help="Search for burned-in text: likely (X-ray, ultrasound, captures, color), all, or none.")
    ] = "likely",
    key: Annotated[
        Path | None,
        typer.Option(
            help="File of the secret behind UIDs and dates, made if absent: to go on, or to add studies later."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Take identity out of images: DICOM PS3.15 basic profile, burned-in text, dates moved; with a report.

    Example: osler deidentify study --out study-without-names --option patient-characteristics
    """
    from osler.tasks.deidentify import DeidentifyRequest
    from osler.tasks.deidentify import deidentify as run_deidentify
    from osler.tasks.deidentify_report import to_dict

    if pixels not in _PIXELS:
        raise unknown_name("value of --pixels", name=pixels, known=_PIXELS)
    request = DeidentifyRequest(
        source=path,
        out=out,
        options=tuple(option or ()),
        pixels=pixels,
        key=key,
        dry_run=dry_run,  # type: ignore[arg-type]
    )
    with StageProgress(quiet=quiet) as progress:
        run = run_deidentify(request, progress=lambda done, total: progress.update("clean", done, total))
    if not dry_run:
        _write_report(run, out=out)
    if as_json:
        echo_json(to_dict(run))
    else:
        _print(run, out=out)
    if not run.count("written") and not run.count("there already"):
        raise DataError(
            "The one file could not be de-identified."
            if len(run.files) == 1
            else f"None of the {len(run.files)} files could be de-identified.",
            next_step="The reasons stand above and in the report."
            if not as_json
            else "The reasons stand in the report.",
        )


def _write_report(run: DeidentifyRun, *, out: Path) -> None:
    from osler.tasks.deidentify_report import REPORT_JSON, REPORT_MARKDOWN, to_json, to_markdown
    from osler.writers import write_atomic

    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / REPORT_JSON, data=to_json(run).encode())
    write_atomic(out / REPORT_MARKDOWN, data=to_markdown(run).encode())


def _print(run: DeidentifyRun, *, out: Path) -> None:
    from osler.tasks.deidentify_report import counted, in_words
    from osler.writers import printable

    typer.echo(in_words(run))
    if run.dry_run:
        for (element, action), count in sorted(run.counts.items()):
            typer.echo(f"  {element}: {action}: {count:,}")
    refused = [file for file in run.files if file.status == "refused"]
    for file in refused[:_SHOWN]:
        typer.echo(printable(f"Refused: {run.names[file.number]}: {file.why}"), err=True)
    if len(refused) > _SHOWN:
        typer.echo(f"Refused: {len(refused) - _SHOWN} more, see the report.", err=True)
    unsearched = sum("pixels not searched for text" in file.notes for file in run.files)
    if unsearched:
        typer.echo(f"Pixels not searched for burned-in text: {counted(unsearched, 'file')} (--pixels all does).")
    typer.echo("Faces are not removed: a head CT or MR can be rendered.")
    if not run.dry_run:
        typer.echo(f"Report: {out}/deidentify-report.md and .json")
