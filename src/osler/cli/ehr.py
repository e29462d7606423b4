"""``osler ehr``: a question over a patient's record."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.patient_options import MixedPatientsOption, RecordOption, mixing_of
from osler.cli.progress import StageProgress
from osler.cli.task_options import BackendOption, BitsOption, DeviceOption, JsonOption, QuietOption, SeedOption
from osler.errors import RequestError

if TYPE_CHECKING:
    from osler.study import Answer, Evidence


@guarded
def ehr(
    path: Annotated[str, typer.Argument(metavar="RECORD", help="FHIR R4 bundle, NDJSON, or a folder or ZIP of them.")],
    question: Annotated[str | None, typer.Argument(help="The question, in quotes.")] = None,
    record: RecordOption = None,
    allow_mixed_patients: MixedPatientsOption = False,
    steps: Annotated[bool, typer.Option("--steps", help="Show how the record was searched.")] = False,
    model: Annotated[
        str, typer.Option(help="For open questions: a name from `osler models`, or a folder.")
    ] = "osler-mini",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer of the model, in tokens.")] = 256,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ask a question about a patient's record, with the entries that the answer rests on.

    Values, dates, counts, courses and lists come from the entries themselves, without a model.

    Example: osler ehr record.json "What was the last HbA1c?" --steps
    """
    from osler.tasks.ehr import EhrRequest, ask_record
    from osler.writers import printable

    if question is None:
        if not os.path.exists(path):
            raise RequestError("A question without a record.", allowed='osler ehr RECORD "question".')
        raise RequestError(f"No question about {path!r}.", allowed='osler ehr RECORD "question".')
    request = EhrRequest(
        question=question,
        records=(Path(path), *(record or ())),
        mixing=mixing_of(allow_mixed_patients),
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        max_tokens=max_tokens,
        seed=seed,
    )
    with StageProgress(quiet=quiet) as progress:

        def show(text: str) -> None:
            progress.give_way()
            sys.stdout.write(printable(text))
            sys.stdout.flush()

        answer = ask_record(request, on_text=None if as_json else show, on_progress=progress.update)
    if as_json:
        echo_json(answer.to_dict())
        return
    typer.echo("\n")
    _print_rest(answer, steps=steps)


def _print_rest(answer: Answer, *, steps: bool) -> None:
    """Prints the entries, the steps if wanted, then what every answer says."""
    from osler.writers import format_evidence, printable
    from osler.writers.wording import step_text

    if steps:
        for number, step in enumerate(answer.steps, start=1):
            typer.echo(printable(f"Step {number}    {step_text(step)}"))
    for one in answer.evidence[-10:]:
        typer.echo(printable(f"Entry     {entry_line(one)}"))
    if len(answer.evidence) > 10:
        typer.echo(f"          and {len(answer.evidence) - 10} more (--json lists them)")
    typer.echo(format_evidence(answer))


def entry_line(one: Evidence) -> str:
    """An entry of the record in one line: date, value, place."""
    value = f"{one.value:.6g}" if isinstance(one.value, float) else one.value
    shown = " ".join(str(part) for part in (one.note, value, one.unit) if part not in (None, ""))
    date = one.date.isoformat() if one.date else "no date"
    return f"{date} {shown} [{one.file}]"
