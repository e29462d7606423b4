"""Loading a model: options checked, device and precision chosen, weights read."""

from __future__ import annotations

from typing import Literal

import torch

from osler.engine.backend import check_backend, jax_dtype, to_jax
from osler.engine.device import choose_device, choose_dtype
from osler.engine.memory_plan import plan_weights
from osler.engine.session import Session
from osler.errors import RequestError
from osler.readers.limits import available_memory
from osler.weights import load_checkpoint

_BITS = (16, 32)


def load(
    name: str = "osler-mini",
    *,
    bits: int = 16,
    backend: str = "torch",
    device: str = "auto",
    dtype: str = "auto",
    packing: str = "auto",
    studies: Literal["disk", "memory"] = "disk",
) -> Session:
    """Loads a model and returns a session that answers with it.

    Example:
        >>> import osler
        >>> session = osler.load("osler-mini")  # doctest: +SKIP
        >>> answer = session.ask(osler.open_study("scan.dcm"), "What does it show?")  # doctest: +SKIP

    Args:
        name: A name from `osler models`, a folder or a GGUF file.
        bits: Of the weights: 16, or 32 for float32.
        backend: ``"torch"``, or ``"jax"`` where it is installed.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        dtype: ``"auto"``, ``"bfloat16"`` or ``"float32"``; ``"auto"`` takes what is fast here.
        packing: ``"packed"`` rearranges a copy of the weights for faster decoding,
            ``"plain"`` runs them as they lie, ``"auto"`` packs where it pays.
        studies: ``"disk"`` keeps encoded studies for later sessions, in a folder that only the user
            can read (`osler cache` shows it); ``"memory"`` forgets them with the session.

    Raises:
        RequestError: If an option is unknown.
        CheckpointError: If the weights are missing or damaged.
        CapacityError: If they do not fit into memory.
    """
    _check_bits(bits)
    check_backend(backend)
    if backend == "jax":
        return _load_jax(name, dtype=_dtype_of(bits, dtype=dtype), device=device, studies=studies)
    place = choose_device(device)
    precision = choose_dtype(_dtype_of(bits, dtype=dtype), device=place.value)
    plan_weights(str(name), itemsize=precision.value.itemsize).require(available_memory())
    checkpoint = load_checkpoint(name, dtype=str(precision.value).removeprefix("torch."))
    checkpoint.model.to(place.value)
    return Session(checkpoint, packing=packing, device=place.reason, dtype=precision.reason, studies=studies)


def _load_jax(name: str, *, dtype: str, device: str, studies: Literal["disk", "memory"]) -> Session:
    # XLA computes bfloat16 on a CPU by way of float32, more slowly than float32 itself (benchmarks/jax_backend.md).
    reason = "asked for"
    if dtype == "auto":
        dtype, reason = jax_dtype(device)
    choose_dtype(dtype, device=torch.device("cpu"))
    plan_weights(str(name), itemsize=getattr(torch, dtype).itemsize).require(available_memory())
    checkpoint, runner = to_jax(load_checkpoint(name, dtype=dtype), device=device)
    place = "asked for" if device != "auto" else f"the fastest that JAX sees: {runner.place}"
    return Session(checkpoint, runner=runner, device=place, dtype=reason, studies=studies)


def _dtype_of(bits: int, *, dtype: str) -> str:
    if bits != 32:
        return dtype
    if dtype not in ("auto", "float32"):
        raise RequestError(f"32 bits and the precision {dtype!r} contradict each other.", allowed="float32.")
    return "float32"


def _check_bits(bits: int) -> None:
    if bits in (4, 8):
        raise RequestError(
            f"Weights of {bits} bits are not part of this version.",
            allowed=f"Bits: {', '.join(map(str, _BITS))}.",
            next_step="Use bits=16.",
        )
    if bits not in _BITS:
        raise RequestError(
            f"Weights of {bits!r} bits do not exist here.", allowed=f"Bits: {', '.join(map(str, _BITS))}."
        )
