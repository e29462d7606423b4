"""Loading a model: options checked, device and precision chosen, weights read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch

from osler.engine.backend import (
    check_backend,
    check_jax,
    dense_jax,
    jax_dtype,
    jax_kernels,
    quantized_jax,
    to_jax,
)
from osler.engine.device import Choice, choose_device, choose_dtype
from osler.engine.memory_plan import plan_weights
from osler.engine.session import Session
from osler.errors import RequestError
from osler.quant.folder import folder_plan, is_quantized, load_quantized_folder
from osler.quant.kernels import KernelChoice, TorchKernels, choose_kernels
from osler.quant.network import move_network
from osler.quant.open import load_and_quantize
from osler.quant.tower import fuse_eyes
from osler.readers.limits import available_memory
from osler.weights import load_checkpoint
from osler.weights.catalog import find_model
from osler.weights.parts import Part, check_parts, keep_parts

_BITS = (4, 8, 16, 32)


def load(
    name: str = "osler-mini",
    *,
    bits: int | None = None,
    backend: str = "torch",
    device: str = "auto",
    dtype: str = "auto",
    packing: str = "auto",
    studies: Literal["disk", "memory"] = "disk",
    parts: Collection[Part] | None = None,
) -> Session:
    """Loads a model and returns a session that answers with it.

    Example:
        >>> import osler
        >>> session = osler.load("osler-mini")  # doctest: +SKIP
        >>> answer = session.ask(osler.open_study("scan.dcm"), "What does it show?")  # doctest: +SKIP

    Args:
        name: A name from `osler models`, a folder or a GGUF file.
        bits: Of the weights: 4 or 8 quantizes them while they load, 16 is bfloat16, 32 float32.
            ``None``: as they are.
        backend: ``"torch"``, or ``"jax"`` where it is installed.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        dtype: ``"auto"``, ``"bfloat16"`` or ``"float32"``; ``"auto"`` takes what is fast here.
        packing: ``"packed"`` rearranges a copy of the weights for faster decoding,
            ``"plain"`` runs them as they lie, ``"auto"`` packs where it pays.
        studies: ``"disk"`` keeps encoded studies for later sessions, in a folder that only the user
            can read (`osler cache` shows it); ``"memory"`` forgets them with the session.
        parts: Of ``"volume"``, ``"adapter"``, ``"temporal"`` and ``"heads"`` those that run, where the
            weights have them; the others are left out, as if they had never been trained. ``None``: all.

    Raises:
        RequestError: If an option or a part is unknown.
        CheckpointError: If the weights are missing or damaged.
        CapacityError: If they do not fit into memory.
    """
    _check_bits(bits)
    check_backend(backend)
    kept = None if parts is None else check_parts(parts)
    if backend == "jax":
        return _load_jax(str(name), bits=bits, dtype=dtype, device=device, studies=studies, parts=kept)
    place = choose_device(device)
    stored = _stored_bits(str(name), bits=bits)
    precision = choose_dtype(_dtype_of(bits, dtype=dtype), device=place.value)
    width = str(precision.value).removeprefix("torch.")
    if stored is not None or bits in (4, 8):
        return _load_quantized(
            str(name), bits=stored or bits, device=place, dtype=precision, studies=studies, parts=kept
        )
    plan_weights(str(name), itemsize=precision.value.itemsize).require(available_memory())
    checkpoint = keep_parts(load_checkpoint(name, dtype=width), kept)
    checkpoint.model.to(place.value)
    if place.value.type == "cpu" and precision.value == torch.bfloat16:
        fuse_eyes(checkpoint.model, kernels=choose_kernels().kernels)
    return Session(checkpoint, packing=packing, device=place.reason, dtype=precision.reason, studies=studies)


def _load_quantized(
    name: str,
    *,
    bits: int,
    device: Choice[torch.device],
    dtype: Choice[torch.dtype],
    studies: Literal["disk", "memory"],
    parts: tuple[Part, ...] | None,
) -> Session:
    on_cpu = device.value.type == "cpu"
    kernels = choose_kernels() if on_cpu else KernelChoice(TorchKernels(), f"PyTorch computes on {device.value.type}")
    width = str(dtype.value).removeprefix("torch.")
    path = find_model(name)
    if is_quantized(path):
        checkpoint = load_quantized_folder(path, dtype=width, kernels=kernels)
    else:
        plan_weights(name, itemsize=dtype.value.itemsize, bits=bits).require(available_memory())
        checkpoint = load_and_quantize(name, bits=bits, dtype=width, kernels=kernels)
    checkpoint = keep_parts(checkpoint, parts)
    if on_cpu:
        fuse_eyes(checkpoint.model, kernels=kernels.kernels)
    else:
        move_network(checkpoint.model, device=device.value)
    packing = Choice(f"int{bits} {kernels.kernels.name}", kernels.reason)
    return Session(checkpoint, packing=packing, device=device.reason, dtype=dtype.reason, studies=studies)


def quantized_bits(name: str) -> int | None:
    """Returns the bits of a folder of quantized weights, ``None`` for any other model."""
    path = find_model(name)
    if not path.is_dir() or not is_quantized(path):
        return None
    return folder_plan(path).bits


def _stored_bits(name: str, *, bits: int | None) -> int | None:
    """Returns the bits of a folder of quantized weights, and refuses others."""
    stored = quantized_bits(name)
    if stored is not None and bits not in (None, stored):
        raise RequestError(
            f"{name!r} holds weights of {stored} bits, and {bits} were asked for.",
            next_step="Leave --bits out, or name the model that they were made from.",
        )
    return stored


def _load_jax(
    name: str,
    *,
    bits: int | None,
    dtype: str,
    device: str,
    studies: Literal["disk", "memory"],
    parts: tuple[Part, ...] | None,
) -> Session:
    check_jax(device)
    stored = _stored_bits(name, bits=bits)
    asked = _dtype_of(bits, dtype=dtype)
    dtype, reason = (asked, "asked for") if asked != "auto" else jax_dtype(device)
    choose_dtype(dtype, device=torch.device("cpu"))
    place = "asked for" if device != "auto" else "the first that JAX sees"
    if stored is not None or bits in (4, 8):
        if stored is None:
            plan_weights(name, itemsize=getattr(torch, dtype).itemsize, bits=bits).require(available_memory())
        folder = find_model(name) if stored is not None else None
        wanted = stored or bits
        assert wanted is not None
        checkpoint, runner, kernels = quantized_jax(
            name, folder=folder, bits=wanted, dtype=dtype, device=device, parts=parts
        )
        packing = Choice(f"int{wanted} {kernels.value}", kernels.reason)
        return Session(checkpoint, runner=runner, packing=packing, device=place, dtype=reason, studies=studies)
    if bits == 16 and asked == "auto" and (kernels := jax_kernels(device)).kernels is not None:
        # What is read is bfloat16 as a whole, before the tower becomes float32.
        plan_weights(name, itemsize=2).require(available_memory())
        checkpoint, runner = dense_jax(name, kernels=kernels.kernels, device=device, parts=parts)
        packing = Choice(f"bfloat16 {kernels.name}", kernels.reason)
        return Session(checkpoint, runner=runner, packing=packing, device=place, dtype=reason, studies=studies)
    plan_weights(name, itemsize=getattr(torch, dtype).itemsize).require(available_memory())
    checkpoint, runner = to_jax(keep_parts(load_checkpoint(name, dtype=dtype), parts), device=device)
    return Session(checkpoint, runner=runner, device=place, dtype=reason, studies=studies)


def _dtype_of(bits: int | None, *, dtype: str) -> str:
    if bits != 32:
        return dtype
    if dtype not in ("auto", "float32"):
        raise RequestError(f"32 bits and the precision {dtype!r} contradict each other.", allowed="float32.")
    return "float32"


def _check_bits(bits: int | None) -> None:
    if bits is not None and bits not in _BITS:
        raise RequestError(
            f"Weights of {bits!r} bits do not exist here.", allowed=f"Bits: {', '.join(map(str, _BITS))}."
        )
