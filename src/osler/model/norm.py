"""RMSNorm as Gemma computes it: in float32, scaled by one plus the weight.

Dimensions: D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Scales vectors to unit root mean square, then by ``1 + weight``.

    The arithmetic, the scaling by ``1 + weight`` included, is in float32; the
    result is cast back once, as in the reference.

    Args:
        width: Features D of the last axis.
        eps: Added to the mean square.
    """

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x_D: Tensor) -> Tensor:
        """Returns ``x`` normalized along its last axis, same shape and dtype."""
        scale_D = 1.0 + self.weight.float()
        return F.rms_norm(x_D.float(), scale_D.shape, scale_D, self.eps).to(x_D.dtype)
