"""From image features to the decoder's embedding space (twin of `osler.model.projector`).

Dimensions: B images, P patches, s patches of a side, t soft tokens of a side,
V width of the tower, D width of the decoder.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from osler.jax.norm import rms_norm
from osler.model.config import OslerConfig, VisionConfig


def forward(projector: dict[str, Any], features_BPV: Array, *, config: OslerConfig, vision: VisionConfig) -> Array:
    """Averages squares of patches, normalizes and projects; returns soft tokens, (B, T, D)."""
    pooled_BTV = pool_patches(features_BPV, config=config, vision=vision)
    return project(projector, pooled_BTV, vision=vision)


def pool_patches(features_BPV: Array, *, config: OslerConfig, vision: VisionConfig) -> Array:
    """Averages squares of patches, (B, T, V); V may be any width."""
    B, _, V = features_BPV.shape
    t = math.isqrt(config.image_tokens)
    pool = vision.side // t
    grid = features_BPV.reshape(B, vision.side, vision.side, V)[:, : t * pool, : t * pool]
    cells = grid.reshape(B, t, pool, t, pool, V).astype(jnp.float32)
    return cells.mean(axis=(2, 4)).astype(features_BPV.dtype).reshape(B, t * t, V)


def project(projector: dict[str, Any], pooled_V: Array, *, vision: VisionConfig) -> Array:
    """Normalizes and projects the last axis, (..., V) to (..., D)."""
    normed_V = rms_norm(pooled_V, projector["mm_soft_emb_norm.weight"], eps=vision.norm_eps)
    product = jnp.matmul(normed_V, projector["mm_input_projection_weight"], preferred_element_type=jnp.float32)
    return product.astype(pooled_V.dtype)
