"""Probabilities of findings that mean what they say, fitted on patients kept out of training.

A logit z of finding f becomes ``sigmoid(scale * z + shift_f)``: one scale for
all findings (a temperature) and a shift of each. The shifts are drawn to their
common middle, the more so the fewer films show the finding, because a handful
of films says little of one finding alone (Platt scaling, Platt 1999, with a
Gaussian prior).

Dimensions: N films, F findings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from osler.errors import RequestError

SPREAD = 0.5
"""Standard deviation that the shifts are expected to have around their middle."""

_ROUNDS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What turns logits into probabilities.

    Args:
        scale_F: Equal for all findings that were seen, NaN for the others. shift_F: Of each finding.
        films_F: Films that each was fitted on. shown_F: Those of them that show it.
    """

    scale_F: Tensor
    shift_F: Tensor
    films_F: Tensor
    shown_F: Tensor

    def probabilities(self, logits_NF: Tensor) -> Tensor:
        """Returns probabilities, NaN for a finding that was not calibrated."""
        return (self.scale_F * logits_NF + self.shift_F).sigmoid()


def fit_calibration(logits_NF: Tensor, *, wanted_NF: Tensor, spread: float = SPREAD) -> Calibration:
    """Fits scale and shifts by maximum likelihood with a prior on the shifts.

    Args:
        logits_NF: Of the findings head, for films of patients that it was not trained on.
        wanted_NF: 0 to 1, NaN where nobody labeled it.
        spread: See `SPREAD`; small keeps the shifts together.

    Raises:
        RequestError: If no film has a label.
    """
    known_NF = ~wanted_NF.isnan()
    if not bool(known_NF.any()):
        raise RequestError("No film with a label to calibrate findings on.", allowed="Films with known findings.")
    logits_NF, wanted_NF = logits_NF.detach().double(), wanted_NF.double()
    films_F = known_NF.sum(0)
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    middle = torch.zeros((), dtype=torch.float64, requires_grad=True)
    apart_F = torch.zeros(logits_NF.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_scale, middle, apart_F], max_iter=_ROUNDS, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled_NF = log_scale.exp() * logits_NF + middle + apart_F
        fit = F.binary_cross_entropy_with_logits(scaled_NF[known_NF], wanted_NF[known_NF], reduction="sum")
        value = fit + 0.5 * (apart_F / spread).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    seen_F = films_F > 0
    scale_F = torch.where(seen_F, log_scale.detach().exp(), torch.nan)
    shift_F = torch.where(seen_F, (middle + apart_F).detach(), 0.0)
    return Calibration(
        scale_F=scale_F.float(),
        shift_F=shift_F.float(),
        films_F=films_F,
        shown_F=torch.where(known_NF, wanted_NF, 0.0).round().sum(0).long(),
    )
