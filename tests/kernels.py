"""Kernels that a test asks for by name, their products, and what the sanitizers find in them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from osler.errors import RequestError
from osler.quant.build import find_compiler
from osler.quant.kernels import Kernels
from osler.quant.packed import PackedWeight

SIMULATED_TILES = Path(__file__).parent / "quant" / "simulated_tiles.h"

Choose = Callable[[str], Kernels]
"""Returns kernels by their name."""


def by_name(choose_kernels: Callable[..., Any], *, library: Path) -> Callable[[str], Any]:
    """Returns kernels by their name; a path that this processor lacks is skipped with that reason."""

    def chosen(name: str) -> Any:
        try:
            return choose_kernels(name, library=library).kernels
        except RequestError as error:
            if "do not run on this processor" not in str(error):
                raise
            pytest.skip(str(error))

    return chosen


def missing_tiles() -> Path | None:
    """Returns the header that computes tiles by vectors, for ``build_kernels``; ``None`` on a processor with tiles."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    return SIMULATED_TILES if "avx512_bf16" in flags and "amx_int8" not in flags else None


def product(kernels: Kernels, weight: PackedWeight, x: torch.Tensor) -> torch.Tensor:
    """Returns what kernels make of rows, float32."""
    return kernels.linear(x, kernels.prepare(weight)).float()


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Returns how far a matrix is from another, relative to that."""
    return float((found - wanted).norm() / wanted.norm())


def run_sanitized(build: Callable[..., Any], *, folder: Path) -> str:
    """Builds a checking program with the sanitizers, runs it, and returns what it printed; skipped without a compiler.

    Args:
        build: Builds the program at ``target`` as ``checked`` says. folder: For the program.
    """
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    program = folder / "check"
    build(target=program, checked="sanitized")
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
