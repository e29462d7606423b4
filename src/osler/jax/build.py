"""Compiles the kernels that jitted code calls, beside those of PyTorch (`osler.quant.build`).

The library holds the same products, and handlers in XLA's foreign-function
interface; the headers come with jax. Its name holds the version of jaxlib and
a digest of the sources.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jaxlib

from osler.quant import build
from osler.quant.build import Built, Variant

SOURCES = Path(__file__).parent / "native"


def variant() -> Variant:
    """Returns what JAX adds to the kernels."""
    return Variant(
        name="osler-kernels-jax",
        version=jaxlib.__version__,
        folder=SOURCES,
        base={
            "ffi.cpp": (),
            "attend.cpp": (),
            "attend_portable.cpp": build.FUSED,
            "dense.cpp": (),
            "dense_portable.cpp": (),
        },
        x86={
            "attend_avx2.cpp": (*build.FUSED, *build.AVX2),
            "attend_avx512.cpp": (*build.FUSED, *build.AVX512, "-mprefer-vector-width=512"),
            "dense_avx2.cpp": build.AVX2,
            "dense_avx512.cpp": build.AVX512,
        },
        amx={"dense_amx.cpp": build.TILES},
        without=frozenset({"parallel.cpp", "peak.cpp"}),
        include=(jax.ffi.include_dir(),),
    )


def library_path() -> Path:
    """Returns where the kernels for this JAX are, or would be."""
    return build.library_path(variant())


def build_kernels(*, target: Path | None = None) -> Built:
    """Compiles the kernels and the handlers.

    Args:
        target: Of the library; the user's cache if not given.

    Raises:
        ModelError: If there is no compiler, or it fails.
    """
    return build.build_kernels(target=target, variant=variant())
