"""Turns GGUF blocks into floating-point tensors.

Every format's arithmetic is that of the reference (`gguf.quants`, float32, in
the same order), so float32 results are equal to the bit. Blocks are taken in
chunks that stay in the processor's cache: only the result has full size.

N blocks; the weights of a block run along the contiguous axis of the tensor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod

import numpy as np
import torch

from osler.weights.gguf_file import BLOCK_FORMATS

# The most that torch computes without waking its thread pool: waking it thousands of times costs
# seconds when the cores are busy, and a chunk that stays in the cache needs no second core.
_CHUNK_WEIGHTS = 1 << 15
_FORMATS = {block.name: block for block in BLOCK_FORMATS.values()}
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def dequantize(raw: np.ndarray, *, format_name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Returns the values of stored blocks.

    Args:
        raw: The stored bytes, one axis, uint8.
        format_name: A name in `BLOCK_FORMATS`.
        shape: Of the result.
        dtype: Of the result; rounding is to nearest even.
    """
    out = torch.empty(prod(shape), dtype=dtype)
    block = _FORMATS[format_name]
    stored_NB = as_tensor(raw).view(-1, block.bytes)
    if format_name in _PLAIN:
        # Views of another type need aligned storage; a mapped file gives no such promise.
        out.copy_(stored_NB.clone().view(_PLAIN[format_name]).flatten())
        return out.view(shape)
    decode = _DECODERS[format_name]
    out_NW = out.view(-1, block.weights)
    step = max(1, _CHUNK_WEIGHTS // block.weights)
    for start in range(0, len(stored_NB), step):
        out_NW[start : start + step] = decode(stored_NB[start : start + step]).view(-1, block.weights)
    return out.view(shape)


def as_tensor(raw: np.ndarray) -> torch.Tensor:
    """Returns the stored bytes as a tensor, not copied."""
    with warnings.catch_warnings():
        # The map is read-only and is only ever read here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(raw)


def half(bytes_N2: torch.Tensor) -> torch.Tensor:
    """Reads numbers in binary16 from their two bytes, (N, 1)."""
    return bytes_N2.contiguous().view(torch.float16).float()


def nibbles(bytes_NB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the low and the high halves of bytes."""
    return bytes_NB & 0x0F, bytes_NB >> 4


def _q4_0(x: torch.Tensor) -> torch.Tensor:
    low, high = nibbles(x[:, 2:])
    q_NW = torch.cat([low, high], dim=1).to(torch.int8) - 8
    return q_NW * half(x[:, :2])


def _q4_1(x: torch.Tensor) -> torch.Tensor:
    low, high = nibbles(x[:, 4:])
    return torch.cat([low, high], dim=1) * half(x[:, :2]) + half(x[:, 2:4])


def q5_0_codes(x: torch.Tensor) -> torch.Tensor:
    """Returns the codes of Q5_0 blocks, 0 to 31, (N, 32)."""
    low, high = nibbles(x[:, 6:])
    return torch.cat([low, high], dim=1) | (_bits(x[:, 2:6]) << 4)


def _q5_0(x: torch.Tensor) -> torch.Tensor:
    return (q5_0_codes(x).to(torch.int8) - 16) * half(x[:, :2])


def _q8_0(x: torch.Tensor) -> torch.Tensor:
    return x[:, 2:].view(torch.int8) * half(x[:, :2])


def _q4_k(x: torch.Tensor) -> torch.Tensor:
    scale_N81, least_N81 = k_scales(x)
    low, high = nibbles(x[:, 16:].reshape(-1, 4, 1, 32))
    q_N8W = torch.cat([low, high], dim=2).view(-1, 8, 32)
    return scale_N81 * q_N8W - least_N81


def _q5_k(x: torch.Tensor) -> torch.Tensor:
    scale_N81, least_N81 = k_scales(x)
    low, high = nibbles(x[:, 48:].reshape(-1, 4, 1, 32))
    shifts = torch.arange(8, dtype=torch.uint8).view(1, 8, 1)
    fifth_N8W = (x[:, 16:48].unsqueeze(1) >> shifts) & 1
    q_N8W = torch.cat([low, high], dim=2).view(-1, 8, 32) | (fifth_N8W << 4)
    return scale_N81 * q_N8W - least_N81


def _q6_k(x: torch.Tensor) -> torch.Tensor:
    low_N22W = torch.stack(nibbles(x[:, :128].reshape(-1, 2, 64)), dim=2).view(-1, 2, 4, 32)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(1, 1, 4, 1)
    high_N24W = (x[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3
    q_NGW = ((low_N22W | (high_N24W << 4)).to(torch.int8) - 32).view(-1, 16, 16)
    scale_NG1 = (half(x[:, 208:210]) * x[:, 192:208].view(torch.int8)).unsqueeze(2)
    return scale_NG1 * q_NGW


def _bits(bytes_NB: torch.Tensor) -> torch.Tensor:
    """The bits of each row, lowest first."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return ((bytes_NB.unsqueeze(2) >> shifts) & 1).flatten(1)


def k_scales(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns scales and minima, (N, 8, 1), of the groups of K blocks, packed in six bits each."""
    packed_N3x4 = x[:, 4:16].reshape(-1, 3, 4)
    a_N4, b_N4, c_N4 = packed_N3x4.unbind(1)
    scales_N8 = torch.cat([a_N4 & 63, (c_N4 & 0x0F) | ((a_N4 >> 2) & 0x30)], dim=1)
    minima_N8 = torch.cat([b_N4 & 63, (c_N4 >> 4) | ((b_N4 >> 2) & 0x30)], dim=1)
    return (half(x[:, :2]) * scales_N8).unsqueeze(2), (half(x[:, 2:4]) * minima_N8).unsqueeze(2)


_DECODERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
