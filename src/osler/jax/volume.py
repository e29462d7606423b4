"""Tubelets: several slices read by the image tower as one, in JAX (twin of `osler.model.volume`).

Dimensions: X slabs, d slices of a tubelet, C channels, S side of an image (px),
s patches of a side, p side of a patch (px), P patches of a slab, V width of the
tower.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from osler.errors import RequestError
from osler.jax.linear import linear
from osler.jax.vision import embed_patches
from osler.model.config import VisionConfig, VolumeConfig
from osler.prepare.slab_plan import slot_slices

Tree = dict[str, Any]


def forward(volume: Tree, tubelets_XdCSS: Array, *, tower: Tree, config: VolumeConfig, vision: VisionConfig) -> Array:
    """Embeds tubelets, positions in the plane included, (X, P, V), for the tower's layers.

    Args:
        volume: Weights. tower: Of the image tower.
        tubelets_XdCSS: RGB in [-1, 1]; another number of slices than ``config.depth`` is spread over its places.
        config: Of the volumetric path. vision: Of the tower.
    """
    deviation_VCdpp = volume["deviation"]
    slots_XdCSS = spread_slots(tubelets_XdCSS, depth=config.depth)
    mean_XCSS = mean_of_slots(slots_XdCSS)
    differences = (slots_XdCSS - mean_XCSS[:, None]).astype(deviation_VCdpp.dtype)
    X, d, C, _, _ = differences.shape
    s, p = vision.side, vision.patch
    grid = differences[..., : s * p, : s * p].reshape(X, d, C, s, p, s, p)
    patches = grid.transpose(0, 3, 5, 2, 1, 4, 6).reshape(X, s * s, C * d * p * p)
    deviation_XPV = linear(patches, deviation_VCdpp.reshape(len(deviation_VCdpp), -1))
    return embed_patches(tower, mean_XCSS, config=vision) + deviation_XPV


def inflated_weight(volume: Tree, *, tower: Tree, config: VolumeConfig) -> Array:
    """Returns the 3D weights that `forward` amounts to, (V, 3, d, p, p)."""
    flat_V3pp, deviation = tower["patch_embedding.weight"], volume["deviation"]
    return flat_V3pp[:, :, None] / config.depth + deviation - deviation.mean(2, keepdims=True)


def spread_slots(tubelets_XdCSS: Array, *, depth: int) -> Array:
    """Spreads slices over ``depth`` places by `slot_slices`."""
    count = tubelets_XdCSS.shape[1]
    return tubelets_XdCSS if count == depth else tubelets_XdCSS[:, np.array(slot_slices(count, depth=depth))]


def mean_of_slots(tubelets_XdCSS: Array) -> Array:
    """Averages the slices of tubelets by halves, (X, C, S, S): without rounding where they are equal.

    Raises:
        RequestError: If the number of slices is not a power of two.
    """
    count = tubelets_XdCSS.shape[1]
    if count < 1 or count & (count - 1):
        raise RequestError(f"A tubelet of {count} slices.", allowed="A power of two.")
    while tubelets_XdCSS.shape[1] > 1:
        tubelets_XdCSS = (tubelets_XdCSS[:, 0::2] + tubelets_XdCSS[:, 1::2]) * jnp.asarray(0.5, tubelets_XdCSS.dtype)
    return tubelets_XdCSS[:, 0]
