"""Tensors of PyTorch as arrays of JAX and back, and padding to few sizes, so that few shapes are compiled."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import torch

IMAGE_BUCKETS = (1, 2, 4, 8)
"""Images, volumes or texts that are computed at once; more of them are padded to the next power of two."""


def to_jax(tensor: torch.Tensor) -> jax.Array:
    """Copies a tensor into an array of the same dtype."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        return put(plain.view(torch.uint16).numpy().view(jnp.bfloat16).copy())
    return put(plain.numpy().copy())


def put(array: np.ndarray) -> jax.Array:
    """Gives JAX an array that nobody writes to any more; unlike `jnp.asarray` without a program for each shape."""
    return jax.device_put(array)


def to_torch(array: jax.Array) -> torch.Tensor:
    """Copies an array into a tensor of the same dtype."""
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(np.array(array.view(jnp.uint16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def bucket(count: int, sizes: Sequence[int]) -> int:
    """The first of some sizes that is large enough; beyond them the next power of two."""
    return next((size for size in sizes if size >= count), 1 << (count - 1).bit_length())


def filled(tensor: torch.Tensor, *, axis: int, size: int, value: float = 0) -> torch.Tensor:
    """Makes an axis as long as a size says, as `padded` does, before a tensor is moved: no program is compiled."""
    more = list(tensor.shape)
    more[axis] = size - tensor.shape[axis]
    return torch.cat((tensor, tensor.new_full(more, value)), dim=axis) if more[axis] > 0 else tensor


def padded(array: jax.Array, *, axis: int, size: int, value: float = 0) -> jax.Array:
    """Makes an axis as long as a size says, with a value behind its end."""
    width = [(0, 0)] * array.ndim
    width[axis] = (0, size - array.shape[axis])
    return jnp.pad(array, width, constant_values=value) if size > array.shape[axis] else array
