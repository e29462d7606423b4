"""RMSNorm and LayerNorm, in float32 whatever the input is (twin of `osler.model.norm`).

Dimensions: D features.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax


def rms_norm(x_D: Array, weight_D: Array, *, eps: float) -> Array:
    """Scales vectors to unit root mean square, then by ``1 + weight``; the result has the dtype of ``x``."""
    x32_D = x_D.astype(jnp.float32)
    scale = lax.rsqrt(jnp.mean(jnp.square(x32_D), axis=-1, keepdims=True) + eps)
    return (x32_D * scale * (1.0 + weight_D.astype(jnp.float32))).astype(x_D.dtype)


def layer_norm(x_D: Array, weight_D: Array, bias_D: Array, *, eps: float) -> Array:
    """Centres and scales vectors, then by weight and bias; the result has the dtype of ``x``."""
    x32_D = x_D.astype(jnp.float32)
    centred_D = x32_D - jnp.mean(x32_D, axis=-1, keepdims=True)
    scale = lax.rsqrt(jnp.mean(jnp.square(centred_D), axis=-1, keepdims=True) + eps)
    return (centred_D * scale * weight_D.astype(jnp.float32) + bias_D.astype(jnp.float32)).astype(x_D.dtype)
