"""Weights of `osler.model` as trees for JAX, and back: one table of names, used both ways.

Names of the files stay the names of the leaves. Layers of one kind are stacked
along a new first axis, because `jax.lax.scan` runs over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from osler.errors import CheckpointError
from osler.jax.arrays import put
from osler.model.config import DecoderConfig, OslerConfig
from osler.quant.network import product_tensors
from osler.weights.assemble import empty_network

Tree = dict[str, Any]
Path = tuple[str, ...]

_PARTS = ("volume", "volume_projection", "heads", "adapter", "temporal")
"""Parts that Osler adds to the published network."""

_DECODER_LAYER = {
    name.removesuffix(".weight"): name
    for name in (
        "input_layernorm.weight",
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.o_proj.weight",
        "self_attn.q_norm.weight",
        "self_attn.k_norm.weight",
        "post_attention_layernorm.weight",
        "pre_feedforward_layernorm.weight",
        "mlp.gate_proj.weight",
        "mlp.up_proj.weight",
        "mlp.down_proj.weight",
        "post_feedforward_layernorm.weight",
    )
}
_QK_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
_VISION_LAYER = tuple(
    f"{module}.{kind}"
    for module in (
        "layer_norm1",
        "layer_norm2",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "mlp.fc1",
        "mlp.fc2",
    )
    for kind in ("weight", "bias")
)
_PLAIN = {
    ("language_model", "embed_tokens"): "language_model.embed_tokens.weight",
    ("language_model", "norm"): "language_model.norm.weight",
}
_VISION_PLAIN = {
    ("vision_tower", "patch_embedding.weight"): "vision_tower.embeddings.patch_embedding.weight",
    ("vision_tower", "patch_embedding.bias"): "vision_tower.embeddings.patch_embedding.bias",
    ("vision_tower", "position_embedding"): "vision_tower.embeddings.position_embedding.weight",
    ("vision_tower", "post_layernorm.weight"): "vision_tower.post_layernorm.weight",
    ("vision_tower", "post_layernorm.bias"): "vision_tower.post_layernorm.bias",
    ("multi_modal_projector", "mm_soft_emb_norm.weight"): "multi_modal_projector.mm_soft_emb_norm.weight",
    ("multi_modal_projector", "mm_input_projection_weight"): "multi_modal_projector.mm_input_projection_weight",
}


def parameters_from(tensors: Mapping[str, Tensor], *, config: OslerConfig, products: Tree | None = None) -> Tree:
    """Turns tensors under Osler's names into the tree that the functions of `osler.jax` take.

    One leaf is stacked at a time, so the peak is the tree and one stack of layers.

    Args:
        tensors: Such as ``model.state_dict()``, all in one dtype.
        config: Of the network.
        products: The decoder's products where they are packed already (`osler.jax.network`); ``tensors``
            then lack them.

    Raises:
        CheckpointError: If a tensor is missing, or one has no place in the twin.
    """
    left = set(tensors)
    packed = frozenset() if products is None else product_tensors(config)
    tree: Tree = {}
    for path, sources, shape in _leaves(config):
        if packed.issuperset(sources):
            continue
        missing = [name for name in sources if name not in tensors]
        if missing:
            raise CheckpointError(
                f"The weights lack {', '.join(missing[:4])}.", next_step="Check that config.json belongs to them."
            )
        arrays = [_array(tensors[name]) for name in sources]
        left -= set(sources)
        _put(tree, path, _stacked(arrays, shape=shape))
    if left:
        raise CheckpointError(
            f"The JAX twin has no place for {len(left)} tensor(s): {', '.join(sorted(left)[:4])}.",
            allowed="The parts that config.json names.",
            next_step="Use backend='torch' for these weights.",
        )
    if products is not None:
        tree["language_model"] |= products
    return tree


def tensors_from(tree: Tree, *, config: OslerConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of a tree under Osler's names: the way back of `parameters_from`."""
    for path, sources, shape in _leaves(config):
        value = np.asarray(_get(tree, path))
        if shape:
            rows = value.reshape(-1, *value.shape[len(shape) :])
            # A row of single numbers would otherwise come as numbers, not as arrays.
            yield from ((name, rows[number, ...]) for number, name in enumerate(sources))
        else:
            yield sources[0], value


def _leaves(config: OslerConfig) -> Iterator[tuple[Path, tuple[str, ...], tuple[int, ...]]]:
    """Yields each leaf's path in the tree, the names of the tensors that it is made of, in order, and how they stack.

    The last is the shape of the leading axes, ``()`` for a leaf that is one tensor.
    """
    plain = _PLAIN | (_VISION_PLAIN if config.vision is not None else {})
    yield from ((path, (name,), ()) for path, name in plain.items())
    for path, names in decoder_leaves(config.decoder):
        sources = tuple(f"language_model.{name}" for name in names)
        yield ("language_model", "layers", *path), sources, _shape(path[:-1], config=config, count=len(sources))
    for leaf in _VISION_LAYER if config.vision is not None else ():
        layers = range(config.vision.layers) if config.vision is not None else ()
        yield (
            ("vision_tower", "layers", leaf),
            tuple(f"vision_tower.encoder.layers.{layer}.{leaf}" for layer in layers),
            (len(layers),),
        )
    yield from _leaves_of_parts(config)


def decoder_leaves(config: DecoderConfig) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yields the path of each leaf among the decoder's layers, and the decoder's own names of its tensors, in order."""
    for leaf, name in _DECODER_LAYER.items():
        if leaf in _QK_NORMS and config.qk_norm == "none":
            continue
        for group, layers in _layer_groups(config).items():
            yield (*group, leaf), tuple(f"layers.{layer}.{name}" for layer in layers)


def _leaves_of_parts(config: OslerConfig) -> Iterator[tuple[Path, tuple[str, ...], tuple[int, ...]]]:
    """The same for the parts that Osler adds, whose names are those of `osler.model`; layers are stacked."""
    stacks: dict[Path, dict[int, str]] = {}
    for name in empty_network(config).state_dict():
        part, _, rest = name.partition(".")
        if part not in _PARTS:
            continue
        before, layers, after = rest.rpartition("layers.")
        number, _, leaf = after.partition(".")
        if layers and number.isdecimal():
            path = (part, *before.split(".")[:-1], "layers", leaf)
            stacks.setdefault(path, {})[int(number)] = name
        else:
            yield (part, rest), (name,), ()
    for path, names in stacks.items():
        yield path, tuple(names[number] for number in sorted(names)), (len(names),)


def _layer_groups(config: DecoderConfig) -> dict[tuple[str, ...], list[int]]:
    """Sorts layers into sliding and global ones of whole periods, and the sliding ones that are left."""
    whole = config.layers // config.global_every * config.global_every
    groups = {
        ("periods", "sliding"): [i for i in range(whole) if config.kind(i) == "sliding"],
        ("periods", "global"): [i for i in range(whole) if config.kind(i) == "global"],
        ("rest",): list(range(whole, config.layers)),
    }
    return {name: layers for name, layers in groups.items() if layers}


def _shape(group: Path, *, config: OslerConfig, count: int) -> tuple[int, ...]:
    """Leading axes of the weights of a group of the decoder's layers."""
    if group == ("periods", "sliding"):
        within = config.decoder.global_every - 1
        return (max(1, count // within), within)
    return (count,)


def _stacked(arrays: list[np.ndarray], *, shape: tuple[int, ...]) -> jax.Array:
    if not shape:
        return put(arrays[0].copy())
    return put(np.stack(arrays).reshape(*shape, *arrays[0].shape))


def _array(tensor: Tensor) -> np.ndarray:
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return plain.numpy()


def _put(tree: Tree, path: tuple[str, ...], value: jax.Array) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _get(tree: Tree, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree
