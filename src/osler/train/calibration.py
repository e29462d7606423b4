"""Makes the probabilities of the findings head honest, on patients kept out of its training.

Dimensions: N X-rays, F findings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_POSITIVES = 3
"""Fewer cases of a finding say nothing about its probabilities: it stays uncalibrated, and is not answered."""

_PULL = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """``logit -> scale * logit + shift``, NaN scale where a finding could not be calibrated.

    Args:
        scale_F: Factor. shift_F: Added.
    """

    scale_F: Tensor
    shift_F: Tensor


def fit_calibration(logits_NF: Tensor, *, wanted_NF: Tensor) -> Calibration:
    """Fits one factor for all findings and a shift for each by maximum likelihood (Platt scaling).

    One factor, because a few cases cannot carry a factor each; shifts are pulled to their mean by a
    normal prior.

    Args:
        logits_NF: Of the head.
        wanted_NF: 0 or 1, NaN where not known.
    """
    known_NF = ~wanted_NF.isnan()
    positives_F = torch.where(known_NF, wanted_NF, 0.0).round().sum(0)
    usable_F = positives_F >= LEAST_POSITIVES
    scale = torch.zeros((), requires_grad=True)
    mean = torch.zeros((), requires_grad=True)
    shift_F = torch.zeros(logits_NF.shape[1], requires_grad=True)
    used_NF = known_NF & usable_F
    if not bool(used_NF.any()):
        nothing = torch.full((logits_NF.shape[1],), torch.nan)
        return Calibration(scale_F=nothing, shift_F=torch.zeros_like(nothing))
    optimizer = torch.optim.LBFGS([scale, mean, shift_F], lr=0.5, max_iter=200, line_search_fn="strong_wolfe")
    wanted = wanted_NF[used_NF]

    def objective() -> Tensor:
        optimizer.zero_grad()
        found = (scale.exp() * logits_NF + mean + shift_F)[used_NF]
        loss = F.binary_cross_entropy_with_logits(found, wanted, reduction="sum") + shift_F.pow(2).sum() * _PULL / 8
        loss.backward()
        return loss

    optimizer.step(objective)
    with torch.no_grad():
        factor_F = torch.where(usable_F, scale.exp(), torch.nan)
        return Calibration(scale_F=factor_F, shift_F=torch.where(usable_F, mean + shift_F, 0.0))
