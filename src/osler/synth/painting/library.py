"""Whether the compiled kernels paint, and why not; `osler doctor` shows it.

``OSLER_PAINTING=numpy`` does without them, ``native`` insists on them.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from osler.errors import ModelError, RequestError, unknown_name
from osler.quant.build import require_own_file
from osler.synth.painting.build import library_path

VARIABLE = "OSLER_PAINTING"
_WISHES = ("auto", "native", "numpy")
_P, _N, _U, _I = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_int32
_F, _D = ctypes.c_float, ctypes.c_double
_FUNCTIONS: dict[str, tuple[type, ...]] = {
    **{f"{name}_{kind}": (_P, _P, _N) for name in ("exp", "log", "sine", "cosine") for kind in ("f32", "f64")},
    **{f"power_{kind}": (_P, _P, _N, _D) for kind in ("f32", "f64")},
    "lattice_knots": (_U, _U, _P, _P, _N, _F, _F),
    "lattice_across": (_P, _N, _P, _P, _P, _N, _N, _F),
    "lattice_plane": (_P, _N, _P, _P, _P, _N, _N, _N, _F),
    "lattice_part": (_P, _N, _N, _P, _P, _P, _N, _N, _N),
    "ellipsoid": (_P, _P, _F, _F, _P, _P, _N, _N),
    "tilted": (_P, _P, _P, _P, _F, _F, _P, _P, _N, _N),
    "smooth_least": (_P, _P, _F, _F, _P, _N),
    "share": (_P, _F, _P, _N),
    "above": (_P, _F, _N, _N, _N, _P),
    "labels": (_P, _N, _N, _P, _N, _N, _N, _N, _P),
    "filled": (_P, _N, _N, _N, _N, _N, _P),
    "blend": (_P, _P, _N, _N, _P, _N, _N, _P, _F, _P, _N, _I, _F, _N, _N, _N),
    "shell": (_P, _P, _N, _N, _P, _P, _P, _F, _F, _F, _I, _N, _N, _N),
    "spheres": (_P, _P, _P, _P, _P, _P, _P, _N, _F, _F, _P, _N),
    "take_depths": (_P, _P, _N, _F, _P),
    "ray_voxels": (_P, _P, _P, _P, _D, _P, _P, _P, _P, _N, _P, _N, _P, _P),
    "widths": (_P, _F, _P, _N, _N, _N),
    "share_parts": (_P, _P, _P, _N, _N, _N, _N),
    "slab_f32": (_P, _P, _N, _N, _N, _P, _P, _P, _P),
    "slab_u8": (_P, _P, _N, _N, _N, _P, _P, _P, _P),
    "seen": (_P, _N, _N, _P, _P, _P, _P, _F, _P, _P, _N, _N, _N, _I),
    "cubic": (_P, _N, _N, _I, _P, _P, _N, _P),
    "stamp": (_P, _N, _N, _P, _P, _P, _P, _P, _N, _N, _I),
    "blend_voxels": (_P, _P, _P, _P, _N, _P, _I, _F, _F, _F, _I),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """What paints.

    Args:
        library: The compiled kernels, nothing where NumPy paints. reason: Why.
    """

    library: ctypes.CDLL | None
    reason: str

    @property
    def name(self) -> str:
        """``"native"`` or ``"numpy"``."""
        return "numpy" if self.library is None else "native"


def native() -> ctypes.CDLL | None:
    """The compiled kernels, or nothing: chosen once for a process."""
    return _chosen().library


def address(array: np.ndarray) -> int:
    """Where an array's first element lies."""
    if array.flags.carray and array.size:  # the quick way: NumPy's own table of an array takes longer to make
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    return array.__array_interface__["data"][0]


@cache
def _chosen() -> Painting:
    return choose_painting()


def choose_painting(wish: str | None = None, *, library: Path | None = None) -> Painting:
    """Chooses the compiled kernels where they are built.

    Args:
        wish: ``"auto"``, ``"native"`` or ``"numpy"``; ``None`` reads ``$OSLER_PAINTING``.
        library: The kernels; the user's own if not given.

    Raises:
        RequestError: If the wish is unknown, or the kernels are asked for and not here.
    """
    wish = wish or os.environ.get(VARIABLE) or "auto"
    if wish not in _WISHES:
        raise unknown_name("painting", name=wish, known=_WISHES)
    if wish == "numpy":
        return Painting(library=None, reason="asked for")
    path = library or library_path()
    try:
        if not path.is_file():
            raise ModelError("the kernels are not built; 'osler build-kernels' builds them")
        return Painting(library=_load(path), reason="asked for" if wish == "native" else "compiled here")
    except ModelError as error:
        if wish == "native":
            raise RequestError(
                f"The kernels for painting were asked for, but {error}.",
                allowed="Without them: numpy.",
                next_step="Run: osler build-kernels",
            ) from error
        return Painting(library=None, reason=str(error))


def _load(path: Path) -> ctypes.CDLL:
    """Loads a library that only this user could have written."""
    require_own_file(str(path))
    try:
        library = ctypes.CDLL(str(path))
        for name, kinds in _FUNCTIONS.items():
            function = getattr(library, f"osler_{name}")
            function.argtypes, function.restype = kinds, _N
    except (OSError, AttributeError) as error:
        raise ModelError(f"the kernels at {str(path)!r} cannot be loaded: {error}") from error
    return library
