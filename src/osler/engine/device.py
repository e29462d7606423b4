"""Choices of device, precision and threads, each with its reason.

float16 is never chosen: activations of Gemma 3 reach 1e5, past its largest
value of 65504, and turn into infinities.
"""

from __future__ import annotations

import platform
from typing import Generic, Literal, NamedTuple, TypeVar

import torch

from osler.errors import RequestError, absent_device, unknown_name

DeviceName = Literal["auto", "cpu", "cuda"]
DtypeName = Literal["auto", "bfloat16", "float32"]

T = TypeVar("T")

_DEVICES = ("auto", "cpu", "cuda")
_DTYPES = ("auto", "bfloat16", "float32")


class Choice(NamedTuple, Generic[T]):
    """A value and why it was taken."""

    value: T
    reason: str


def choose_device(name: str = "auto") -> Choice[torch.device]:
    """Chooses where the network runs.

    Raises:
        RequestError: If the name is unknown or the device is not in this machine.
    """
    if name not in _DEVICES:
        raise unknown_name("device", name=name, known=_DEVICES)
    if name == "cpu":
        return Choice(torch.device("cpu"), "asked for")
    if torch.cuda.is_available():
        return Choice(torch.device("cuda"), "asked for" if name == "cuda" else f"found {torch.cuda.get_device_name()}")
    if name == "cuda":
        raise absent_device(
            name,
            library="PyTorch",
            here=("cpu",),
            next_step="Use --device cpu, or install a CUDA build of PyTorch.",
        )
    return Choice(torch.device("cpu"), "no GPU was found")


def choose_dtype(name: str = "auto", *, device: torch.device) -> Choice[torch.dtype]:
    """Chooses the precision of weights and activations.

    Raises:
        RequestError: If the name is unknown, or is float16.
    """
    if name in ("float16", "fp16", "half"):
        raise RequestError(
            f"The precision {name!r} overflows in this network.",
            allowed=f"Allowed: {', '.join(_DTYPES)}.",
            next_step="Use bfloat16 for the same size.",
        )
    if name not in _DTYPES:
        raise unknown_name("precision", name=name, known=_DTYPES)
    if name != "auto":
        return Choice(getattr(torch, name), "asked for")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice(torch.bfloat16, "the GPU has bfloat16 arithmetic")
        return Choice(torch.float32, "the GPU has no bfloat16 arithmetic")
    if has_fast_bfloat16():
        return Choice(torch.bfloat16, "the CPU has bfloat16 instructions")
    return Choice(torch.float32, "the CPU has no bfloat16 instructions")


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 by instructions of its own (AVX-512 BF16, AMX, Arm BF16).

    oneDNN says yes to any AVX-512, but without these instructions it computes
    by way of float32, more slowly than in float32 itself.
    """
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
