"""The network on several devices: each holds a share of every product, and of the rows of a batch.

A mesh has two axes. Along ``data`` rows of a batch are shared out, along
``tensor`` the outputs or the inputs of products: queries, keys, values, gate
and up by outputs, the products after them by inputs, so that a layer sums over
devices twice; the embedding by words. XLA's partitioner derives the rest from
where weights and cache lie. What cannot be shared out evenly lies on every
device.

Packed weights are shared out by blocks of outputs: every device multiplies by
its own, with the compiled kernels or with XLA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from osler.errors import RequestError
from osler.jax.dense import DenseStack
from osler.jax.kv_cache import Cache, LayerKeys
from osler.jax.packed import MixedStack, PackedStack

Tree = dict[str, Any]

DATA, TENSOR = "data", "tensor"

_BY_OUTPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "fc1")
_BY_INPUTS = ("o_proj", "down_proj", "out_proj", "fc2")


def make_mesh(*, data: int, tensor: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges devices.

    Args:
        data: Shares of the rows of a batch. tensor: Shares of the products.
        devices: Those to take; all that JAX sees if not given.

    Raises:
        RequestError: If there are not so many devices.
    """
    found = list(jax.devices() if devices is None else devices)
    if data < 1 or tensor < 1 or data * tensor > len(found):
        raise RequestError(
            f"A mesh of {data} x {tensor} devices was asked for, and JAX sees {len(found)}.",
            allowed=f"At least 1 x 1, at most {len(found)} in all.",
            next_step="Ask for fewer; on a CPU XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight.",
        )
    return Mesh(np.array(found[: data * tensor]).reshape(data, tensor), (DATA, TENSOR))


def shard_weights(weights: Tree, *, mesh: Mesh) -> Tree:
    """Moves a tree of weights to the devices of a mesh.

    Args:
        weights: From `osler.jax.parameters`.
    """

    def place(path: tuple[Any, ...], leaf: Any) -> Any:
        if isinstance(leaf, PackedStack):
            return _shard_packed(leaf, mesh=mesh)
        if isinstance(leaf, MixedStack):
            stacks = tuple(_shard_packed(stack, mesh=mesh) for stack in leaf.stacks)
            whole = NamedSharding(mesh, PartitionSpec())
            return replace(
                leaf,
                stacks=stacks,
                home=jax.device_put(leaf.home, whole),
                place=jax.device_put(leaf.place, whole),
            )
        if isinstance(leaf, DenseStack):
            raise RequestError(
                "Weights that are laid out for the kernels of one CPU are not shared out over devices.",
                next_step="Load them in float32: dtype='float32'.",
            )
        name = "/".join(str(key.key) for key in path)
        return jax.device_put(leaf, NamedSharding(mesh, _spec(name, shape=leaf.shape, share=mesh.shape[TENSOR])))

    return jax.tree_util.tree_map_with_path(
        place, weights, is_leaf=lambda leaf: isinstance(leaf, (PackedStack, MixedStack, DenseStack))
    )


def shard_cache(cache: Cache, *, mesh: Mesh) -> Cache:
    """Moves a cache to the devices of a mesh: rows along ``data``, heads along ``tensor``, as far as they divide."""
    rows = DATA if cache.sliding_positions.shape[0] % mesh.shape[DATA] == 0 else None

    def keys(kind: LayerKeys) -> LayerKeys:
        heads = TENSOR if kind.keys.shape[2] % mesh.shape[TENSOR] == 0 else None
        return LayerKeys(*jax.device_put(tuple(kind), NamedSharding(mesh, PartitionSpec(None, rows, heads))))

    positions = (cache.sliding_positions, cache.everything_positions)
    near, far = jax.device_put(positions, NamedSharding(mesh, PartitionSpec(rows)))
    return Cache(keys(cache.sliding), keys(cache.everything), near, far)


def _spec(name: str, *, shape: tuple[int, ...], share: int) -> PartitionSpec:
    """Says along which axis a floating weight is shared out."""
    leaf = name.rpartition("/")[2]
    product = leaf.removesuffix(".weight").rpartition(".")[2]
    if name.endswith("embed_tokens") and shape[0] % share == 0:
        return PartitionSpec(TENSOR)
    if product in _BY_OUTPUTS and shape[-2] % share == 0:
        return PartitionSpec(*[None] * (len(shape) - 2), TENSOR)
    if product in _BY_INPUTS and shape[-1] % share == 0:
        return PartitionSpec(*[None] * (len(shape) - 1), TENSOR)
    return PartitionSpec()


def _shard_packed(stack: PackedStack, *, mesh: Mesh) -> PackedStack:
    even = stack.codes.shape[1] % mesh.shape[TENSOR] == 0
    where = NamedSharding(mesh, PartitionSpec(None, TENSOR) if even else PartitionSpec())
    offset = None if stack.offset is None else jax.device_put(stack.offset, where)
    return replace(
        stack,
        codes=jax.device_put(stack.codes, where),
        scale=jax.device_put(stack.scale, where),
        offset=offset,
        mesh=mesh,
        shares=mesh.shape[TENSOR] if even else 1,
    )
