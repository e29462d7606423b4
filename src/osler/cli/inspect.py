"""``osler inspect``: what a file or folder holds, and what the model would see of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.patient_options import MixedPatientsOption, PriorOption, RecordOption, mixing_of
from osler.cli.progress import StageProgress
from osler.cli.task_options import QuietOption, VisualTokensOption, visual_tokens_of
from osler.errors import OslerError

if TYPE_CHECKING:
    from rich.table import Table

    from osler.prepare import VisualTokens
    from osler.study import Study
    from osler.tasks.inspect import InspectedSeries, Inspection

_DEFAULT_PICTURE = Path("osler-inspect.png")
_PIPED_WIDTH = 140


@guarded
def inspect(
    path: Annotated[
        str,
        typer.Argument(
            help="DICOM file, folder, ZIP or DICOMDIR; NIfTI or MGH; PNG, JPEG or TIFF; a whole slide; or a server, "
            "dicomweb://host/path?StudyDate=20240101-, or a study on it, dicomweb://host/path/studies/UID."
        ),
    ],
    prior: PriorOption = None,
    record: RecordOption = None,
    allow_mixed_patients: MixedPatientsOption = False,
    picture: Annotated[
        Path | None,
        typer.Option(help=f"PNG of what the model would see.  [default: {_DEFAULT_PICTURE} in this folder]"),
    ] = None,
    no_picture: Annotated[
        bool, typer.Option("--no-picture", help="Draw nothing: of DICOM files, headers are read only.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Let --picture overwrite any file.")] = False,
    model: Annotated[
        str, typer.Option(help="Whose view to draw: a name from `osler models`, or a folder.")
    ] = "osler-mini",
    visual_tokens: VisualTokensOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (`osler schema inspection`).")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a file or folder holds: dates, series, geometry, units, problems.

    A DICOM SR, SEG or presentation state alone: its boxes, segments, findings and texts.

    Example: osler inspect chest-ct --picture seen.png
    """
    from osler.cli.inspect_server import list_server
    from osler.prepare import with_visual_tokens
    from osler.readers import open_patient
    from osler.readers.dicom_annotations import annotation_kind
    from osler.tasks.inspect import inspect_study
    from osler.weights.contract import contract_of

    budget = visual_tokens_of(visual_tokens)
    if list_server(path, as_json=as_json):
        return
    if annotation_kind(path):
        _inspect_annotations(path, as_json=as_json)
        return
    target = None if no_picture else _picture_target(picture, force=force)
    with StageProgress(quiet=quiet) as progress:
        progress.update("read", 0, 0)
        study = open_patient(path, priors=prior or (), records=record or (), mixing=mixing_of(allow_mixed_patients))
        wanted = study.slides() or (study.volumes() and (target is not None or budget is not None))
        preprocess = with_visual_tokens(contract_of(model), budget) if wanted else None
        inspection = inspect_study(study, preprocess=preprocess)
        if not as_json:
            progress.clear()
            _print_inspection(inspection)
        if not study.timepoints:
            target = None  # a record alone has nothing to draw
        if target is not None:
            _draw(study, target=target, model=model, visual_tokens=budget, progress=progress)
    if as_json:
        record = inspection.to_dict()
        if target is not None:
            record["picture"] = str(target)
        echo_json(record)
    elif target is not None:
        typer.echo(f"\nWhat the model would see: {target}")


def _picture_target(picture: Path | None, *, force: bool) -> Path | None:
    """Where the picture goes, checked before anything is read.

    A file that the user named must be writable. The default one may fail:
    inspecting a scan from a read-only folder is no mistake.
    """
    from osler.writers import check_picture

    replace = "any" if force else "ours"
    if picture is not None:
        return check_picture(picture, replace=replace)
    try:
        return check_picture(_DEFAULT_PICTURE, replace=replace)
    except OslerError as error:
        typer.echo(f"No picture is drawn: {error.problem} Name a file with --picture.", err=True)
        return None


def _draw(study: Study, *, target: Path, model: str, visual_tokens: VisualTokens, progress: StageProgress) -> None:
    """Prepares the images as for a question, and writes them as one picture."""
    from osler.prepare import prepare_images, with_visual_tokens
    from osler.weights.contract import contract_of
    from osler.writers import draw_view, write_atomic

    contract = with_visual_tokens(contract_of(model), visual_tokens)
    prepared = prepare_images(study, preprocess=contract, progress=progress.update)
    progress.update("draw", 0, 0)
    write_atomic(target, data=draw_view(prepared, study=study, model=model))


def _inspect_annotations(path: str, *, as_json: bool) -> None:
    """Prints what an object about images holds; there is nothing to draw."""
    from osler.readers.dicom_annotations import ANNOTATION_MODALITIES, read_annotations
    from osler.tasks.inspect import inspect_annotations
    from osler.writers import printable
    from osler.writers.wording import finding_text, patient_text, pixel_text

    found = read_annotations(path)
    if as_json:
        echo_json(inspect_annotations(found).to_dict())
        return
    lines = [f"{path}: a DICOM {ANNOTATION_MODALITIES[found.kind]} about {_count(found.references, 'image')}"]
    lines.append(f"  {found.title}" + (f", by {found.author}" if found.author else ""))
    for segment in found.segments:
        lines.append(f"Segment: {segment.label} ({segment.voxels:,} voxels on {_count(segment.frames, 'slice')})")
    for box in found.boxes:
        places = (("px", pixel_text(box)), ("LPS mm", patient_text(box)))
        lines.append(
            f"Box: {box.label} ({box.score:.0%})" + "".join(f", {unit} {text}" for unit, text in places if text)
        )
    lines += [f"Finding: {finding.name}: {finding_text(finding)}" for finding in found.findings]
    lines += [f"Measured: {label}: {name} {value:g} {unit}" for label, name, value, unit in found.measurements]
    lines += [f"{section or 'Text'}: {text}" for section, text in found.texts]
    lines += [f"Problem: {problem}" for problem in found.problems]
    typer.echo(printable("\n".join(lines)))


def _print_inspection(inspection: Inspection) -> None:
    """Prints the table of series, then problems and what was left out."""
    from rich.console import Console
    from rich.text import Text

    from osler.writers import printable

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH

    def say(text: str, *, style: str = "") -> None:
        console.print(Text(printable(text), style=style), soft_wrap=True)

    series = [entry for point in inspection.timepoints for entry in point.series]
    dates = [point.date or "no date" for point in inspection.timepoints]
    shown = f" ({', '.join(dates)})" if dates else ""
    say(f"{inspection.source}: 1 patient, {_count(len(dates), 'time point')}{shown}, {len(series)} series")
    if inspection.events or inspection.documents:
        say(_record_line(inspection))
    if series:
        console.print(_table(inspection))
    for entry in series:
        if entry.levels:
            say(_slide_line(entry))
        if entry.slabs:
            say(f"Volume {_name(entry)}: a model sees {entry.slabs}")
    for entry in series:
        for problem in entry.problems:
            say(f"Problem: {entry.modality} {_name(entry)}: {problem}", style="yellow")
    for problem in inspection.problems:
        say(f"Problem: {problem}", style="yellow")
    for left in inspection.left_out:
        times = f" (x{left.count})" if left.count > 1 else ""
        say(f"Left out: {left.what}{times}: {left.why}")


def _record_line(inspection: Inspection) -> str:
    """The record in one line: entries by kind, their time, documents."""
    parts = [_count(count, kind) for kind, count in inspection.record.items()]
    span = f", {inspection.first_event} to {inspection.last_event}" if inspection.first_event else ""
    documents = f"; {_count(inspection.documents, 'document')}" if inspection.documents else ""
    return f"Record: {_count(inspection.events, 'event')} ({', '.join(parts)}){span}{documents}"


def _table(inspection: Inspection) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from osler.writers import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (
        ("date", "left"),
        ("kind", "left"),
        ("series", "left"),
        ("slices", "right"),
        ("px", "right"),
        ("mm", "right"),
        ("plane", "left"),
        ("units", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    for point in inspection.timepoints:
        for entry in point.series:
            table.add_row(*(Text(printable(cell)) for cell in _row(entry, date=point.date)))
    return table


def _row(entry: InspectedSeries, *, date: str) -> tuple[str, ...]:
    mm = " x ".join(f"{value:.4g}" for value in entry.spacing)
    plane = f"{entry.plane} {entry.orientation}".strip()
    if entry.obliquity >= 1:
        plane += f", {entry.obliquity:.0f} deg oblique"
    slices = str(entry.slices) if entry.kind == "volume" else entry.kind
    kind = entry.modality or "unknown"
    return (
        date or "-",
        kind,
        _name(entry),
        slices,
        f"{entry.size[0]} x {entry.size[1]}",
        mm or "-",
        plane or "-",
        entry.units,
    )


def _slide_line(entry: InspectedSeries) -> str:
    """Levels, pixel size, tissue and tiles of a slide."""
    levels = ", ".join(f"{width} x {height}" for width, height in entry.levels)
    microns = f"{entry.spacing[0] * 1000:.4g} microns a pixel" if entry.spacing else "pixel size unknown"
    power = f", {entry.magnification:g}x objective" if entry.magnification else ""
    tissue = f"; tissue in {entry.tissue:.0%} of it" if entry.tissue is not None else ""
    tiles = f"; a model sees {entry.tiles}" if entry.tiles else ""
    return f"Slide {_name(entry)}: {microns}{power}; {_count(len(entry.levels), 'level')} ({levels}){tissue}{tiles}"


def _name(entry: InspectedSeries) -> str:
    return " ".join(part for part in (entry.description, entry.body_part, entry.view) if part) or entry.series


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else noun if noun.endswith("ing") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
