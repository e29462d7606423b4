"""Packed weights: quantizing, the packed layout, and back to floating point.

The layout is the one that the kernels read, so a stored weight is used as it
lies in the file. Outputs stand in blocks of 16; four inputs of the 16 outputs
are 64 bytes, one vector register:

======  ========================  =====================================================
codes   int8: (B, K/4, 16, 4)     four inputs of an output are neighbors
codes   int4: (B, K/8, 16, 4)     inputs 8j to 8j+3 in the low half of a byte, 8j+4 to
                                  8j+7 in the high half
scale   (B, G, 16), binary16      offset alike, where the format is asymmetric
======  ========================  =====================================================

Everything works on a few blocks at a time: no floating copy of a whole weight
is ever made.

Dimensions: N outputs, K inputs (filled up to a multiple of 32), B blocks of 16
outputs, G groups of inputs, W inputs of a group, R rows, M rows of activations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from osler.errors import CheckpointError
from osler.quant.formats import LANES, UNIT, PackedLayout, WeightFormat
from osler.quant.rounding import Nearest, Ranges, Rounding

FEW_ROWS = 16
"""Rows up to which the product of a row does not depend on the others, by the kernels and by `matmul`."""
_CHUNK_WEIGHTS = {"cpu": 1 << 21}
_CHUNK_ELSEWHERE = 1 << 26
"""Weights that are numbers at a time: few stay in a processor's cache, many keep a GPU busy."""

_NEAREST = Nearest()

ReadRows = Callable[[int, int], Tensor]
"""Returns rows ``start`` to ``stop`` of a matrix, (R, K), in any floating type."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedWeight(PackedLayout):
    """A quantized matrix.

    Args:
        format: How it is stored.
        rows: Outputs N. columns: Inputs K, not filled up.
        codes: uint8, see the module. scale: float16 (B, G, 16). offset: Alike, or ``None``.
    """

    format: WeightFormat
    rows: int
    columns: int
    codes: Tensor
    scale: Tensor
    offset: Tensor | None = None

    def to(self, device: torch.device | str) -> PackedWeight:
        """Returns the weight on a device."""
        offset = None if self.offset is None else self.offset.to(device)
        return replace(self, codes=self.codes.to(device), scale=self.scale.to(device), offset=offset)

    def check(self, name: str) -> PackedWeight:
        """Refuses tensors of the wrong type or shape, which a kernel would read past the end of.

        Raises:
            CheckpointError: Naming what is wrong.
        """
        codes, scale = layout_shapes(self.format, rows=self.rows, columns=self.columns)
        wanted = {"codes": (torch.uint8, codes), "scale": (torch.float16, scale)}
        found = {"codes": self.codes, "scale": self.scale}
        if self.format.zero == "asymmetric":
            wanted["offset"] = (torch.float16, scale)
        if self.offset is not None:
            found["offset"] = self.offset
        for part in sorted(wanted.keys() | found.keys()):
            tensor = found.get(part)
            has = None if tensor is None else (tensor.dtype, tuple(tensor.shape))
            if has != wanted.get(part):
                raise CheckpointError(
                    f"The quantized weight {name!r} has {part} {_shown(has)}.",
                    allowed=f"Its format {self.format.name} needs {_shown(wanted.get(part))}.",
                    next_step="Quantize the model again; this folder is damaged or was changed.",
                )
            if tensor is not None and not tensor.is_contiguous():
                raise CheckpointError(f"The {part} of {name!r} are not contiguous.")
        return self


def layout_shapes(form: WeightFormat, *, rows: int, columns: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the shapes of the codes and of the scales of a weight (N, K)."""
    blocks, padded = -(-rows // LANES), -(-columns // UNIT) * UNIT
    groups = 1 if form.group is None else columns // form.group
    quads = padded // 4 if form.bits == 8 else padded // 8
    return (blocks, quads, LANES, 4), (blocks, groups, LANES)


def quantize(
    weight: Tensor, *, form: WeightFormat, rounding: Rounding = _NEAREST, name: str = "weight"
) -> PackedWeight:
    """Quantizes a matrix (N, K), see `quantize_rows`."""
    rows, columns = weight.shape
    return quantize_rows(
        lambda start, stop: weight[start:stop], rows=rows, columns=columns, form=form, rounding=rounding, name=name
    )


def quantize_rows(
    read: ReadRows,
    *,
    rows: int,
    columns: int,
    form: WeightFormat,
    rounding: Rounding = _NEAREST,
    name: str = "weight",
) -> PackedWeight:
    """Quantizes a matrix that is read a few rows at a time.

    Args:
        read: Returns rows. rows: N. columns: K.
        form: How to store it. rounding: How codes are chosen.
        name: For messages.

    Raises:
        RequestError: If the group does not divide the inputs.
        CheckpointError: If a value is not finite or too large for a binary16 scale.
    """
    form.require_fit(columns, name=name)
    packed = empty_weight(form, rows=rows, columns=columns)
    step = max(1, rounding.most_weights // (LANES * packed.padded)) * LANES
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        # A copy, which the rounding may work on.
        x_RK = read(start, stop).to(torch.float32, copy=True)
        # What is not finite stays so in the extremes.
        most = max(abs(float(extreme)) for extreme in x_RK.aminmax()) if x_RK.numel() else 0.0
        if not math.isfinite(most):
            raise CheckpointError(
                f"The weight {name!r} holds values that are not finite.", next_step="Copy the weights again."
            )
        codes_RK, ranges = rounding(x_RK, form=form)
        _require_storable(ranges, most=most, name=name)
        blocks = slice(start // LANES, -(-stop // LANES))
        codes_RK = F.pad(codes_RK, (0, packed.padded - columns), value=form.zero_code)
        packed.codes[blocks] = pack_codes(_whole_blocks(codes_RK), bits=form.bits)
        packed.scale[blocks] = _lanes(_whole_blocks(ranges.scale[..., 0]))
        if packed.offset is not None:
            packed.offset[blocks] = _lanes(_whole_blocks(ranges.offset[..., 0]))
    return packed


def empty_weight(form: WeightFormat, *, rows: int, columns: int, device: str = "cpu") -> PackedWeight:
    """Returns a weight whose tensors have shapes and no contents yet."""
    codes, scale = layout_shapes(form, rows=rows, columns=columns)
    return PackedWeight(
        format=form,
        rows=rows,
        columns=columns,
        codes=torch.empty(codes, dtype=torch.uint8, device=device),
        scale=torch.empty(scale, dtype=torch.float16, device=device),
        offset=torch.empty(scale, dtype=torch.float16, device=device) if form.zero == "asymmetric" else None,
    )


def from_codes(codes_NK: Tensor, *, scale_NG: Tensor, offset_NG: Tensor | None, form: WeightFormat) -> PackedWeight:
    """Packs codes that are there already, such as those of a GGUF file.

    Args:
        codes_NK: Unsigned, uint8; K a multiple of 32.
        scale_NG: Any floating type, rounded to binary16. offset_NG: Alike, or ``None``.
        form: Of the codes.
    """
    rows, columns = codes_NK.shape
    return PackedWeight(
        format=form,
        rows=rows,
        columns=columns,
        codes=pack_codes(_whole_blocks(codes_NK), bits=form.bits).contiguous(),
        scale=_lanes(_whole_blocks(scale_NG.to(torch.float16))).contiguous(),
        offset=None if offset_NG is None else _lanes(_whole_blocks(offset_NG.to(torch.float16))).contiguous(),
    )


def dequantize(weight: PackedWeight, *, start: int = 0, stop: int | None = None) -> Tensor:
    """Returns rows of a packed weight in float32, (R, K).

    Args:
        start: First row, a multiple of 16. stop: Past the last row; ``None`` for all.
    """
    stop = weight.rows if stop is None else min(stop, weight.rows)
    blocks = slice(start // LANES, -(-stop // LANES))
    offset = None if weight.offset is None else weight.offset[blocks]
    x_RK = _values(unpack_codes(weight.codes[blocks], bits=weight.format.bits), weight.scale[blocks], offset, weight)
    return x_RK[: stop - start, : weight.columns]


def take_rows(weight: PackedWeight, ids: Tensor) -> Tensor:
    """Returns single rows in float32, (R, K).

    Raises:
        IndexError: If an id is no row.
    """
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < weight.rows:
        raise IndexError(f"ids run from {int(ids.min())} to {int(ids.max())}, and there are {weight.rows}")
    block, lane = ids // LANES, ids % LANES
    codes_RQ4 = weight.codes[block, :, lane]
    plain_RK = torch.stack((codes_RQ4 & 15, codes_RQ4 >> 4), dim=2) if weight.format.bits == 4 else codes_RQ4
    offset = None if weight.offset is None else weight.offset[block, :, lane]
    x_RGW = plain_RK.reshape(len(ids), -1, weight.group).float()
    return _scaled(x_RGW, weight.scale[block, :, lane], offset, weight).flatten(1)[:, : weight.columns]


def matmul(x_MK: Tensor, weight: PackedWeight) -> Tensor:
    """Multiplies by a packed weight in float32, a few blocks of outputs at a time: the reference of the kernels.

    A few rows are multiplied one by one, so that none depends on the others: the weights' way from codes to numbers,
    which takes the time, is gone once for all of them.

    Args:
        x_MK: Activations, any floating type; the result has the same.

    Returns:
        (M, N).
    """
    out_MN = x_MK.new_empty(x_MK.shape[0], weight.rows)
    x_wide = x_MK.float()
    at_once = _CHUNK_WEIGHTS.get(x_MK.device.type, _CHUNK_ELSEWHERE)
    step = max(1, at_once // (LANES * weight.padded)) * LANES
    for start in range(0, weight.rows, step):
        stop = min(weight.rows, start + step)
        part_NK = dequantize(weight, start=start, stop=stop)
        if len(x_wide) > FEW_ROWS:
            out_MN[:, start:stop] = F.linear(x_wide, part_NK)
            continue
        for row, x_K in enumerate(x_wide):
            out_MN[row, start:stop] = F.linear(x_K[None], part_NK)[0]
    return out_MN


def pack_codes(codes_NK: Tensor, *, bits: int) -> Tensor:
    """Lays codes out in blocks; N and K are whole blocks and units already."""
    N, K = codes_NK.shape
    codes_BQL4 = codes_NK.view(N // LANES, LANES, K // 4, 4).transpose(1, 2)
    if bits == 8:
        return codes_BQL4
    pairs = codes_BQL4.reshape(N // LANES, K // 8, 2, LANES, 4)
    return pairs[:, :, 0] | (pairs[:, :, 1] << 4)


def unpack_codes(codes: Tensor, *, bits: int) -> Tensor:
    """Undoes `pack_codes`, (N, K)."""
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), dim=2).flatten(1, 2)
    return codes.transpose(1, 2).reshape(codes.shape[0] * LANES, -1)


def _require_storable(ranges: Ranges, *, most: float, name: str) -> None:
    """Refuses scales that binary16 cannot hold."""
    if not bool(ranges.scale.isfinite().all() & ranges.offset.isfinite().all()):
        raise CheckpointError(
            f"The weight {name!r} holds values up to {most:.3g}, too large for its scales.",
            next_step="Check that these are the weights of a trained network.",
        )


def _values(codes_NK: Tensor, scale_BGL: Tensor, offset_BGL: Tensor | None, weight: PackedWeight) -> Tensor:
    x_NGW = codes_NK.view(codes_NK.shape[0], -1, weight.group).float()
    scale_NG = scale_BGL.transpose(1, 2).flatten(0, 1)
    offset_NG = None if offset_BGL is None else offset_BGL.transpose(1, 2).flatten(0, 1)
    return _scaled(x_NGW, scale_NG, offset_NG, weight).flatten(1)


def _scaled(codes_RGW: Tensor, scale_RG: Tensor, offset_RG: Tensor | None, weight: PackedWeight) -> Tensor:
    scale = scale_RG.float()[..., None]
    if offset_RG is None:
        return codes_RGW.sub_(weight.format.zero_code).mul_(scale)
    return codes_RGW.mul_(scale).add_(offset_RG.float()[..., None])


def _whole_blocks(x_RC: Tensor) -> Tensor:
    """Fills the rows up to whole blocks with zeros."""
    return F.pad(x_RC, (0, 0, 0, -len(x_RC) % LANES))


def _lanes(x_NG: Tensor) -> Tensor:
    return x_NG.view(-1, LANES, x_NG.shape[1]).transpose(1, 2)


def _shown(part: tuple[torch.dtype, tuple[int, ...]] | None) -> str:
    return "absent" if part is None else f"{str(part[0]).removeprefix('torch.')} {part[1]}"
