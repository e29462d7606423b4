"""``osler ask``: a question about a scan."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.ehr import entry_line
from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
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
    tell_written,
)
from osler.cli.patient_options import MixedPatientsOption, PriorOption, RecordOption, mixing_of
from osler.cli.progress import StageProgress
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    JsonOption,
    MaxTokensOption,
    ModelOption,
    QuietOption,
    SeedOption,
    SpeculationOption,
    VisualTokensOption,
    WithoutOption,
    parts_of,
    visual_tokens_of,
)
from osler.errors import RequestError

if TYPE_CHECKING:
    from osler.tasks.ask import AskRequest


@guarded
def ask(
    path: Annotated[
        str | None,
        typer.Argument(help="DICOM file, folder, ZIP or DICOMDIR; NIfTI or MGH; PNG, JPEG or TIFF; a whole slide."),
    ] = None,
    question: Annotated[str | None, typer.Argument(help="The question, in quotes.")] = None,
    prior: PriorOption = None,
    record: RecordOption = None,
    allow_mixed_patients: MixedPatientsOption = False,
    no_image: Annotated[
        bool, typer.Option("--no-image", help="Ask without images: give the question alone, without PATH.")
    ] = False,
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
    max_tokens: MaxTokensOption = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest word each time.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Sample among the k likeliest.")] = None,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Sample within this probability mass.")] = 1.0,
    min_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Drop words below this share of the likeliest.")] = 0.0,
    seed: SeedOption = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text; repeatable.")] = None,
    speculation: SpeculationOption = "none",
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    without: WithoutOption = "",
    quiet: QuietOption = False,
) -> None:
    """Ask a question about a scan, or about scans and the patient's record.

    What the record alone answers (a value, a date, a drug) comes from its entries, without a model.

    Without a scan: osler ask --no-image "question"

    Example: osler ask scan.dcm "Which plane is this?" --sr answer.sr.dcm --markdown answer.md
    """
    from osler.prepare.inputs import check_question
    from osler.tasks.ask import AskRequest

    path, question = path_and_question(path, question, no_image=no_image)
    if path is None and prior:
        raise RequestError("--prior without a study.", allowed='osler ask PATH "question" --prior EARLIER.')
    check_question(question)
    files = {"picture": picture, "markdown": markdown, "fhir": fhir}
    objects = {"sr": sr, "seg": seg, "gsps": gsps, "capture": capture}
    outputs = Outputs.checked(force=force, has_study=path is not None, **files, **objects)
    request = AskRequest(
        question=question,
        path=path,
        priors=tuple(prior or ()),
        records=tuple(record or ()),
        mixing=mixing_of(allow_mixed_patients),
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        parts=parts_of(without),
        visual_tokens=visual_tokens_of(visual_tokens),
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        stop=tuple(stop or ()),
        speculation=speculation,
    )
    run_ask(request, outputs=outputs, as_json=as_json, quiet=quiet)


def path_and_question(first: str | None, second: str | None, *, no_image: bool) -> tuple[str | None, str]:
    """Sorts the arguments into a path and a question.

    Raises:
        RequestError: If one of them is missing, or a path comes with ``--no-image``.
    """
    usage = 'osler ask PATH "question", or osler ask --no-image "question".'
    if no_image:
        if first is None:
            raise RequestError("--no-image without a question.", allowed=usage)
        if second is not None:
            raise RequestError(
                f"--no-image with a path and a question: {first!r} would not be looked at.",
                allowed=usage,
                next_step="Leave one of the two out.",
            )
        return None, first
    if first is None:
        raise RequestError("Neither a scan nor a question.", allowed=usage)
    if second is None:
        if os.path.exists(first):  # Path.exists raises on a name that is too long
            raise RequestError(f"No question about {first!r}.", allowed=usage, next_step="Add a question in quotes.")
        raise RequestError(
            f"A question without an image: {shortened(first)!r}.",
            allowed=usage,
            next_step="Put the path of a scan before it, or add --no-image.",
        )
    return first, second


def shortened(text: str, *, limit: int = 80) -> str:
    """The text, cut to what fits into a message."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def run_ask(request: AskRequest, *, outputs: Outputs, as_json: bool, quiet: bool) -> None:
    """Asks, and prints the answer as it comes; writes the files that are wanted.

    Args:
        request: What to ask.
        outputs: The files to write, checked already.
        as_json: Print the `Answer` as JSON instead of text.
        quiet: No progress.
    """
    from osler.tasks.ask import ask as ask_task
    from osler.writers import format_evidence, printable

    with StageProgress(quiet=quiet) as progress:

        def show(text: str) -> None:
            progress.give_way()
            sys.stdout.write(printable(text))
            sys.stdout.flush()

        def notice(text: str) -> None:
            progress.clear()
            typer.echo(f"Note: {printable(text)}", err=True)

        asked = ask_task(
            request,
            on_text=None if as_json else show,
            on_progress=progress.update,
            on_study=outputs.refuse_unfit,
            on_notice=notice,
        )
        prepared = asked.prepared
        if prepared is None and outputs.draws:  # the record answered: no model has seen the images
            from osler.prepare import prepare_images
            from osler.weights.contract import contract_of

            prepared = prepare_images(asked.study, preprocess=contract_of(request.model))
    if as_json:
        echo_json(asked.answer.to_dict())
    else:
        typer.echo("\n")
        for one in asked.answer.evidence[-10:] if asked.prepared is None else ():
            typer.echo(printable(f"Entry     {entry_line(one)}"))
        typer.echo(format_evidence(asked.answer))
    outputs.write(
        asked.answer,
        study=asked.study,
        question=request.question,
        prepared=prepared,
        on_written=None if as_json else tell_written,
    )
