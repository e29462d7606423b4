"""``osler ask``: a question about a scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.progress import StageProgress
from osler.errors import RequestError

if TYPE_CHECKING:
    from osler.study import Answer, Study


@guarded
def ask(
    path: Annotated[
        str | None, typer.Argument(help="DICOM file, folder, ZIP or DICOMDIR; NIfTI; PNG, JPEG or TIFF.")
    ] = None,
    question: Annotated[str | None, typer.Argument(help="The question, in quotes.")] = None,
    no_image: Annotated[
        bool, typer.Option("--no-image", help="Ask without images: give the question alone, and no PATH.")
    ] = False,
    model: Annotated[str, typer.Option(help="A name from `osler models`, or a folder.")] = "osler-mini",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (`osler schema`).")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write what was seen, with the answer, to this PNG.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --picture overwrite any file.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest word each time.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Sample among the k likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Sample within this probability mass.")] = None,
    min_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Drop words below this share of the likeliest.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text; repeatable.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the terminal.")] = False,
) -> None:
    """Ask a question about a scan: osler ask PATH "question"."""
    raise NotImplementedError
