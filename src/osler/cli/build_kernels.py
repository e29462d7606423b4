"""``osler build-kernels``: compiles what makes weights of 4 and 8 bits fast."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from osler.cli.failure import guarded
from osler.errors import ModelError


@guarded
def build_kernels(
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="Where there is no compiler, say so and succeed.")
    ] = False,
) -> None:
    """Compile the kernels for weights of 4 and 8 bits, once; needs a C++ compiler, and a few seconds.

    Without them PyTorch computes, more slowly. `osler doctor` shows which kernels are used, and why.

    Example: osler build-kernels --if-possible
    """
    from osler.quant.build import build_kernels as build
    from osler.quant.build import library_path

    if library_path().is_file():
        typer.echo(f"Built already: {library_path()}")
        return
    started = time.perf_counter()
    try:
        built = build()
    except ModelError as error:
        if not if_possible:
            raise
        typer.echo(f"Kernels not built: {error.problem} {error.next_step}")
        return
    typer.echo(f"Built in {time.perf_counter() - started:.0f} s with {built.compiler}: {built.path}")
    for note in built.notes:
        typer.echo(f"Left out: {note}")
