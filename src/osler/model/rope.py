"""Rotary positions: the first half of a head is rotated against the second.

Dimensions: B batch, L tokens, N heads, H width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(
    positions_BL: Tensor, *, head_dim: int, theta: float, scale: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Computes the cosines and signed sines that `rotate` takes.

    Angles are computed in float32 and only the results are cast.

    Args:
        positions_BL: Position of each token, whole numbers.
        head_dim: Width H of a head, even.
        theta: Base of the geometric series of wavelengths.
        scale: Frequencies are divided by it (linear scaling of positions).
        dtype: Of the results.

    Returns:
        Cosine and sine, each (B, 1, L, H). The sine of the first half carries
        the minus sign of the rotation.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions_BL.device) / head_dim
    frequencies = 1.0 / (theta**exponents) / scale
    angles = positions_BL[:, None, :, None].float() * frequencies
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x_BNLH: Tensor, *, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates heads by the angles of their positions.

    ``x * cos + (second half, first half) * signed sin``: the same products and
    the same roundings as ``x * cos + rotate_half(x) * sin``, one kernel fewer.

    Args:
        x_BNLH: Queries or keys.
        rotation: Cosine and signed sine, each (B, 1, L, H), from `rotary_table`.
    """
    cos_B1LH, sin_B1LH = rotation
    return x_BNLH * cos_B1LH + x_BNLH.roll(x_BNLH.shape[-1] // 2, dims=-1) * sin_B1LH
