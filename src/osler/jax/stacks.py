"""Weights of layers in one array, sorted by the kind of layer that reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from osler.model.config import DecoderConfig, LayerKind
from osler.quant.plan import products

_ALIGNMENT = 64
"""Bytes at which an array must start for JAX to take it without a copy."""


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Makes an array without contents that `jax.device_put` takes over without a copy."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def layers_by_kind(config: DecoderConfig) -> dict[LayerKind, list[int]]:
    """Returns the numbers of the layers of each kind, in order."""
    kinds: dict[LayerKind, list[int]] = {}
    for layer in range(config.layers):
        kinds.setdefault(config.kind(layer), []).append(layer)
    return kinds


def products_of_a_layer(config: DecoderConfig) -> list[str]:
    """Returns the names of the products of a layer, such as ``"mlp.gate_up_proj"``."""
    first = "language_model.layers.0."
    return [name.removeprefix(first) for name, _, _ in products(config) if name.startswith(first)]
