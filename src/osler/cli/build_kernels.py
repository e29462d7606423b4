"""``osler build-kernels``: compiles what makes weights of 4 and 8 bits, and the painting of bodies, fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.errors import ModelError

if TYPE_CHECKING:
    from osler.quant.build import Built


@guarded
def build_kernels(
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="Where there is no compiler, say so and succeed.")
    ] = False,
) -> None:
    """Compile the kernels for weights of 4 and 8 bits, once; needs a C++ compiler, and a few seconds.

    Also those that paint synthetic volumes and X-rays, and those that JAX calls where it is there.
    Without them PyTorch, NumPy or XLA computes, more slowly.
    `osler doctor` shows which kernels are used, and why.

    Example: osler build-kernels --if-possible
    """
    from osler.quant import build
    from osler.synth.painting import build as painting_build

    _build(build.library_path(), build.build_kernels, what="Kernels", if_possible=if_possible)
    painting = painting_build.library_path()
    _build(painting, painting_build.build_kernels, what="Kernels for painting", if_possible=if_possible)
    if find_spec("jax") is not None:
        from osler.jax import build as jax_build

        _build(jax_build.library_path(), jax_build.build_kernels, what="Kernels for JAX", if_possible=if_possible)


def _build(path: Path, build: Callable[[], Built], *, what: str, if_possible: bool) -> None:
    if path.is_file():
        typer.echo(f"{what} built already: {path}")
        return
    started = time.perf_counter()
    try:
        built = build()
    except ModelError as error:
        if not if_possible:
            raise
        typer.echo(f"{what} not built: {error.problem} {error.next_step}")
        return
    typer.echo(f"{what} built in {time.perf_counter() - started:.0f} s with {built.compiler}: {built.path}")
    for note in built.notes:
        typer.echo(f"Left out: {note}")
