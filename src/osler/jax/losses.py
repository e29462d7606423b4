"""The multi-task objective in JAX (twin of `osler.train.losses`).

Shapes are fixed, so what a batch lacks is masked instead of left out.

Dimensions: B samples, L tokens, V vocabulary, Q boxes, F findings, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

UNKNOWN = -100
"""Target of a class that nobody labeled."""

_TINY = float(jnp.finfo(jnp.float32).eps)


def total_loss(parts: Mapping[str, Array], *, weights: Mapping[str, float]) -> Array:
    """Adds up weighted losses.

    Args:
        parts: Losses by the names of ``weights``; those that a batch has none of are left out.
        weights: Of the recipe, such as ``asdict(TaskWeights())`` of `osler.train.losses`.
    """
    return sum((weights[name] * value for name, value in parts.items()), jnp.float32(0))


def next_token_loss(logits_BLV: Array, *, token_ids_BL: Array, wanted_BL: Array) -> Array:
    """Mean cross-entropy of the ids that follow the wanted places.

    Args:
        logits_BLV: At each place.
        token_ids_BL: The tokens themselves.
        wanted_BL: True at a place whose next id is asked for; never the last one.
    """
    logs_BLV = jax.nn.log_softmax(logits_BLV[:, :-1].astype(jnp.float32), axis=-1)
    found_BL = jnp.take_along_axis(logs_BLV, token_ids_BL[:, 1:, None], axis=-1)[..., 0]
    return -_mean(found_BL, wanted_BL[:, :-1])


def contrastive_loss(logits_BB: Array, *, same_BB: Array | None = None) -> Array:
    """The sigmoid loss over all pairs of a batch (SigLIP, arXiv 2303.15343, equation 1).

    Args:
        logits_BB: Image by text, scaled and shifted.
        same_BB: True for pairs that belong together; ``None``: the diagonal.
    """
    together = jnp.eye(len(logits_BB), dtype=bool) if same_BB is None else same_BB
    return -jax.nn.log_sigmoid(jnp.where(together, logits_BB, -logits_BB)).sum(1).mean()


def box_loss(found_Q6: Array, wanted_Q6: Array, *, there_Q: Array, iou_weight: float = 1.0) -> Array:
    """L1 distance of edges plus one minus the generalized IoU, mean over the boxes that are there.

    Args:
        found_Q6: x0, y0, z0, x1, y1, z1, ordered, 0 to 1.
        wanted_Q6: The same; NaN in z0 and z1 of a box in a picture.
        there_Q: True where a box is wanted.
        iou_weight: Of the second term.
    """
    wanted_Q6 = jnp.where(there_Q[:, None], wanted_Q6, 0.0)
    edges_Q6 = jnp.where(jnp.isnan(wanted_Q6), found_Q6, wanted_Q6)
    count_Q = jnp.where(jnp.isnan(wanted_Q6[:, 2]), 4.0, 6.0)
    distance_Q = jnp.abs(found_Q6 - edges_Q6).sum(-1) / count_Q
    return _mean(distance_Q * 4 + iou_weight * (1 - generalized_iou(found_Q6, wanted_Q6)), there_Q)


def generalized_iou(found_Q6: Array, wanted_Q6: Array) -> Array:
    """Generalized IoU of boxes in 2D or 3D, (Q,), -1 to 1 (arXiv 1902.09630, algorithm 1).

    Args:
        found_Q6: x0, y0, z0, x1, y1, z1. wanted_Q6: The same; NaN in z for boxes in a picture.
    """
    flat_Q = jnp.isnan(wanted_Q6[:, 2])

    def sizes(low_Q3: Array, high_Q3: Array) -> Array:
        size_Q3 = jax.nn.relu(high_Q3 - low_Q3)
        return size_Q3[:, 0] * size_Q3[:, 1] * jnp.where(flat_Q, 1.0, size_Q3[:, 2])

    wanted_Q6 = jnp.where(jnp.isnan(wanted_Q6), found_Q6, wanted_Q6)
    a, b, c, d = found_Q6[:, :3], found_Q6[:, 3:], wanted_Q6[:, :3], wanted_Q6[:, 3:]
    both = sizes(jnp.maximum(a, c), jnp.minimum(b, d))
    union = sizes(a, b) + sizes(c, d) - both
    hull = sizes(jnp.minimum(a, c), jnp.maximum(b, d))
    return both / (union + _TINY) - (hull - union) / (hull + _TINY)


def presence_loss(logits_Q: Array, *, there_Q: Array, asked_Q: Array) -> Array:
    """Binary cross-entropy of whether a label is there, mean over the labels that are asked for."""
    return _mean(_binary(logits_Q, there_Q.astype(jnp.float32)), asked_Q)


def findings_loss(logits_BF: Array, *, wanted_BF: Array) -> Array:
    """Binary cross-entropy over the findings that are known; zero where none is.

    Args:
        logits_BF: One a finding.
        wanted_BF: 0, 1 or between, NaN where nobody labeled it.
    """
    known_BF = ~jnp.isnan(wanted_BF)
    return _mean(_binary(logits_BF, jnp.where(known_BF, wanted_BF, 0.0)), known_BF)


def progression_loss(scores_BFC: Array, *, wanted_BF: Array, class_weights_C: Array | None = None) -> Array:
    """Cross-entropy over findings whose change is known; zero where none is.

    Args:
        scores_BFC: Of `osler.model.heads.CHANGES`.
        wanted_BF: Number of the change, `UNKNOWN` where nobody labeled it.
        class_weights_C: So that stable findings do not drown changes.
    """
    known_BF = wanted_BF != UNKNOWN
    target_BF = jnp.where(known_BF, wanted_BF, 0)
    logs_BFC = jax.nn.log_softmax(scores_BFC, axis=-1)
    found_BF = jnp.take_along_axis(logs_BFC, target_BF[..., None], axis=-1)[..., 0]
    share_BF = known_BF.astype(jnp.float32)
    if class_weights_C is not None:
        share_BF = share_BF * class_weights_C[target_BF]
    return -_mean(found_BF, share_BF)


def _binary(logits: Array, wanted: Array) -> Array:
    return -(wanted * jax.nn.log_sigmoid(logits) + (1 - wanted) * jax.nn.log_sigmoid(-logits))


def _mean(values: Array, shares: Array) -> Array:
    """Weighted mean; zero, with a gradient of zero, where nothing weighs."""
    shares = shares.astype(jnp.float32)
    weight = shares.sum()
    return (values * shares).sum() / jnp.where(weight > 0, weight, 1.0)
