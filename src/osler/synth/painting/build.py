"""Compiles the kernels that paint bodies, beside those for weights of 4 and 8 bits (`osler.quant.build`).

Sums and products are rounded one by one, as NumPy rounds them: no flag may let the compiler join or reorder them.
"""

from __future__ import annotations

from pathlib import Path

from osler.quant import build
from osler.quant.build import Built, Checked, Variant

SOURCES = Path(__file__).parent / "native"
# Nobody asks for floating-point exceptions; without them more loops become vectors, with the same values.
_FLAGS = ("-fno-trapping-math",)


def variant() -> Variant:
    """Returns the sources of a library of their own."""
    names = sorted(source.name for source in SOURCES.glob("*.cpp"))
    return Variant(
        name="osler-painting",
        version="1",
        folder=SOURCES,
        base=dict.fromkeys(names, _FLAGS),
        alone=True,
        include=(str(SOURCES),),
        otherwise="NumPy paints",
    )


def library_path() -> Path:
    """Returns where the kernels are, or would be."""
    return build.library_path(variant())


def build_kernels(*, target: Path | None = None, checked: Checked = "plain", main: Path | None = None) -> Built:
    """Compiles the kernels.

    Args:
        target: Of the library; the user's cache if not given.
        checked: ``"sanitized"`` adds the address and undefined-behavior sanitizers.
        main: A source with a main function, for a program in place of a library.

    Raises:
        ModelError: If there is no compiler, or it fails.
    """
    return build.build_kernels(target=target, checked=checked, main=main, variant=variant())
