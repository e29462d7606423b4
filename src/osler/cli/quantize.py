"""``osler quantize``: a model with weights of 4 or 8 bits, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import JsonOption, QuietOption


@guarded
def quantize(
    model: Annotated[str, typer.Argument(help="A name from `osler models`, a folder, or a GGUF file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write: new or empty.")],
    bits: Annotated[int, typer.Option("--bits", help="4 or 8.")] = 4,
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="Format of the layers, such as int4-g64 or int8-channel.", show_default=False),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option("--embedding", help="Format of the embedding, which is the language head.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model with weights of 4 or 8 bits, which answers from a fraction of the memory.

    Example: osler quantize osler-mini --bits 4 --out mini-4bit
    """
    from osler.quant import quantize_to_folder

    with StageProgress(quiet=quiet) as progress:
        written = quantize_to_folder(
            model, out, bits=bits, layers=layers, embedding=embedding, on_progress=progress.update
        )
    formats = sorted(set(written.plan.formats.values()))
    if as_json:
        echo_json(
            {
                "folder": str(written.folder),
                "bits": bits,
                "bytes": written.bytes,
                "bfloat16_bytes": written.float_bytes,
                "formats": formats,
            }
        )
        return
    share = written.bytes / written.float_bytes
    typer.echo(f"Written: {written.folder}")
    typer.echo(f"{written.bytes / 1e9:.2f} GB, {share:.0%} of bfloat16; formats: {', '.join(formats)}")
    typer.echo(f'Use it with --model: osler ask SCAN "question" --model {written.folder}')
