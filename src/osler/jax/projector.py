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
    B, _, V = features_BPV.shape
    t = math.isqrt(config.image_tokens)
    pool = vision.side // t
    grid = features_BPV.reshape(B, vision.side, vision.side, V)[:, : t * pool, : t * pool]
    cells = grid.reshape(B, t, pool, t, pool, V).astype(jnp.float32)
    pooled_BTV = cells.mean(axis=(2, 4)).astype(features_BPV.dtype).reshape(B, t * t, V)
    normed_BTV = rms_norm(pooled_BTV, projector["mm_soft_emb_norm.weight"], eps=vision.norm_eps)
    return jnp.matmul(normed_BTV, projector["mm_input_projection_weight"], preferred_element_type=jnp.float32).astype(
        features_BPV.dtype
    )
