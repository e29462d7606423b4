"""Weights in bfloat16, laid out for the compiled kernels (twin of `osler.model.pack`).

XLA multiplies one row by a matrix on a CPU at a fraction of the memory's
speed, and in bfloat16 by way of float32. So the products of the decoder are
laid out in tiles of 32 inputs of 16 outputs, pairs of inputs side by side, as
vector instructions and AMX read them. Queries, keys and values become one
product, gate and up another; the embedding is the language head too, and is
kept once.

Dimensions: Y layers, B blocks of 16 outputs, S steps of 32 inputs, N outputs,
K inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F
from jax import Array
from torch import Tensor

from osler.jax.kernels import Kernels, native_dense
from osler.jax.stacks import aligned, layers_by_kind, products_of_a_layer
from osler.model.config import OslerConfig
from osler.quant.formats import LANES, UNIT
from osler.quant.network import part_names
from osler.quant.plan import EMBEDDING

Tree = dict[str, Any]


@partial(jax.tree_util.register_dataclass, data_fields=("tiles",), meta_fields=("rows", "columns", "kernels"))
@dataclass(frozen=True, kw_only=True, eq=False)
class DenseStack:
    """Matrices of one shape, such as one product of all layers of a kind.

    Args:
        rows: Outputs N. columns: Inputs K, not filled up.
        tiles: bfloat16 (Y, B, S, 16, 16, 2).
        kernels: What multiplies.
    """

    rows: int
    columns: int
    tiles: Array
    kernels: Kernels

    @property
    def nbytes(self) -> int:
        """Memory of the tiles."""
        return self.tiles.nbytes

    def at(self, layer: Array | int) -> DenseWeight:
        """Names one of the matrices, without reading it."""
        return DenseWeight(self, layer)


class DenseWeight(NamedTuple):
    """One matrix of a stack."""

    stack: DenseStack
    layer: Array | int

    def product(self, x_K: Array) -> Array:
        """Returns (..., N) in the dtype of ``x_K``."""
        return native_dense(x_K, self.stack, layer=self.layer)

    def take(self, ids: Array) -> Array:
        """Returns single rows, (..., K), in bfloat16."""
        rows = self.stack.tiles[self.layer, ids // LANES, :, :, ids % LANES]
        return rows.reshape(*ids.shape, -1)[..., : self.stack.columns]


def dense_products(tensors: Mapping[str, Tensor], *, config: OslerConfig, kernels: Kernels) -> Tree:
    """Lays the products of a decoder into tiles.

    Args:
        tensors: Float weights under Osler's names; rounded to bfloat16.
        kernels: What multiplies.

    Returns:
        As `osler.jax.network.packed_products`.
    """

    def stack(names: list[list[str]]) -> DenseStack:
        return tiled([[tensors[name] for name in parts] for parts in names], kernels=kernels)

    return {"embed_tokens": stack([part_names(EMBEDDING)]), "packed": _by_kind(config, stack)}


def tiled(layers: Sequence[Sequence[Tensor]], *, kernels: Kernels) -> DenseStack:
    """Lays matrices into tiles, rounded to bfloat16.

    Args:
        layers: Of each layer the matrices that are joined, one above the other.
        kernels: What multiplies.
    """
    rows, columns = sum(len(part) for part in layers[0]), layers[0][0].shape[1]
    tiles = aligned((len(layers), *_tile_shape(rows, columns=columns)), ml_dtypes.bfloat16)
    for number, parts in enumerate(layers):
        _fill(tiles[number], torch.cat([part.bfloat16() for part in parts]))
    return DenseStack(rows=rows, columns=columns, tiles=jax.device_put(tiles), kernels=kernels)


def _by_kind(config: OslerConfig, stack: Callable[[list[list[str]]], DenseStack]) -> Tree:
    return {
        kind: {
            product: stack([part_names(f"language_model.layers.{layer}.{product}") for layer in layers])
            for product in products_of_a_layer(config.decoder)
        }
        for kind, layers in layers_by_kind(config.decoder).items()
    }


def _tile_shape(rows: int, *, columns: int) -> tuple[int, ...]:
    return -(-rows // LANES), -(-columns // UNIT), UNIT // 2, LANES, 2


def _fill(tiles: np.ndarray, weight_NK: Tensor) -> None:
    """Writes a bfloat16 matrix into tiles, zeros where it ends."""
    rows, columns = weight_NK.shape
    bits_NK = F.pad(weight_NK.view(torch.int16), (0, -columns % UNIT, 0, -rows % LANES))
    bits = bits_NK.view(tiles.shape[0], LANES, tiles.shape[1], UNIT // 2, 2).permute(0, 2, 3, 1, 4)
    torch.from_numpy(tiles.view(np.int16)).copy_(bits)
