"""Rotary positions (twin of `osler.model.rope`).

Dimensions: B batch, L tokens, N heads, H width of a head.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


def rotary_table(
    positions_BL: Array, *, head_dim: int, theta: float, scale: float, dtype: DTypeLike
) -> tuple[Array, Array]:
    """Computes cosine and signed sine, each (B, 1, L, H); angles in float32."""
    exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies = 1.0 / (jnp.float32(theta) ** exponents) / scale
    angles = positions_BL[:, None, :, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate((cos, cos), -1).astype(dtype), jnp.concatenate((-sin, sin), -1).astype(dtype)


def rotate(x_BNLH: Array, *, rotation: tuple[Array, Array]) -> Array:
    """Rotates heads by the angles of their positions."""
    cos_B1LH, sin_B1LH = rotation
    return x_BNLH * cos_B1LH + jnp.roll(x_BNLH, x_BNLH.shape[-1] // 2, axis=-1) * sin_B1LH
