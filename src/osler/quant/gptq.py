"""Rounding that knows the inputs: each error is made up for by the weights that are not rounded yet.

GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323): the weights of an
output are rounded input by input, and after each the ones that follow move by
what lets ``tr(E H E^T)`` grow least, where E is the error of the weights and
``H = X^T X`` the second moment of the inputs. With U the upper Cholesky factor
of H's inverse, the move is ``error / U[i, i] * U[i, i:]``. The inputs with the
most energy come first, while the most weights are left to make up for them;
their groups, and with them scales and offsets, are those of the stored order,
found beforehand with errors weighted by the diagonal of H.

Dimensions: N outputs, K inputs, G groups, W inputs of a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from osler.errors import CheckpointError
from osler.quant.formats import WeightFormat
from osler.quant.rounding import Ranges, search_ranges

_BLOCK = 128
_DAMPING = 0.01
_MOST_DAMPING = 10.0


class Gptq:
    """Rounds weights for the inputs that they will see; a `Rounding`.

    Args:
        moment_KK: Sum or mean of ``x x^T`` over the inputs, float32.
        damping: Added to the diagonal, a share of its mean; grows where the moment is close to singular.
        block: Inputs after which the weights that follow are moved, which changes the speed only.
        name: Of the weight, for messages.

    Raises:
        CheckpointError: If a moment is not finite.
    """

    most_weights = 1 << 25

    def __init__(
        self, moment_KK: Tensor, *, damping: float = _DAMPING, block: int = _BLOCK, name: str = "weight"
    ) -> None:
        if not bool(moment_KK.isfinite().all()):
            raise CheckpointError(
                f"The inputs of {name!r} are not finite.", next_step="Check that the model answers as it should."
            )
        energy_K = moment_KK.diagonal()
        self._counted_K = counted(energy_K)
        self._order_K = energy_K.argsort(descending=True, stable=True)
        self._factor_KK = _inverse_factor(moment_KK, order_K=self._order_K, damping=damping)
        self._block = block

    def __call__(self, x_RK: Tensor, *, form: WeightFormat) -> tuple[Tensor, Ranges]:
        """See `Rounding`."""
        rows, columns = x_RK.shape
        group = form.group or columns
        ranges = search_ranges(x_RK.view(rows, -1, group), form=form, counted_GW=self._counted_K.view(-1, group))
        codes_KN = _round_in_turn(
            # Inputs first, so that a step works on neighbors in memory.
            x_RK.T[self._order_K].contiguous(),
            factor_KK=self._factor_KK,
            ranges_GN=(ranges.scale[..., 0].T.float().contiguous(), ranges.offset[..., 0].T.float().contiguous()),
            groups=(self._order_K // group).tolist(),
            most=(1 << form.bits) - 1,
            block=self._block,
        )
        codes_RK = torch.empty(rows, columns, dtype=torch.uint8)
        codes_RK[:, self._order_K] = codes_KN.T
        return codes_RK, ranges


def _round_in_turn(
    w_KN: Tensor,
    *,
    factor_KK: Tensor,
    ranges_GN: tuple[Tensor, Tensor],
    groups: Sequence[int],
    most: int,
    block: int,
) -> Tensor:
    """Rounds input by input, and moves what follows; overwrites the weights. Returns codes, uint8."""
    scale_GN, offset_GN = ranges_GN
    inverse_GN = torch.where(scale_GN == 0, 0.0, 1.0 / scale_GN)
    codes_KN = torch.empty(w_KN.shape, dtype=torch.uint8)
    for start in range(0, len(w_KN), block):
        stop = min(len(w_KN), start + block)
        errors_BN = torch.empty(stop - start, w_KN.shape[1])
        for i in range(start, stop):
            g = groups[i]
            code_N = ((w_KN[i] - offset_GN[g]) * inverse_GN[g]).round_().clamp_(0, most)
            error_N = errors_BN[i - start]
            torch.div(w_KN[i] - (code_N * scale_GN[g] + offset_GN[g]), factor_KK[i, i], out=error_N)
            w_KN[i:stop].addr_(factor_KK[i, i:stop], error_N, alpha=-1)
            codes_KN[i] = code_N.to(torch.uint8)
        w_KN[stop:].addmm_(factor_KK[start:stop, stop:].T, errors_BN, alpha=-1)
    return codes_KN


def output_error(error_NK: Tensor, *, moment_KK: Tensor) -> float:
    """Returns what an error of the weights costs in the outputs, ``tr(E H E^T)``."""
    return float(((error_NK @ moment_KK) * error_NK).sum(dtype=torch.float64))


def counted(energy_K: Tensor) -> Tensor:
    """What an error at each input counts in the search of ranges: a little even where no input was seen."""
    mean = float(energy_K.mean())
    return energy_K / mean + _DAMPING if mean > 0 else torch.ones_like(energy_K)


def _inverse_factor(moment_KK: Tensor, *, order_K: Tensor, damping: float) -> Tensor:
    """Returns the upper Cholesky factor U of the damped inverse of the moment in an order, ``H^-1 = U^T U``."""
    mean = float(moment_KK.diagonal()[order_K].mean()) or 1.0
    while damping <= _MOST_DAMPING:
        # Two matrices beside the moment, each used again: of 10,240 inputs one takes 400 MB.
        ordered_KK = moment_KK[order_K][:, order_K]
        ordered_KK.diagonal().add_(damping * mean)
        factor_KK, failed = torch.linalg.cholesky_ex(ordered_KK)
        if not int(failed):
            # The inverse is symmetric: the transposed view has the order of columns that LAPACK writes to.
            inverse_KK = torch.cholesky_inverse(factor_KK, out=ordered_KK.mT)
            torch.linalg.cholesky_ex(inverse_KK, upper=True, out=(factor_KK, failed))
            if not int(failed):
                return factor_KK
        damping *= 10
    raise AssertionError("a second moment with ten times its mean on the diagonal is positive definite")
