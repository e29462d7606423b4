"""Products with weights in the layout of the files, (outputs, inputs), so that nothing is transposed in memory.

Dimensions: D inputs, F outputs.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax


def linear(x_D: Array, weight_FD: Array, bias_F: Array | None = None) -> Array:
    """Computes ``x @ weight.T + bias`` in the dtype of ``x``, summed in float32."""
    axes = (((x_D.ndim - 1,), (1,)), ((), ()))
    out_F = lax.dot_general(x_D, weight_FD, axes, preferred_element_type=jnp.float32).astype(x_D.dtype)
    return out_F if bias_F is None else out_F + bias_F
