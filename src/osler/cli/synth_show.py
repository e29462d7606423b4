"""``osler synth show``: one synthetic patient on one page, or as a summary on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import QuietOption

if TYPE_CHECKING:
    from rich.console import Console

    from osler.study import ReferenceRange
    from osler.synth.facts import PatientFacts

_PIPED_WIDTH = 120


@guarded
def show(
    number: Annotated[int, typer.Argument(help="Number of the patient.")],
    seed: Annotated[int, typer.Option(help="Of the collection.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw the patient's page into.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --picture overwrite any file.")] = False,
    matrix: Annotated[int, typer.Option(help="Most pixels along a row of the drawn exams.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show one synthetic patient: exams with boxes, lesions and labs over time, drugs, the report.

    Example: osler synth show 12 --picture patient.png
    """
    from osler.synth.extra import require_synth

    require_synth()
    from osler.synth.patient_folder import FolderPlan, facts_record
    from osler.synth.patient_set import draw_with_reports, text_of
    from osler.writers import check_picture, write_atomic

    target = None
    if picture is not None:
        target = check_picture(picture, replace="any" if force else "ours")
    patient, texts = draw_with_reports(seed=seed, number=number)
    if target is not None:
        from osler.synth.renderers import renderer
        from osler.synth.show_page import draw_patient_page

        with StageProgress(quiet=quiet) as progress:
            progress.update("draw", 0, 0)
            page = draw_patient_page(patient, render=renderer(matrix=matrix), report_text=text_of(texts))
            write_atomic(target, data=page)
    if as_json:
        record = facts_record(patient, plan=FolderPlan(images="none", documents="none", grid="none"))
        record["reports"] = list(texts)
        if target is not None:
            record["picture"] = str(target)
        echo_json(record)
        return
    _print(patient, texts=texts)
    if target is not None:
        typer.echo(f"\nPage: {target}")


def _print(patient: PatientFacts, *, texts: tuple[str, ...]) -> None:
    """Prints who the patient is, the exams, the labs that stand out, the record, and the last report."""
    from rich.console import Console
    from rich.text import Text

    from osler.synth.timeline import build_timeline, patient_id

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    body = patient.anatomy
    about = f"{patient.sex}, {patient.age} years, {body.height_cm:.0f} cm, {body.weight_kg:.0f} kg"
    console.print(Text.assemble((patient_id(patient), "bold"), f"  {about}  (synthetic)"))
    _print_exams(console, patient)
    timeline = build_timeline(patient)
    for title, spans in (("Conditions", timeline.conditions), ("Medications", timeline.medications)):
        if spans:
            named = [
                f"{span.name} (day {span.start}{'' if span.stop is None else f' to {span.stop}'})" for span in spans
            ]
            console.print(Text.assemble((f"{title}: ", "bold"), "; ".join(named)))
    _print_labs(console, patient)
    console.print(Text(f"\nReport, day {patient.exams[-1].day}", style="bold"))
    console.print(Text(texts[-1]))


def _print_exams(console: Console, patient: PatientFacts) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from osler.synth.documents.phrases import exam_sentence
    from osler.synth.ontology import load_ontology

    names = {entry.key: entry.name for entry in load_ontology().protocols}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("day", justify="right")
    table.add_column("exam", max_width=34)
    table.add_column("findings")
    for exam in patient.exams:
        table.add_row(Text(str(exam.day)), Text(names[exam.protocol]), Text(exam_sentence(exam)))
    console.print(table)


def _print_labs(console: Console, patient: PatientFacts) -> None:
    """A table of the tests that left their range, one column a day."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from osler.synth.timeline import build_timeline

    series = [one for one in build_timeline(patient).labs if one.alarm > 0]
    if not series:
        return
    days = sorted({lab.day for lab in patient.labs})
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=None)
    table.add_column("outside the range")
    for day in days:
        table.add_column(f"day {day}", justify="right")
    table.add_column("unit")
    table.add_column("range")
    for one in series:
        values = {lab.day: lab for lab in one.values}
        cells = []
        for day in days:
            lab = values.get(day)
            style = "" if lab is None or lab.flag == "normal" else "bold red"
            cells.append(Text("-" if lab is None else f"{lab.value:g}", style=style))
        table.add_row(Text(one.name), *cells, Text(one.values[-1].unit), Text(_range(one.values[-1].reference)))
    console.print(table)


def _range(limits: ReferenceRange) -> str:
    if limits.low is None or limits.high is None:
        return (
            f"<= {limits.high:g}" if limits.high is not None else f">= {limits.low:g}" if limits.low is not None else ""
        )
    return f"{limits.low:g}-{limits.high:g}"
