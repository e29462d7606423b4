"""Which kernels multiply in JAX: the compiled ones, called from jitted code, or XLA.

The choice is automatic and has a reason, which `osler doctor` shows.
Products of 8 bits are never mixed here, for want of a place to keep what is known
of a weight. ``OSLER_KERNELS`` forces a path by the names of `osler.quant.kernels`:
``amx``, ``avx512-vnni``, ``avx2``, ``portable``; ``torch`` or ``xla`` for none.

Legend: M rows of activations, N outputs, K inputs.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from osler.errors import ModelError, RequestError, unknown_name
from osler.jax.build import library_path
from osler.quant.build import require_own_file
from osler.quant.kernels import PATHS, VARIABLE

if TYPE_CHECKING:
    from osler.jax.dense import DenseStack
    from osler.jax.kv_cache import LayerKeys
    from osler.jax.packed import PackedStack

_NONE = ("torch", "xla")
_ABI = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Compiled kernels that XLA knows by name.

    Args:
        name: Of the path. number: Its index in `PATHS`.
        build: The path and the library's file, see `osler.quant.kernels.NativeKernels`.
        linear: The name under which products with packed weights are registered.
        dense: Of products with bfloat16 weights in tiles.
        attention: Of attention over a cache.
    """

    name: str
    number: int
    build: str
    linear: str
    dense: str
    attention: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelChoice:
    """Which kernels multiply, ``None`` for XLA, and why."""

    kernels: Kernels | None
    reason: str

    @property
    def name(self) -> str:
        """Of the path, ``"xla"`` for none."""
        return "xla" if self.kernels is None else self.kernels.name


def choose_kernels(wish: str | None = None, *, library: Path | None = None, platform: str = "cpu") -> KernelChoice:
    """Chooses the fastest kernels that are here.

    Args:
        wish: A path by its name, ``"xla"``, ``"torch"`` (the same here), or ``"auto"``;
            ``None`` reads ``$OSLER_KERNELS``.
        library: The compiled kernels; the user's own if not given.
        platform: Of the device that computes, as JAX names it.

    Raises:
        RequestError: If the name is unknown, or the path is asked for and not here.
    """
    wish = wish or os.environ.get(VARIABLE) or "auto"
    if wish not in ("auto", *_NONE, *PATHS):
        raise unknown_name("kernels", name=wish, known=("auto", *_NONE, *PATHS))
    if wish in _NONE:
        return KernelChoice(kernels=None, reason="asked for")
    if platform != "cpu":
        return _without(wish, reason=f"the kernels are for the CPU, and JAX computes on {platform}")
    path = library or library_path()
    if not path.is_file():
        return _without(wish, reason="the kernels for JAX are not built; 'osler build-kernels' builds them")
    try:
        registered = _register(str(path), path.stat().st_mtime_ns)
    except ModelError as error:
        return _without(wish, reason=str(error))
    here = [number for number in range(len(PATHS)) if registered.paths >> number & 1]
    if wish == "auto":
        missing = ", ".join(name for number, name in enumerate(PATHS) if number not in here)
        reason = f"the fastest that this processor and its system have{f'; not here: {missing}' if missing else ''}"
        return KernelChoice(kernels=registered.kernels(here[-1]), reason=reason)
    number = PATHS.index(wish)
    if number not in here:
        raise RequestError(
            f"The kernels {wish!r} do not run on this processor.",
            allowed=f"Here: {', '.join([PATHS[n] for n in here])}, xla.",
            next_step=f"Unset {VARIABLE}, or name one of these.",
        )
    return KernelChoice(kernels=registered.kernels(number), reason="asked for")


def native_linear(x_K: Array, stack: PackedStack, *, layer: Array | int) -> Array:
    """Multiplies by one matrix of a stack with the compiled kernels.

    Args:
        x_K: (..., K), float32 or bfloat16.
        layer: Number of the matrix.

    Returns:
        (..., N), of the same dtype.
    """
    kernels = stack.kernels
    assert kernels is not None
    call = jax.ffi.ffi_call(kernels.linear, jax.ShapeDtypeStruct((*x_K.shape[:-1], stack.rows), x_K.dtype))
    offset = jnp.zeros((0,), jnp.float16) if stack.offset is None else stack.offset
    return call(
        x_K,
        jnp.asarray(layer, jnp.int32),
        stack.codes,
        stack.scale,
        offset,
        path=np.int32(kernels.number),
        bits=np.int32(stack.format.bits),
        group=np.int32(stack.group),
        columns=np.int64(stack.columns),
    )


def native_dense(x_K: Array, stack: DenseStack, *, layer: Array | int) -> Array:
    """Multiplies by one matrix of a stack of bfloat16 weights, see `native_linear`."""
    kernels = stack.kernels
    call = jax.ffi.ffi_call(kernels.dense, jax.ShapeDtypeStruct((*x_K.shape[:-1], stack.rows), x_K.dtype))
    number = jnp.asarray(layer, jnp.int32)
    return call(x_K, number, stack.tiles, path=np.int32(kernels.number), columns=np.int64(stack.columns))


def native_attention(
    q_BLNH: Array,
    keys: LayerKeys,
    *,
    layer: Array | int,
    positions_BL: Array,
    last_BL: Array,
    stored_BS: Array,
    window: int | None,
    scale: float,
    kernels: Kernels,
) -> Array:
    """Attends over one layer of a cache with the compiled kernels, which copy no keys and pass over unseen ones.

    Args:
        q_BLNH: float32, as the cache.
        keys: Of all layers of a kind.
        layer: Number of the layer.
        positions_BL: Of the queries, -1 for padding.
        last_BL: Greatest position that each query sees.
        stored_BS: The position in each slot, -1 for none.
        window: Keys that a query sees, its own included; ``None`` for all.
        scale: Of the scores.
        kernels: What computes.

    Returns:
        (B, L, N, H); zeros for padding.
    """
    call = jax.ffi.ffi_call(kernels.attention, jax.ShapeDtypeStruct(q_BLNH.shape, q_BLNH.dtype))
    return call(
        q_BLNH,
        jnp.asarray(layer, jnp.int32),
        keys.keys,
        keys.values,
        positions_BL,
        last_BL,
        stored_BS,
        path=np.int32(kernels.number),
        window=np.int64(window or 0),
        scale=np.float32(scale),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registered:
    """A library whose kernels XLA knows, and a bit for each path that runs here."""

    paths: int
    file: str
    names: tuple[tuple[str, str], ...]

    def kernels(self, number: int) -> Kernels:
        name = PATHS[number]
        return Kernels(name=name, number=number, build=f"{name} {self.file}", **dict(self.names))


def _without(wish: str, *, reason: str) -> KernelChoice:
    if wish != "auto":
        raise RequestError(
            f"The kernels {wish!r} were asked for, but {reason}.",
            allowed="Without them: xla.",
            next_step="Run: osler build-kernels",
        )
    return KernelChoice(kernels=None, reason=reason)


@lru_cache(maxsize=4)
def _register(path: str, changed: int) -> _Registered:
    """Loads a library and tells XLA its kernels, under names that are those of this very file."""
    require_own_file(path)
    try:
        library = ctypes.CDLL(path)
        library.osler_paths.restype = ctypes.c_uint
        if (abi := library.osler_ffi_abi()) != _ABI:
            raise ModelError(f"the kernels at {path!r} have the interface {abi}, not {_ABI}")
        mark = sha256(f"{path} {changed}".encode()).hexdigest()[:12]
        names = {kind: f"osler_{kind}_{mark}" for kind in ("linear", "dense", "attention")}
        for kind, name in names.items():
            handler = jax.ffi.pycapsule(getattr(library, f"osler_ffi_{kind}"))
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
        return _Registered(paths=int(library.osler_paths()), file=Path(path).stem, names=tuple(names.items()))
    except (OSError, AttributeError) as error:
        raise ModelError(f"the kernels at {path!r} cannot be loaded: {error}") from error
