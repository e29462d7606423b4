"""Products with weights: floating ones in the layout of the files, (outputs, inputs), and packed ones.

Dimensions: D inputs, F outputs, V vocabulary.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from osler.jax.dense import DenseStack, DenseWeight
from osler.jax.kernels import Kernels
from osler.jax.packed import MixedWeight, PackedStack, PackedWeight

Weight = Array | DenseWeight | PackedWeight | MixedWeight
Table = Array | DenseStack | PackedStack


def linear(x_D: Array, weight_FD: Weight, bias_F: Array | None = None) -> Array:
    """Computes ``x @ weight.T + bias`` in the dtype of ``x``, summed in float32."""
    if not isinstance(weight_FD, Array):
        out_F = weight_FD.product(x_D)
        return out_F if bias_F is None else out_F + bias_F
    axes = (((x_D.ndim - 1,), (1,)), ((), ()))
    out_F = lax.dot_general(x_D, weight_FD, axes, preferred_element_type=jnp.float32).astype(x_D.dtype)
    return out_F if bias_F is None else out_F + bias_F


def table(weight_VD: Table) -> Weight:
    """Returns what `linear` takes of a table that is the language head too."""
    return weight_VD if isinstance(weight_VD, Array) else weight_VD.at(0)


def kernels_of(weight: Weight) -> Kernels | None:
    """Returns the compiled kernels that multiply by a weight on this device alone, ``None`` for XLA."""
    if isinstance(weight, Array):
        return None
    stack = weight.mixed.stacks[0] if isinstance(weight, MixedWeight) else weight.stack
    return None if isinstance(stack, PackedStack) and stack.mesh is not None else stack.kernels


def lookup(weight_VD: Table, ids: Array) -> Array:
    """Returns rows of a table, (..., D); those of a packed one in its own dtype."""
    return jnp.take(weight_VD, ids, axis=0) if isinstance(weight_VD, Array) else weight_VD.at(0).take(ids)
