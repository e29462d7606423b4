"""From weights to codes: the range of each group of inputs, searched, and rounding to the nearest.

Dimensions: R rows, K inputs, G groups of inputs, W inputs of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from osler.quant.formats import WeightFormat

# Shrunken ranges that are tried for each group: a clipped extreme can cost less than coarser steps for all. Symmetric
# codes of 4 bits end at -8 and 7: where both extremes are alike, the range that covers the one at 7 costs less.
_SHRINK = {
    (4, "symmetric"): (1.0, 8 / 7, 0.95, 0.9, 0.84),
    (4, "asymmetric"): (1.0, 0.95, 0.9, 0.84),
    (8, "symmetric"): (1.0,),
    (8, "asymmetric"): (1.0,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """How the codes of each group are read: ``scale * code + offset``, all (R, G, 1), binary16.

    Args:
        offset: Follows from the scale where the format is symmetric.
    """

    scale: Tensor
    offset: Tensor

    def codes(self, x_RGW: Tensor, *, form: WeightFormat) -> Tensor:
        """Rounds weights to codes, float32."""
        scale = self.scale.float()
        inverse = torch.where(scale == 0, 0.0, 1.0 / scale)
        return ((x_RGW - self.offset.float()) * inverse).round_().clamp_(0, (1 << form.bits) - 1)

    def values(self, codes_RGW: Tensor) -> Tensor:
        """Turns codes back into weights, float32."""
        return codes_RGW * self.scale.float() + self.offset.float()


class Rounding(Protocol):
    """Chooses codes for rows of a matrix."""

    @property
    def most_weights(self) -> int:
        """Weights that are rounded at once, at most: what bounds the memory."""
        ...

    def __call__(self, x_RK: Tensor, *, form: WeightFormat) -> tuple[Tensor, Ranges]:
        """Returns codes, uint8 (R, K), and ranges (R, G, 1); may overwrite the weights, float32."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """Rounds each weight to the nearest code.

    Args:
        counted_K: What an error at each input counts in the search of ranges; all alike if not given.
        most_weights: See `Rounding`.
    """

    counted_K: Tensor | None = None
    most_weights: int = 1 << 21

    def __call__(self, x_RK: Tensor, *, form: WeightFormat) -> tuple[Tensor, Ranges]:
        """See `Rounding`."""
        group = form.group or x_RK.shape[1]
        x_RGW = x_RK.view(len(x_RK), -1, group)
        counted = None if self.counted_K is None else self.counted_K.view(-1, group)
        ranges = search_ranges(x_RGW, form=form, counted_GW=counted)
        return ranges.codes(x_RGW, form=form).flatten(1).to(torch.uint8), ranges


def search_ranges(x_RGW: Tensor, *, form: WeightFormat, counted_GW: Tensor | None = None) -> Ranges:
    """Finds the ranges with the least squared error of rounding.

    Args:
        x_RGW: Weights, float32.
        form: Of the codes.
        counted_GW: What an error at each input counts; all alike if not given.
    """
    shrinks = _SHRINK[form.bits, form.zero]
    if len(shrinks) == 1:
        return cover(x_RGW, form=form, shrink=shrinks[0])
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for shrink in shrinks:
        tried = cover(x_RGW, form=form, shrink=shrink)
        # Codes are chosen for the scales as they are stored, not as they were computed.
        errors = (tried.values(tried.codes(x_RGW, form=form)) - x_RGW).square_()
        error = (errors if counted_GW is None else errors * counted_GW).sum(-1, keepdim=True)
        if best is None:
            best = error, tried.scale, tried.offset
        else:
            pairs = zip((error, tried.scale, tried.offset), best, strict=True)
            better = error < best[0]
            first, scale, offset = (torch.where(better, new, old) for new, old in pairs)
            best = first, scale, offset
    assert best is not None
    return Ranges(scale=best[1], offset=best[2])


def cover(x_RGW: Tensor, *, form: WeightFormat, shrink: float) -> Ranges:
    """Returns ranges that cover each group, shrunken."""
    levels = 1 << form.bits
    low, high = x_RGW.aminmax(dim=-1, keepdim=True)
    if form.zero == "asymmetric":
        low, high = low.clamp(max=0) * shrink, high.clamp(min=0) * shrink
        return Ranges(scale=((high - low) / (levels - 1)).half(), offset=low.half())
    if form.bits == 8:
        scale = torch.maximum(-low, high) * (shrink / (levels // 2 - 1))
    else:
        # The extreme of a group gets the code that has no opposite, whatever its sign: 16 levels are used, not 15.
        scale = torch.where(-low > high, low, high) * (-shrink / (levels // 2))
    return symmetric(scale.half(), form=form)


def symmetric(scale: Tensor, *, form: WeightFormat) -> Ranges:
    """Returns the ranges of a symmetric format with these scales, binary16."""
    # Not rounded to binary16: the kernels subtract the code of zero and need no offset.
    return Ranges(scale=scale, offset=scale.float() * -form.zero_code)
