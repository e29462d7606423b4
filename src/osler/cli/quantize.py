"""``osler quantize``: a model with weights of 4 or 8 bits, in a folder of its own or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.progress import StageProgress
from osler.cli.task_options import JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from osler.progress import Progress
    from osler.quant.calibration import Calibration, Method
    from osler.quant.folder import CheckPlan, MakeCalibration, QuantizedFolder
    from osler.quant.open import OpenedModel


@guarded
def quantize(
    model: Annotated[str, typer.Argument(help="A name from `osler models`, a folder, or a GGUF file.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder to write, new or empty; or FILE.gguf: decoder and tokenizer for llama.cpp."),
    ],
    bits: Annotated[int, typer.Option("--bits", help="4 or 8.")] = 4,
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="Format of the layers, such as int4-g64 or int8-channel.", show_default=False),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option("--embedding", help="Format of the embedding, which is the language head.", show_default=False),
    ] = None,
    tower: Annotated[
        str | None,
        typer.Option(
            "--tower",
            help="Format of the image tower and the heads, such as int8-channel; or bfloat16. Usually int8-g32.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            help="Parts of the layers that stay at 8 bits: attention, down (the MLP's second product), ends (the first "
            "and last layer); with commas between.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            help="How weights of 4 bits are rounded: gptq (better, takes minutes), awq, awq-gptq, or none. "
            "Usually gptq for 4 bits, none for 8.",
            show_default=False,
        ),
    ] = None,
    calibration_tokens: Annotated[
        int | None,
        typer.Option("--calibration-tokens", help="Tokens of the synthetic texts and pictures.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model with weights of 4 or 8 bits, which answers from a fraction of the memory.

    Example: osler quantize osler-mini --bits 8 --out mini-8bit
    """
    from osler.quant.calibration import choose_method
    from osler.quant.folder import quantize_to_folder

    method = choose_method(calibration, bits=bits, tokens=calibration_tokens)
    with StageProgress(quiet=quiet) as progress:

        def write(folder: Path, *, check: CheckPlan | None = None) -> QuantizedFolder:
            return quantize_to_folder(
                model,
                folder,
                bits=bits,
                layers=layers,
                embedding=embedding,
                tower=tower,
                keep=[part.strip() for part in keep.split(",")] if keep else (),
                calibrate=_calibrate(method, tokens=calibration_tokens, on_progress=progress.update),
                check=check,
                on_progress=progress.update,
            )

        if out.suffix.lower() == ".gguf":
            written, size = _write_gguf(write, out, on_progress=progress.update)
        else:
            written = write(out)
            size = written.bytes
    _report(written, out=out, size=size, as_json=as_json)


def _write_gguf(
    write: Callable[..., QuantizedFolder], out: Path, *, on_progress: Progress
) -> tuple[QuantizedFolder, int]:
    """Quantizes into a folder beside the file, and turns that into the file."""
    from osler.quant.gguf_export import check_target, export_gguf, require_exportable

    check_target(out)
    with TemporaryDirectory(prefix=".osler-quantize-", dir=out.parent) as scratch:
        written = write(Path(scratch) / out.stem, check=require_exportable)
        return written, export_gguf(written.folder, out, on_progress=on_progress)


def _calibrate(method: Method, *, tokens: int | None, on_progress: Progress) -> MakeCalibration | None:
    if method == "none":
        return None
    from osler.train.calibration_samples import TOKENS, calibration

    def make(opened: OpenedModel) -> Calibration:
        return calibration(
            opened.config,
            method=method,
            tokenizer=opened.tokenizer(),
            preprocess=opened.preprocess,
            tokens=TOKENS if tokens is None else tokens,
            on_progress=on_progress,
        )

    return make


def _report(written: QuantizedFolder, *, out: Path, size: int, as_json: bool) -> None:
    formats = sorted(set(written.plan.formats.values()))
    rounding = written.calibration
    if as_json:
        echo_json(
            {
                "folder" if written.folder == out else "file": str(out),
                "bits": written.plan.bits,
                "bytes": size,
                "bfloat16_bytes": written.float_bytes,
                "formats": formats,
                "calibration": "none" if rounding is None else rounding.method,
                "calibration_tokens": 0 if rounding is None else rounding.tokens,
            }
        )
        return
    typer.echo(f"Written: {out}")
    typer.echo(f"{size / 1e9:.2f} GB, {size / written.float_bytes:.0%} of bfloat16; formats: {', '.join(formats)}")
    if rounding is not None:
        typer.echo(f"Calibrated: {rounding.method}, {rounding.tokens:,} tokens of {rounding.source}")
    if written.folder == out:
        typer.echo(f'Use it with --model: osler ask SCAN "question" --model {out}')
    else:
        typer.echo("The file holds the decoder and the tokenizer: llama.cpp answers from text alone with it.")
