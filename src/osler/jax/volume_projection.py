"""From features of slabs to few soft tokens, in JAX (twin of `osler.model.volume_projection`).

`mix` and `place` have fixed shapes and are what a caller compiles; `merge_cells`
between them depends on the sizes of the series, which are known on the host.

Dimensions: S slabs of all series, P patches, T cells of a slab, V width of the
tower, M tokens of all series, D width of the decoder, N heads, H width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from osler.errors import RequestError
from osler.jax import projector as projection
from osler.jax.linear import linear
from osler.jax.norm import layer_norm
from osler.jax.rope import rotate
from osler.model.config import OslerConfig, VisionConfig, VolumeConfig
from osler.model.volume_projection import wave_numbers

Tree = dict[str, Any]
Grid = tuple[int, int, int]
"""Tokens of a series along slabs, rows and columns."""

_SLABS_AT_ONCE = 32
_AXES = 3


def forward(
    weights: Tree,
    features_SPV: Array,
    *,
    positions_mm_SP3: np.ndarray,
    series_S: np.ndarray,
    grids: Sequence[Grid],
    projector: Tree,
    config: OslerConfig,
) -> Array:
    """Turns features of patches into soft tokens, (M, D); see `osler.model.volume_projection`.

    Args:
        weights: Of this part. projector: Of the published projector.
        features_SPV: From the tower, slab by slab; the slabs of a series lie together, in order.
        positions_mm_SP3: Patient position of the center of each patch, mm, on the host.
        series_S: Number of the series of each slab, on the host.
        grids: Tokens of each series, in the order of their slabs.
        config: Of the network.

    Raises:
        RequestError: If a grid does not fit its series.
    """
    assert config.vision is not None
    slabs, side, pool = len(positions_mm_SP3), config.vision.side, config.vision.side // math.isqrt(config.image_tokens)
    squares = positions_mm_SP3.astype(np.float64).reshape(slabs, side // pool, pool, side // pool, pool, _AXES)
    return from_cells(
        weights,
        projection.pool_patches(features_SPV, config=config, vision=config.vision),
        positions_mm_ST3=squares.mean((2, 4)).reshape(slabs, -1, _AXES),
        series_S=series_S,
        grids=grids,
        projector=projector,
        config=config,
    )


def from_cells(
    weights: Tree,
    cells_STV: Array,
    *,
    positions_mm_ST3: np.ndarray,
    series_S: np.ndarray,
    grids: Sequence[Grid],
    projector: Tree,
    config: OslerConfig,
) -> Array:
    """The same from features of cells, `osler.jax.projector.pool_patches` of those of patches."""
    assert config.vision is not None
    assert config.volume is not None
    around_ST3 = centered(positions_mm_ST3, series_S=series_S)
    cells_STV = mix(weights, cells_STV, around_ST3, jnp.asarray(series_S), config=config.volume, vision=config.vision)
    return place(
        weights,
        merge_cells(cells_STV, series_S=series_S, grids=grids),
        merge_cells(around_ST3, series_S=series_S, grids=grids),
        projector=projector,
        config=config.volume,
        vision=config.vision,
    )


def mix(
    weights: Tree, cells_STV: Array, around_ST3: Array, series_S: Array, *, config: VolumeConfig, vision: VisionConfig
) -> Array:
    """Lets cells see the same cell of the slabs near them in their own series, (S, T, V).

    Args:
        around_ST3: Positions from the center of the series, mm.
        series_S: Number of the series of each slab; a number of its own for padding.
    """
    if not config.layers:
        return cells_STV
    rotation = rotary_table_mm(
        around_ST3.swapaxes(0, 1),
        head_dim=cells_STV.shape[-1] // config.heads,
        wavelengths=config.wavelengths,
        dtype=cells_STV.dtype,
    )

    def layer(x_STV: Array, tree: Tree) -> tuple[Array, None]:
        return _mixing_layer(tree, x_STV, rotation, series_S, config=config, eps=vision.norm_eps), None

    cells_STV, _ = lax.scan(layer, cells_STV, weights["layers"])
    return cells_STV


def place(
    weights: Tree, tokens_MV: Array, places_M3: Array, *, projector: Tree, config: VolumeConfig, vision: VisionConfig
) -> Array:
    """Adds to each token where it lies, and projects, (M, D)."""
    waves_MW = place_waves(places_M3, frequencies=config.frequencies, wavelengths=config.wavelengths)
    place_MV = linear(waves_MW.astype(tokens_MV.dtype), weights["place_proj.weight"], weights["place_proj.bias"])
    return projection.project(projector, tokens_MV + weights["place_gate"] * place_MV, vision=vision)


def _mixing_layer(
    layer: Tree,
    x_STV: Array,
    rotation: tuple[Array, Array],
    series_S: Array,
    *,
    config: VolumeConfig,
    eps: float,
) -> Array:
    """Attention along slabs and an MLP, each behind a gate."""
    normed = layer_norm(x_STV, layer["norm1.weight"], layer["norm1.bias"], eps=eps)
    x_STV = x_STV + layer["attention_gate"] * _attend(layer, normed, rotation, series_S, config=config)
    normed = layer_norm(x_STV, layer["norm2.weight"], layer["norm2.bias"], eps=eps)
    hidden = jax.nn.gelu(linear(normed, layer["fc1.weight"], layer["fc1.bias"]), approximate=True)
    return x_STV + layer["mlp_gate"] * linear(hidden, layer["fc2.weight"], layer["fc2.bias"])


def _attend(
    layer: Tree, x_STV: Array, rotation: tuple[Array, Array], series_S: Array, *, config: VolumeConfig
) -> Array:
    """Attention of each cell over the same cell of slabs within reach, some slabs at a time."""
    S, T, V = x_STV.shape
    qkv_TS = linear(x_STV.swapaxes(0, 1), layer["qkv_proj.weight"])
    q_TNSH, k_TNSH, v_TNSH = (
        part.reshape(T, S, config.heads, -1).swapaxes(1, 2) for part in jnp.split(qkv_TS, 3, axis=-1)
    )
    q_TNSH, k_TNSH = rotate(q_TNSH, rotation=rotation), rotate(k_TNSH, rotation=rotation)
    index_S, scale, parts = np.arange(S), q_TNSH.shape[-1] ** -0.5, []
    for start in range(0, S, _SLABS_AT_ONCE):
        some = slice(start, min(start + _SLABS_AT_ONCE, S))
        near = slice(max(0, start - config.reach), min(S, some.stop + config.reach))
        seen = np.abs(index_S[some, None] - index_S[None, near]) <= config.reach
        seen = seen & (series_S[some, None] == series_S[None, near])
        scores = jnp.einsum(
            "tnsh,tnrh->tnsr", q_TNSH[:, :, some], k_TNSH[:, :, near], preferred_element_type=jnp.float32
        )
        shares = jax.nn.softmax(jnp.where(seen, scores * scale, -jnp.inf), axis=-1).astype(x_STV.dtype)
        parts.append(
            jnp.einsum("tnsr,tnrh->tnsh", shares, v_TNSH[:, :, near], preferred_element_type=jnp.float32).astype(
                x_STV.dtype
            )
        )
    out_TSV = jnp.concatenate(parts, axis=2).swapaxes(1, 2).reshape(T, S, V)
    return linear(out_TSV, layer["out_proj.weight"], layer["out_proj.bias"]).swapaxes(0, 1)


def rotary_table_mm(
    positions_mm_BL3: Array, *, head_dim: int, wavelengths: tuple[float, float], dtype: DTypeLike
) -> tuple[Array, Array]:
    """Computes cosines and signed sines for `rotate` from positions in millimeters, each (B, 1, L, H)."""
    pairs = head_dim // 2
    turned = _angles(positions_mm_BL3, count=pairs // _AXES, wavelengths=wavelengths)
    angles = jnp.pad(turned, ((0, 0), (0, 0), (0, pairs - turned.shape[-1])))[:, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate((cos, cos), -1).astype(dtype), jnp.concatenate((-sin, sin), -1).astype(dtype)


def place_waves(positions_mm_M3: Array, *, frequencies: int, wavelengths: tuple[float, float]) -> Array:
    """Sines and cosines of positions in millimeters, (M, 6 * frequencies)."""
    angles = _angles(positions_mm_M3, count=frequencies, wavelengths=wavelengths)
    return jnp.concatenate((jnp.sin(angles), jnp.cos(angles)), axis=-1)


def merge_cells(cells_STV: Array, *, series_S: np.ndarray, grids: Sequence[Grid]) -> Array:
    """Averages boxes of cells, series by series; where a box is one cell, nothing is computed.

    Args:
        cells_STV: Cells of a square grid, row by row; the slabs of a series lie together.
        series_S: Number of the series of each slab, on the host.
        grids: Tokens of each series along slabs, rows and columns.

    Returns:
        (M, V): series by series, group by group, row by row.

    Raises:
        RequestError: If a grid does not fit its series.
    """
    bounds = _bounds(series_S)
    if len(bounds) != len(grids):
        raise RequestError(f"{len(grids)} token grids for {len(bounds)} series.", allowed="One a series.")
    parts = [_merged(cells_STV[some], grid=grid) for some, grid in zip(bounds, grids, strict=True)]
    return jnp.concatenate(parts)


def _merged(cells_STV: Array, *, grid: Grid) -> Array:
    """Merges one series to (groups * rows * columns, V)."""
    groups, rows, columns = grid
    slabs, cells, width = cells_STV.shape
    side = math.isqrt(cells)
    if not (1 <= groups <= slabs and rows >= 1 and columns >= 1) or side % rows or side % columns:
        raise RequestError(
            f"A grid of {groups} x {rows} x {columns} tokens for {slabs} slabs of {side} x {side} cells.",
            allowed="At most one group a slab; rows and columns divide the side.",
        )
    if (rows, columns) != (side, side):
        boxes = cells_STV.reshape(slabs, rows, side // rows, columns, side // columns, width)
        cells_STV = boxes.astype(jnp.float32).mean((2, 4)).astype(cells_STV.dtype).reshape(slabs, -1, width)
    if groups != slabs:
        group_S = np.arange(slabs) * groups // slabs
        sums = jax.ops.segment_sum(cells_STV.astype(jnp.float32), group_S, num_segments=groups)
        counts = np.bincount(group_S, minlength=groups).astype(np.float32)
        cells_STV = (sums / counts[:, None, None]).astype(cells_STV.dtype)
    return cells_STV.reshape(-1, width)


def centered(positions_mm_ST3: np.ndarray, *, series_S: np.ndarray) -> Array:
    """Positions from the center of each series, computed on the host in float64, given in float32."""
    parts = [positions_mm_ST3[some].astype(np.float64) for some in _bounds(series_S)]
    return jnp.asarray(np.concatenate([part - part.mean((0, 1)) for part in parts]).astype(np.float32))


def _bounds(series_S: np.ndarray) -> list[slice]:
    """Runs of slabs of one series."""
    starts = [0, *(np.flatnonzero(np.diff(series_S)) + 1).tolist(), len(series_S)]
    return [slice(start, stop) for start, stop in pairwise(starts)]


def _angles(positions_mm: Array, *, count: int, wavelengths: tuple[float, float]) -> Array:
    """Angles of positions (..., 3) at ``count`` wavelengths, (..., 3 * count), the axes one after the other."""
    # Angles reach hundreds of radians, so one more rounding of these numbers would show: they are the twin's.
    turns = positions_mm[..., None] * wave_numbers(count, wavelengths=wavelengths).numpy()
    return turns.reshape(*turns.shape[:-2], -1)
