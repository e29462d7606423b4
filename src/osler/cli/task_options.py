"""Options that commands share, and how the result of one on images is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from osler.cli.json_output import echo_json
from osler.cli.outputs import Outputs, tell_written
from osler.cli.progress import StageProgress
from osler.progress import Progress

if TYPE_CHECKING:
    from osler.prepare import VisualTokens
    from osler.tasks.opening import Done, OnStudy
    from osler.weights.parts import Part

PathArgument = Annotated[
    str, typer.Argument(help="DICOM file, folder, ZIP or DICOMDIR; NIfTI or MGH; PNG, JPEG, TIFF.")
]
ModelOption = Annotated[str, typer.Option(help="A name from `osler models`, or a folder.")]
BITS = (4, 8, 16, 32)


def _checked_bits(bits: int | None) -> int | None:
    if bits is not None and bits not in BITS:
        raise typer.BadParameter(f"{bits} bits do not exist here. Bits: {', '.join(map(str, BITS))}.")
    return bits


BitsOption = Annotated[
    int | None,
    typer.Option(
        "--bits",
        help="Of the weights: 4 or 8 takes little memory, 16 is bfloat16, 32 float32.",
        callback=_checked_bits,
        show_default=False,
    ),
]
BackendOption = Annotated[
    str, typer.Option("--backend", help="torch, or jax where it is installed: pip install 'osler[jax]'.")
]
MaxTokensOption = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Makes sampling repeatable.")]
SpeculationOption = Annotated[
    str,
    typer.Option(
        "--speculation",
        metavar="none|lookup|draft",
        help="Guess ahead, for one greedy answer on PyTorch: lookup from the text so far, draft by the embedded 270M.",
    ),
]
WithoutOption = Annotated[
    str,
    typer.Option(
        "--without",
        metavar="PART,PART",
        help="Switch parts of the network off: volume, adapter, temporal, heads.",
        show_default=False,
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object (see `osler schema`).")]
VisualTokensOption = Annotated[
    str | None,
    typer.Option(
        "--visual-tokens",
        metavar="N|slices",
        help="Read volumes as volumes, in at most N tokens together, or slice by slice. [default: as the model says]",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the terminal.")]


def visual_tokens_of(wish: str | None) -> VisualTokens:
    """Reads ``--visual-tokens``.

    Raises:
        RequestError: If it is neither a whole number from 1 nor ``slices``.
    """
    from osler.prepare.contract import check_visual_tokens

    if wish is None or wish == "slices":
        return wish
    return check_visual_tokens(int(wish) if wish.lstrip("-").isdecimal() else wish)


def parts_of(without: str) -> tuple[Part, ...] | None:
    """Reads ``--without``.

    Raises:
        RequestError: If a part is unknown, with the nearest name.
    """
    from osler.weights.parts import parts_without

    return parts_without([name.strip() for name in without.split(",") if name.strip()])


class Task(Protocol):
    """A task as a command runs it."""

    def __call__(self, *, on_progress: Progress, on_study: OnStudy) -> Done:
        """Opens, loads and answers; ``on_study`` may refuse a study before the model is loaded."""
        ...


def run_task(task: Task, *, title: str, outputs: Outputs, as_json: bool, quiet: bool) -> None:
    """Runs a task, prints its answer, and writes its files.

    Args:
        task: Opens, loads and answers.
        title: What stands above the picture.
        outputs: The files to write, checked already.
        as_json: Print the `Answer` as JSON instead of text.
        quiet: No progress.
    """
    from osler.writers import format_answer

    with StageProgress(quiet=quiet) as progress:
        done = task(on_progress=progress.update, on_study=outputs.refuse_unfit)
    if as_json:
        echo_json(done.answer.to_dict())
    else:
        typer.echo(format_answer(done.answer))
    outputs.write(
        done.answer,
        study=done.study,
        question=title,
        prepared=done.prepared,
        on_written=None if as_json else tell_written,
    )
