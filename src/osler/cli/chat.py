"""``osler chat``: a conversation about scans that stay loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import format_failure, guarded
from osler.cli.patient_options import MixedPatientsOption, RecordOption, mixing_of
from osler.cli.progress import StageProgress
from osler.cli.task_options import (
    BackendOption,
    BitsOption,
    DeviceOption,
    MaxTokensOption,
    ModelOption,
    QuietOption,
    SpeculationOption,
    VisualTokensOption,
    visual_tokens_of,
)
from osler.errors import OslerError

if TYPE_CHECKING:
    from osler.tasks.chat import Chat

_PROMPT = "> "


@guarded
def chat(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="A scan, then earlier ones of the same patient.")
    ] = None,
    record: RecordOption = None,
    allow_mixed_patients: MixedPatientsOption = False,
    max_tokens: MaxTokensOption = 256,
    model: ModelOption = "osler-mini",
    visual_tokens: VisualTokensOption = None,
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    speculation: SpeculationOption = "none",
    quiet: QuietOption = False,
) -> None:
    """Talk about a scan: it stays loaded, and what was said before goes along.

    /help lists the commands. Questions may come through a pipe, one a line.

    Example: echo "Which plane is this?" | osler chat scan.dcm
    """
    from osler.tasks.chat import ChatRequest, open_chat

    request = ChatRequest(
        paths=tuple(paths or ()),
        records=tuple(record or ()),
        mixing=mixing_of(allow_mixed_patients),
        model=model,
        device=device,
        bits=bits,
        backend=backend,
        visual_tokens=visual_tokens_of(visual_tokens),
        max_tokens=max_tokens,
        speculation=speculation,
    )
    with StageProgress(quiet=quiet) as progress:
        talk = open_chat(request, on_progress=progress.update)
    if sys.stdin.isatty():
        typer.echo("/help lists the commands, /quit ends. Research software, not a medical device.")
    for line in _lines():
        if line.split()[0] == "/quit":
            return
        try:
            _turn(talk, line, quiet=quiet)
        except OslerError as error:
            typer.echo(format_failure(error), err=True)
        except KeyboardInterrupt:
            typer.echo("\n(stopped; the question is not kept)", err=True)


def _lines() -> Iterator[str]:
    """Lines of the terminal or the pipe that hold something; Ctrl-C at an empty prompt does not end."""
    terminal = sys.stdin.isatty()
    if terminal:
        import readline  # noqa: F401  (arrow keys and history at the prompt)
    while True:
        try:
            line = input(_PROMPT) if terminal else sys.stdin.readline()
        except EOFError:
            return
        except KeyboardInterrupt:
            typer.echo("\n(/quit ends)", err=True)
            continue
        if not terminal and not line:
            return
        if line.strip():
            yield line.strip()


def _turn(talk: Chat, line: str, *, quiet: bool) -> None:
    """One line: a command, or a question and its answer."""
    from osler.writers import printable

    if not line.startswith("/"):
        _answer(talk, line, quiet=quiet)
    elif line.split()[0] == "/evidence":
        typer.echo(printable(_evidence(talk)))
    elif line.split()[0] == "/save":
        typer.echo(f"Saved: {_save(talk, line.partition(' ')[2].strip())}")
    else:
        typer.echo(printable(talk.command(line)))


def _answer(talk: Chat, question: str, *, quiet: bool) -> None:
    from osler.writers import printable

    for text in talk.notice(question):
        typer.echo(f"Note: {printable(text)}")
    with StageProgress(quiet=quiet) as progress:

        def show(text: str) -> None:
            progress.give_way()
            sys.stdout.write(printable(text))
            sys.stdout.flush()

        answer, dropped = talk.ask(question, on_text=show, on_progress=progress.update)
    typer.echo("" if answer.text else "(no answer)")
    if dropped:
        typer.echo(f"Note: {dropped}")


def _evidence(talk: Chat) -> str:
    """What the last answer rests on, one line each."""
    if not talk.turns:
        return "Nothing was asked yet."
    answer = talk.turns[-1].answer
    lines = [
        " ".join(
            part
            for part in (
                entry.kind,
                "" if entry.slice is None else f"{entry.slice + 1}",
                f"of {entry.series}" if entry.series else "",
                entry.note,
            )
            if part
        )
        for entry in talk.evidence()
    ]
    lines += [f"Warning: {text}" for text in answer.warnings]
    return "\n".join(lines) or "Words alone: no image was shown."


def _save(talk: Chat, name: str) -> Path:
    from osler.errors import RequestError
    from osler.tasks.chat import is_own_transcript, transcript, transcript_form
    from osler.writers import check_writable, write_atomic

    if not name:
        raise RequestError("/save needs the name of a file.", allowed="A name in .md or .json.")
    form = transcript_form(name)
    target = check_writable(name, replace="ours", is_ours=is_own_transcript)
    return write_atomic(target, data=transcript(talk, form=form).encode("utf-8"))
