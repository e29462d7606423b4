"""Packed weights as GGUF blocks: the codes and scales stay what they are, only their order changes.

=================  ======  =====================================
packed format      blocks  in 32 weights
=================  ======  =====================================
``int8-*``         Q8_0    a scale and 32 signed bytes
``int4-*``         Q4_0    a scale and 16 bytes
``int4-*-asym``    Q4_1    a scale, an offset and 16 bytes
=================  ======  =====================================

The low halves of the 16 bytes hold the first 16 weights. A scale that more
than 32 inputs share is written for each 32. The layouts:
https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h

Dimensions: R rows, K inputs, W 32 inputs of a block, N blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from osler.errors import RequestError
from osler.quant.formats import LANES, WeightFormat
from osler.quant.packed import PackedWeight, unpack_codes

BLOCK = 32


def block_format(form: WeightFormat, *, columns: int, name: str) -> str:
    """Returns the GGUF format that holds a packed weight as it is.

    Args:
        columns: Inputs of the weight. name: Of the weight, for the message.

    Raises:
        RequestError: If there is none.
    """
    if columns % BLOCK:
        raise RequestError(
            f"GGUF blocks of {BLOCK} do not divide the {columns} inputs of {name!r}.",
            next_step="Write a folder instead: --out FOLDER.",
        )
    if form.bits == 8 and form.zero == "asymmetric":
        raise RequestError(
            f"GGUF has no blocks of 8 bits with an offset, as the format {form.name!r} of {name!r} needs.",
            allowed="8 bits without '-asym'; 4 bits with or without it.",
            next_step="Choose another format, or write a folder: --out FOLDER.",
        )
    if form.bits == 8:
        return "Q8_0"
    return "Q4_1" if form.zero == "asymmetric" else "Q4_0"


def to_blocks(weight: PackedWeight, *, start: int = 0, stop: int | None = None) -> Tensor:
    """Returns rows of a packed weight as blocks, uint8 (R, bytes of a row).

    Args:
        start: First row. stop: Past the last row; ``None`` for all.
    """
    stop = weight.rows if stop is None else stop
    first, last = start // LANES, -(-stop // LANES)
    inside = slice(start - first * LANES, stop - first * LANES)
    codes_RK = unpack_codes(weight.codes[first:last], bits=weight.format.bits)[inside, : weight.columns]
    codes_NW = codes_RK.reshape(-1, BLOCK)
    scale_N2 = _bytes(weight.scale[first:last], inside=inside, weight=weight)
    if weight.format.bits == 8:
        # Two's complement plus 128, modulo 256, is a flip of the highest bit.
        blocks_NB = torch.cat([scale_N2, codes_NW ^ 128], dim=1)
    else:
        offset = [] if weight.offset is None else [_bytes(weight.offset[first:last], inside=inside, weight=weight)]
        halves_NB = codes_NW[:, : BLOCK // 2] | (codes_NW[:, BLOCK // 2 :] << 4)
        blocks_NB = torch.cat([scale_N2, *offset, halves_NB], dim=1)
    return blocks_NB.reshape(stop - start, -1)


def _bytes(scale_BGL: Tensor, *, inside: slice, weight: PackedWeight) -> Tensor:
    """Scales or offsets of every block of some rows, (N, 2)."""
    scale_RG = scale_BGL.transpose(1, 2).flatten(0, 1)[inside]
    blocks = weight.columns // BLOCK
    return scale_RG.repeat_interleave(blocks // scale_RG.shape[1], dim=1).reshape(-1, 1).view(torch.uint8)
