"""The whole network in JAX: image tower, projector, decoder, and the parts that may be added (twin of
`osler.model.osler`).

Dimensions: B batch, L tokens, N images, S side of an image (px), T soft tokens
of an image or cells of a slab, D width of the decoder, V vocabulary or width of
the tower; of volumes: X slabs, d slices of a slab, S slabs of all series, M
tokens of all series; of heads: P patches, Q queries, K texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from osler.errors import RequestError
from osler.jax import adapter, decoder, heads, projector, temporal, vision, volume, volume_projection
from osler.jax.kv_cache import empty_cache
from osler.model.config import OslerConfig, VisionConfig

Tree = dict[str, Any]


def encode_images(weights: Tree, pixels_N3SS: Array, *, config: OslerConfig) -> Array:
    """Turns images, RGB in [-1, 1], into soft tokens, (N, T, D).

    Raises:
        RequestError: If the network has no image tower.
    """
    if config.vision is None or "vision_tower" not in weights:
        raise RequestError(
            f"The model {config.name!r} reads text only, and got {len(pixels_N3SS)} image(s).",
            next_step="Ask without images, or choose a model with an image tower.",
        )
    features = vision.forward(weights["vision_tower"], pixels_N3SS, config=config.vision)
    return projector.forward(weights["multi_modal_projector"], features, config=config, vision=config.vision)


def encode_slabs(weights: Tree, tubelets_XdCSS: Array, *, config: OslerConfig) -> Array:
    """Turns slabs of slices into features of cells, before mixing and merging, (X, T, V).

    Without `volume` in the configuration the slices of a slab are averaged.
    """
    seeing, tower = _eyes(config), weights["vision_tower"]
    if config.volume is None:
        embedded_XPV = vision.embed_patches(tower, volume.mean_of_slots(tubelets_XdCSS), config=seeing)
    else:
        embedded_XPV = volume.forward(
            weights["volume"], tubelets_XdCSS, tower=tower, config=config.volume, vision=seeing
        )
    features_XPV = vision.norm(tower, vision.encode(tower["layers"], embedded_XPV, config=seeing), config=seeing)
    return projector.pool_patches(features_XPV, config=config, vision=seeing)


def project_slabs(
    weights: Tree,
    cells_STV: Array,
    *,
    positions_mm_ST3: np.ndarray,
    series_S: np.ndarray,
    grids: Sequence[volume_projection.Grid],
    config: OslerConfig,
) -> Array:
    """Turns features of cells into soft tokens, (M, D); see `osler.jax.volume_projection.forward`."""
    seeing, published = _eyes(config), weights["multi_modal_projector"]
    if config.volume is None:
        merged_MV = volume_projection.merge_cells(cells_STV, series_S=series_S, grids=grids)
        return projector.project(published, merged_MV, vision=seeing)
    return volume_projection.from_cells(
        weights["volume_projection"],
        cells_STV,
        positions_mm_ST3=positions_mm_ST3,
        series_S=series_S,
        grids=grids,
        projector=published,
        config=config,
    )


def encode_timeline(
    weights: Tree,
    pixels_BT3SS: Array,
    *,
    days_BT: Array,
    padding_BT: Array | None = None,
    events: temporal.Events | None = None,
    config: OslerConfig,
) -> Array:
    """Turns one image a date into soft tokens that know the dates before them and the record, (B, T, n, D)."""
    assert config.temporal is not None
    seeing = _eyes(config)
    pixels_N3SS = pixels_BT3SS.reshape(-1, *pixels_BT3SS.shape[2:])
    features = vision.forward(weights["vision_tower"], pixels_N3SS, config=seeing)
    cells = projector.pool_patches(features, config=config, vision=seeing)
    tokens_BTnV, _ = temporal.forward(
        weights["temporal"],
        cells.reshape(*days_BT.shape, *cells.shape[1:]),
        days_BT=days_BT,
        padding_BT=padding_BT,
        events=events,
        config=config.temporal,
    )
    return projector.project(weights["multi_modal_projector"], tokens_BTnV, vision=seeing)


def memory_features(weights: Tree, pixels_N3SS: Array, *, config: OslerConfig) -> Array:
    """Encodes images for the adapter, (N, M, V)."""
    assert config.adapter is not None
    seeing = _eyes(config)
    features = vision.forward(weights["vision_tower"], pixels_N3SS, config=seeing)
    return adapter.pool_patches(features, config=config.adapter, vision=seeing)


def head_features(weights: Tree, pixels_N3SS: Array, *, config: OslerConfig) -> Array:
    """Encodes images for the heads, (N, P, V)."""
    assert config.heads is not None
    seeing = _eyes(config)
    shared = seeing.layers - config.heads.trunk
    features = vision.forward_to(weights["vision_tower"], pixels_N3SS, layers=shared, config=seeing)
    return heads.trunk(weights["heads"], features, config=config.heads, vision=seeing)


def text_states(weights: Tree, token_ids_KL: Array, padding_KL: Array, *, config: OslerConfig) -> Array:
    """Turns short texts into states for the heads: normalized mean embeddings, (K, D).

    Args:
        token_ids_KL: Ids of each text. padding_KL: True behind its end.
    """
    embedded_KLD = decoder.embed(weights["language_model"], token_ids_KL, config=config.decoder)
    kept_KLD = jnp.where(padding_KL[..., None], 0, embedded_KLD.astype(jnp.float32))
    mean_KD = kept_KLD.sum(1) / (~padding_KL).sum(1, keepdims=True)
    return as_query(mean_KD.astype(embedded_KLD.dtype))


def mean_state(weights: Tree, token_ids_BL: Array, count: Array, *, config: OslerConfig) -> Array:
    """Reads the first tokens of texts with the decoder; returns the mean of their states, (B, D).

    Args:
        token_ids_BL: Padded. count: Tokens of each row that are not padding.
    """
    B, L = token_ids_BL.shape
    index_BL = jnp.broadcast_to(jnp.arange(L), (B, L))
    positions_BL = jnp.where(index_BL < count, index_BL, -1)
    x_BLD = decoder.embed(weights["language_model"], token_ids_BL, config=config.decoder)
    cache = empty_cache(config.decoder, planned=L, longest=L, rows=B, dtype=x_BLD.dtype)
    hidden_BLD, _ = decoder.forward(
        weights["language_model"],
        x_BLD,
        config=config.decoder,
        positions_BL=positions_BL,
        last_BL=positions_BL,
        cache=cache,
    )
    kept_BLD = jnp.where(positions_BL[..., None] < 0, 0, hidden_BLD.astype(jnp.float32))
    return (kept_BLD.sum(1) / count).astype(x_BLD.dtype)


def boxes_at(
    weights: Tree,
    hidden_BLD: Array,
    *,
    token_ids_BL: Array,
    features_BMV: Array,
    positions_BM3: Array,
    most: int,
    config: OslerConfig,
) -> tuple[Array, Array, Array]:
    """Regresses a box from the decoder's state at every box token.

    Args:
        most: Box tokens of a row at most; static.

    Returns:
        Which of the places hold a box, (B, most), boxes (B, most, 6) and logits of their presence (B, most).
    """
    assert config.heads is not None
    marked_BL = token_ids_BL == config.tokens.box
    places_BQ = jnp.argsort(~marked_BL, axis=1, stable=True)[:, :most]
    state_BQD = jnp.take_along_axis(hidden_BLD, places_BQ[..., None], axis=1)
    boxes_BQ6, presence_BQ = heads.boxes(
        weights["heads"],
        as_query(state_BQD),
        features_BMV=features_BMV,
        positions_BM3=positions_BM3,
        config=config.heads,
    )
    return jnp.arange(most) < marked_BL.sum(1)[:, None], boxes_BQ6, presence_BQ


def as_query(states: Array) -> Array:
    """Brings states of texts to one scale for the heads: mean 0 and variance 1 over the last axis."""
    wide = states.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    return (centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)).astype(states.dtype)


def _eyes(config: OslerConfig) -> VisionConfig:
    if config.vision is None:
        raise RequestError(
            f"The model {config.name!r} reads text only, and got images.",
            next_step="Ask without images, or choose a model with an image tower.",
        )
    return config.vision


def embed(weights: Tree, token_ids_BL: Array, features_NTD: Array | None, *, config: OslerConfig) -> Array:
    """Embeds tokens and puts image features where the image tokens stand, (B, L, D)."""
    is_image_BL = token_ids_BL == config.tokens.image
    text_ids_BL = jnp.where(is_image_BL, config.tokens.pad, token_ids_BL)
    x_BLD = decoder.embed(weights["language_model"], text_ids_BL, config=config.decoder)
    if features_NTD is None:
        return x_BLD
    rows = features_NTD.reshape(-1, features_NTD.shape[-1]).astype(x_BLD.dtype)
    order_BL = (jnp.cumsum(is_image_BL.reshape(-1)) - 1).reshape(is_image_BL.shape)
    placed_BLD = jnp.take(rows, jnp.clip(order_BL, 0, len(rows) - 1), axis=0)
    return jnp.where(is_image_BL[..., None], placed_BLD, x_BLD)


def last_seen(positions_BL: Array, token_ids_BL: Array, *, image_token: int) -> Array:
    """Finds the greatest position that each token sees: its own for text, the last of its image otherwise.

    Padding, at position -1, sees nothing.
    """
    is_image_BL = token_ids_BL == image_token
    next_BL = jnp.concatenate((is_image_BL[:, 1:], jnp.zeros_like(is_image_BL[:, :1])), axis=1)
    far = jnp.iinfo(positions_BL.dtype).max
    ends_BL = jnp.where(is_image_BL & ~next_BL, positions_BL, far)
    return jnp.where(is_image_BL, lax.cummin(ends_BL, axis=1, reverse=True), positions_BL)
