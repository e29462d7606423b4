"""Factors that make room for the inputs that matter (AWQ, Lin et al. 2023, https://arxiv.org/abs/2306.00978).

The columns of a weight whose inputs are large are multiplied by a factor before
rounding, and what produces the inputs is divided by it, so that the product
stays what it is. The factor is a power of the inputs' root mean square; the
power with the least ``tr(E H E^T)`` wins, with E the error that rounding then
makes and ``H = X^T X``. Power 0 is among those tried: no factor at all.

Dimensions: N outputs, K inputs, C channels that share a factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from osler.quant.formats import WeightFormat
from osler.quant.gptq import counted, output_error
from osler.quant.packed import dequantize, quantize
from osler.quant.rounding import Nearest

_POWERS = tuple(step / 20 for step in range(21))
_MOST_ROWS = 4096


def search_factors(
    weight_NK: Tensor,
    *,
    moment_KK: Tensor,
    form: WeightFormat,
    heads: tuple[int, int] = (1, 1),
    powers: Sequence[float] = _POWERS,
) -> Tensor:
    """Finds the factors of the inputs of a weight.

    Args:
        weight_NK: float32.
        moment_KK: Sum or mean of ``x x^T`` over the inputs.
        form: In which the weight will be stored.
        heads: Value heads, and query heads of each. Query heads of one value head have its factors: what
            produces the inputs is the value.
        powers: To try, the first one wins a tie.

    Returns:
        (K,), around 1.
    """
    # Some outputs stand for all where there are many.
    step = -(-len(weight_NK) // _MOST_ROWS)
    sample_NK = weight_NK[::step]
    values, queries = heads
    size_C = counted(moment_KK.diagonal().view(values, queries, -1).mean(1).flatten()).sqrt()
    best, least = torch.ones_like(moment_KK.diagonal()), float("inf")
    for power in powers:
        factor_C = size_C**power
        factor_C = factor_C / (factor_C.amax() * factor_C.amin()).sqrt()
        factor_K = factor_C.view(values, 1, -1).expand(-1, queries, -1).flatten()
        error = output_error(
            _rounded(sample_NK * factor_K, moment_KK=moment_KK, factor_K=factor_K, form=form) / factor_K - sample_NK,
            moment_KK=moment_KK,
        )
        if error < least:
            best, least = factor_K, error
    return best


def _rounded(scaled_NK: Tensor, *, moment_KK: Tensor, factor_K: Tensor, form: WeightFormat) -> Tensor:
    """The weight as it would be stored, in floating point."""
    rounding = Nearest(counted_K=counted(moment_KK.diagonal() / factor_K.square()))
    return dequantize(quantize(scaled_NK, form=form, rounding=rounding))
