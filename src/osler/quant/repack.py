"""GGUF blocks as packed weights, without a detour through floating point.

The codes stay what they are; only their order changes:

=======  ===================  ==========================================================
Q8_0     ``int8-g32``         equal to the bit
Q5_0     ``int8-g32``         equal to the bit, in 8.5 bits a weight instead of 5.5
Q4_0     ``int4-g32``         equal to the bit
Q4_1     ``int4-g32-asym``    equal to the bit
Q4_K     ``int4-g32-asym``    scales and minima, products of 17 bits, rounded to binary16
=======  ===================  ==========================================================

The others (Q6_K, Q5_K, F16 ...) are quantized from their float values, a few
rows at a time. Block layouts: `osler.weights.gguf_blocks`.

R rows, N blocks, B bytes of a block, G groups, K columns.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from osler.quant.formats import LANES, parse_format
from osler.quant.packed import PackedWeight, empty_weight, from_codes
from osler.weights.gguf_blocks import as_tensor, half, k_scales, nibbles, q5_0_codes
from osler.weights.gguf_file import GgufFile

_CHUNK_WEIGHTS = 1 << 21
_TARGETS = {
    "Q8_0": "int8-g32",
    "Q5_0": "int8-g32",
    "Q4_0": "int4-g32",
    "Q4_1": "int4-g32-asym",
    "Q4_K": "int4-g32-asym",
}

Split = tuple[Tensor, Tensor, Tensor | None]
"""Codes (N, W), scales (N, G) and offsets (N, G) or ``None``."""


def repacked_format(format_name: str, *, bits: int) -> str | None:
    """Returns the packed format that holds blocks of a GGUF format as they are.

    Args:
        format_name: Of the GGUF tensor.
        bits: The most that a weight may take; ``None`` is returned where the codes need more.
    """
    target = _TARGETS.get(format_name)
    return target if target is not None and parse_format(target).bits <= bits else None


def repack(file: GgufFile, name: str) -> PackedWeight:
    """Repacks a tensor for whose format `repacked_format` has an answer."""
    tensor = file.tensor(name)
    rows, columns = tensor.shape
    target = parse_format(str(repacked_format(tensor.format.name, bits=8)))
    packed = empty_weight(target, rows=rows, columns=columns)
    stored_RB = as_tensor(file.raw(name)).view(rows, -1)
    step = max(1, _CHUNK_WEIGHTS // (LANES * columns)) * LANES
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        codes, scale, offset = _SPLIT[tensor.format.name](stored_RB[start:stop].reshape(-1, tensor.format.bytes))
        part = from_codes(
            codes.reshape(stop - start, columns),
            scale_NG=scale.reshape(stop - start, -1),
            offset_NG=None if offset is None else offset.reshape(stop - start, -1),
            form=target,
        )
        blocks = slice(start // LANES, -(-stop // LANES))
        packed.codes[blocks], packed.scale[blocks] = part.codes, part.scale
        if packed.offset is not None and part.offset is not None:
            packed.offset[blocks] = part.offset
    return packed


def _q8_0(x_NB: Tensor) -> Split:
    # Two's complement plus 128, modulo 256, is a flip of the highest bit.
    return x_NB[:, 2:] ^ 128, half(x_NB[:, :2]), None


def _q5_0(x_NB: Tensor) -> Split:
    return q5_0_codes(x_NB) + (128 - 16), half(x_NB[:, :2]), None


def _q4_0(x_NB: Tensor) -> Split:
    return torch.cat(nibbles(x_NB[:, 2:]), dim=1), half(x_NB[:, :2]), None


def _q4_1(x_NB: Tensor) -> Split:
    return torch.cat(nibbles(x_NB[:, 4:]), dim=1), half(x_NB[:, :2]), half(x_NB[:, 2:4])


def _q4_k(x_NB: Tensor) -> Split:
    scale_N81, least_N81 = k_scales(x_NB)
    low, high = nibbles(x_NB[:, 16:].reshape(-1, 4, 1, 32))
    return torch.cat([low, high], dim=2).flatten(1), scale_N81.flatten(1), -least_N81.flatten(1)


_SPLIT: dict[str, Callable[[Tensor], Split]] = {
    "Q8_0": _q8_0,
    "Q5_0": _q5_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q4_K": _q4_k,
}
