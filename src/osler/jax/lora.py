"""Low-rank adapters in JAX, under the names of `osler.weights.lora`, so that they travel both ways.

Updates are stacked like the weights that they belong to. The network runs with
the sum of both, ``weight + scale * B A``, which is what a merged adapter is.

Dimensions: R rank, F outputs, D inputs of a product; in front of them the axes
of stacked layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from osler.errors import CheckpointError
from osler.jax.parameters import decoder_leaves
from osler.model.config import DecoderConfig
from osler.weights.lora import LoraConfig

Tree = dict[str, Any]


def new_lora(layers: Tree, *, lora: LoraConfig, config: DecoderConfig, key: Array) -> Tree:
    """Makes updates that start at zero, in float32, by the path of the weight that each belongs to.

    Args:
        layers: ``weights["language_model"]["layers"]``.
        lora: Rank and targets. config: Of the decoder.
        key: Of the random numbers.

    Raises:
        CheckpointError: If a target fits no product of the decoder.
    """
    found: Tree = {}
    for number, (path, _) in enumerate(_adapted(lora, config)):
        *before, F, D = _at(layers, path).shape
        bound = D**-0.5
        a = jax.random.uniform(
            jax.random.fold_in(key, number), (*before, lora.rank, D), jnp.float32, minval=-bound, maxval=bound
        )
        found["/".join(path)] = {"lora_A": a, "lora_B": jnp.zeros((*before, F, lora.rank), jnp.float32)}
    return found


def merged(layers: Tree, updates: Tree, *, lora: LoraConfig) -> Tree:
    """Returns the layers with the updates added, in the dtype of the weights; nothing is changed in place."""
    scale = lora.alpha / lora.rank
    for name, pair in updates.items():
        path = tuple(name.split("/"))
        weight = _at(layers, path)
        update = jnp.einsum("...fr,...rd->...fd", pair["lora_B"], pair["lora_A"])
        layers = _with(layers, path, (weight.astype(jnp.float32) + scale * update).astype(weight.dtype))
    return layers


def lora_tensors(updates: Tree, *, config: DecoderConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the updates layer by layer, such as ``layers.3.self_attn.q_proj.lora_A``."""
    for path, names in decoder_leaves(config):
        pair = updates.get("/".join(path))
        for kind, stack in (pair or {}).items():
            rows = np.asarray(stack).reshape(-1, *stack.shape[-2:])
            for name, row in zip(names, rows, strict=True):
                yield f"{name.removesuffix('.weight')}.{kind}", row


def lora_from(tensors: Mapping[str, np.ndarray], *, lora: LoraConfig, config: DecoderConfig, layers: Tree) -> Tree:
    """Stacks updates that have the names of `lora_tensors`.

    Raises:
        CheckpointError: If one is missing.
    """
    found: Tree = {}
    for path, names in _adapted(lora, config):
        before = _at(layers, path).shape[:-2]
        pair = {}
        for kind in ("lora_A", "lora_B"):
            wanted = [f"{name.removesuffix('.weight')}.{kind}" for name in names]
            missing = [name for name in wanted if name not in tensors]
            if missing:
                raise CheckpointError(f"The adapter lacks {', '.join(missing[:4])}.")
            rows = np.stack([tensors[name] for name in wanted])
            pair[kind] = jnp.asarray(rows.reshape(*before, *rows.shape[1:]), jnp.float32)
        found["/".join(path)] = pair
    return found


def _adapted(lora: LoraConfig, config: DecoderConfig) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Paths of the products that have an update, and the names of their tensors."""
    leaves = [(path, names) for path, names in decoder_leaves(config) if path[-1].endswith("_proj")]
    last = {path[-1].rpartition(".")[2] for path, _ in leaves}
    unmatched = [target for target in lora.targets if target not in last]
    if unmatched:
        raise CheckpointError(
            f"No linear layer is called {', '.join(map(repr, unmatched))}.",
            allowed=f"Last parts of names: {', '.join(sorted(last))}.",
        )
    return [(path, names) for path, names in leaves if path[-1].rpartition(".")[2] in lora.targets]


def _at(tree: Tree, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _with(tree: Tree, path: tuple[str, ...], value: Array) -> Tree:
    """A copy of a tree with another leaf."""
    if len(path) == 1:
        return tree | {path[0]: value}
    return tree | {path[0]: _with(tree[path[0]], path[1:], value)}
