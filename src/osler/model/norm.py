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
        return normalize(x_D, scale_D=1.0 + self.weight.float(), eps=self.eps)

    def onto(self, stream_D: Tensor, *, update_D: Tensor) -> Tensor:
        """Returns the stream after an update, which is normalized, was added."""
        return stream_D + self(update_D)


def normalize(x_D: Tensor, *, scale_D: Tensor, eps: float) -> Tensor:
    """Divides by the root mean square of the last axis and scales, in float32.

    Args:
        x_D: Any dtype; the result has the same.
        scale_D: float32, of a shape that broadcasts to that of ``x_D``.
        eps: Added to the mean square.
    """
    return (F.rms_norm(x_D.float(), x_D.shape[-1:], eps=eps) * scale_D).to(x_D.dtype)
