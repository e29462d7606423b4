"""The whole network in JAX: image tower, projector, decoder (twin of `osler.model.osler`).

Dimensions: B batch, L tokens, N images, S side of an image (px), T soft tokens
of an image, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from osler.errors import RequestError
from osler.jax import decoder, projector, vision
from osler.model.config import OslerConfig

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
