"""One update of multi-task training in JAX: answers, boxes, findings, progression and alikeness together.

What learns is one tree, such as an adapter of the decoder and the heads; all
else is frozen. Shapes are fixed: what a batch lacks is masked.

Dimensions: B samples, L tokens, N images, S side of an image (px), K texts, Q
labels of a picture, D width of the decoder, F findings, T dates, U patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from osler.jax import decoder, heads, osler, temporal
from osler.jax.kv_cache import empty_cache
from osler.jax.lora import merged
from osler.jax.losses import (
    box_loss,
    contrastive_loss,
    findings_loss,
    next_token_loss,
    presence_loss,
    progression_loss,
    total_loss,
)
from osler.model.config import OslerConfig
from osler.weights.lora import LoraConfig

Tree = dict[str, Any]


class Answers(NamedTuple):
    """Prompts with the answers that are taught.

    Args:
        token_ids_BL: Padded behind the end.
        positions_BL: From 0, -1 for padding.
        wanted_BL: True at a place whose next id is taught.
        pixels_N3SS: Their images, in the order of the image tokens, row by row.
    """

    token_ids_BL: Array
    positions_BL: Array
    wanted_BL: Array
    pixels_N3SS: Array


class Films(NamedTuple):
    """Pictures for the heads, those of a patient one after the other.

    Args:
        pixels_N3SS: U * T pictures.
        label_ids_KL: Ids of all labels that are asked for. label_padding_KL: True behind the end of each.
        asked_NQ: Number of the label, -1 for none.
        boxes_NQ6: x0, y0, z0, x1, y1, z1 in 0 to 1, NaN in z of a picture; all NaN where the label is not there.
        findings_NF: 0 to 1, NaN where not known.
        changes_UF: Of the last date: number of the change, or `osler.jax.losses.UNKNOWN`.
        days_UT: Day of each picture.
        events: Of each patient, or ``None``.
        report_ids_NL: Ids of the report of each picture. report_padding_NL: True behind the end of each.
    """

    pixels_N3SS: Array
    label_ids_KL: Array
    label_padding_KL: Array
    asked_NQ: Array
    boxes_NQ6: Array
    findings_NF: Array
    changes_UF: Array
    days_UT: Array
    events: temporal.Events | None
    report_ids_NL: Array
    report_padding_NL: Array


class Batch(NamedTuple):
    """What one update reads; a part that is ``None`` has no loss."""

    answers: Answers | None
    films: Films | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is optimized.

    Args:
        config: Of the network.
        weights: Of the losses, pairs of name and number, so that it can be compared.
        lora: Of the decoder's adapter, ``None`` without one.
        change_weights: Of the classes of progression; empty for equal ones.
    """

    config: OslerConfig
    weights: tuple[tuple[str, float], ...]
    lora: LoraConfig | None = None
    change_weights: tuple[float, ...] = ()


class State(NamedTuple):
    """What an update moves.

    Args:
        trained: Parts that learn, by name; an adapter is called ``"lora"``.
        optimizer: State of optax.
    """

    trained: Tree
    optimizer: Any


def make_optimizer(
    trained: Tree, *, learning_rate: float | optax.Schedule, weight_decay: float, clip: float
) -> optax.GradientTransformation:
    """AdamW as `osler.train.optimizer.make_optimizer` builds it: vectors are not decayed.

    Args:
        trained: Parts that learn.
        learning_rate: A number, or a schedule. clip: Largest norm of all gradients together.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.adamw(learning_rate, b1=0.9, b2=0.98, eps=1e-8, weight_decay=weight_decay, mask=is_matrix(trained)),
    )


def is_matrix(trained: Tree) -> Tree:
    """Tells matrices from vectors; the axes of stacked layers do not count."""

    def told(path: tuple[Any, ...], leaf: Array) -> bool:
        names = [entry.key for entry in path]
        if names[-1] in ("lora_A", "lora_B"):
            return True
        # Sliding layers of whole periods are stacked by period and place in it, all others along one axis.
        stacked = 2 if names[-3:-1] == ["periods", "sliding"] else int("layers" in names)
        return leaf.ndim - stacked > 1

    return jax.tree_util.tree_map_with_path(told, trained)


def make_step(
    objective: Objective, *, optimizer: optax.GradientTransformation
) -> Callable[[State, Tree, Batch], tuple[State, dict[str, Array]]]:
    """Compiles an update.

    Returns:
        A function of the state, the frozen weights and a batch; it gives the next state and the losses by name,
        ``"total"`` among them. The state that it is given is used up.
    """

    def step(state: State, frozen: Tree, batch: Batch) -> tuple[State, dict[str, Array]]:
        losses, gradients = loss_and_gradients(state.trained, frozen, batch, objective=objective)
        moves, after = optimizer.update(gradients, state.optimizer, state.trained)
        return State(optax.apply_updates(state.trained, moves), after), losses

    return jax.jit(step, donate_argnums=0)


def loss_and_gradients(
    trained: Tree, frozen: Tree, batch: Batch, *, objective: Objective
) -> tuple[dict[str, Array], Tree]:
    """Returns the losses by name, ``"total"`` among them, and the gradient of the total for all that learns."""
    weights = dict(objective.weights)

    def total(trained: Tree) -> tuple[Array, dict[str, Array]]:
        parts = losses_of(trained, frozen, batch, objective=objective)
        return total_loss(parts, weights=weights), parts

    (value, parts), gradients = jax.value_and_grad(total, has_aux=True)(trained)
    return parts | {"total": value}, gradients


def losses_of(trained: Tree, frozen: Tree, batch: Batch, *, objective: Objective) -> dict[str, Array]:
    """Runs the network on a batch; returns its losses by name."""
    weights = _together(trained, frozen, lora=objective.lora)
    parts: dict[str, Array] = {}
    if batch.answers is not None:
        parts["next_token"] = _answers_loss(weights, batch.answers, config=objective.config)
    if batch.films is not None:
        parts |= _films_losses(weights, batch.films, objective=objective)
    return parts


def _together(trained: Tree, frozen: Tree, *, lora: LoraConfig | None) -> Tree:
    """All weights: parts that learn in place of frozen ones, the adapter merged."""
    weights = frozen | {name: tree for name, tree in trained.items() if name != "lora"}
    if lora is None or "lora" not in trained:
        return weights
    language = weights["language_model"]
    layers = merged(language["layers"], trained["lora"], lora=lora)
    return weights | {"language_model": language | {"layers": layers}}


def _answers_loss(weights: Tree, answers: Answers, *, config: OslerConfig) -> Array:
    ids_BL, language = answers.token_ids_BL, weights["language_model"]
    x_BLD = osler.embed(
        weights, ids_BL, osler.encode_images(weights, answers.pixels_N3SS, config=config), config=config
    )
    B, L, _ = x_BLD.shape
    hidden_BLD, _ = decoder.forward(
        language,
        x_BLD,
        config=config.decoder,
        positions_BL=answers.positions_BL,
        last_BL=osler.last_seen(answers.positions_BL, ids_BL, image_token=config.tokens.image),
        cache=empty_cache(config.decoder, planned=L, longest=L, rows=B, dtype=x_BLD.dtype),
    )
    logits_BLV = decoder.logits(language, hidden_BLD, config=config.decoder)
    targets_BL = jnp.where(ids_BL == config.tokens.image, config.tokens.pad, ids_BL)
    return next_token_loss(logits_BLV, token_ids_BL=targets_BL, wanted_BL=answers.wanted_BL)


def _films_losses(weights: Tree, films: Films, *, objective: Objective) -> dict[str, Array]:
    """Losses of all heads on the same features."""
    config = objective.config
    assert config.heads is not None
    assert config.vision is not None
    own = weights["heads"]
    features_NPV = osler.head_features(weights, films.pixels_N3SS, config=config)
    labels_KD = osler.text_states(weights, films.label_ids_KL, films.label_padding_KL, config=config)
    places_NP3 = jnp.broadcast_to(
        heads.patch_positions(config.vision.side), (len(features_NPV), features_NPV.shape[1], 3)
    )
    boxes_NQ6, presence_NQ = heads.boxes(
        own,
        labels_KD[jnp.maximum(films.asked_NQ, 0)],
        features_BMV=features_NPV,
        positions_BM3=places_NP3,
        config=config.heads,
    )
    asked_Q = (films.asked_NQ >= 0).reshape(-1)
    wanted_Q6 = films.boxes_NQ6.reshape(-1, 6)
    there_Q = asked_Q & ~jnp.isnan(wanted_Q6[:, 0])
    state_NFV, logits_NF = heads.findings(own, features_NPV, config=config.heads)
    images_NE = heads.embed_images(own, features_NPV, config=config.heads)
    reports_ND = osler.text_states(weights, films.report_ids_NL, films.report_padding_NL, config=config)
    parts = {
        "boxes": box_loss(boxes_NQ6.reshape(-1, 6), wanted_Q6, there_Q=there_Q),
        "presence": presence_loss(presence_NQ.reshape(-1), there_Q=there_Q, asked_Q=asked_Q),
        "findings": findings_loss(logits_NF, wanted_BF=films.findings_NF),
        "contrastive": contrastive_loss(heads.contrastive_logits(own, images_NE, heads.embed_texts(own, reports_ND))),
    }
    if config.temporal is not None:
        _, after_UTFV = temporal.forward(
            weights["temporal"],
            state_NFV.reshape(*films.days_UT.shape, *state_NFV.shape[1:]),
            days_BT=films.days_UT,
            events=films.events,
            config=config.temporal,
        )
        class_weights_C = jnp.array(objective.change_weights) if objective.change_weights else None
        parts["progression"] = progression_loss(
            heads.progression(own, after_UTFV[:, -1]), wanted_BF=films.changes_UF, class_weights_C=class_weights_C
        )
    return parts
