"""Quantized networks for JAX, layer by layer (twin of `osler.quant.network`).

What `osler.quant` quantizes or opens is laid into one array for all layers of
a kind, without a floating copy: the most memory is that of the codes and of
one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from torch import Tensor

from osler.errors import CheckpointError
from osler.jax.arrays import put
from osler.jax.kernels import Kernels
from osler.jax.packed import MixedStack, PackedStack
from osler.jax.stacks import aligned, layers_by_kind, products_of_a_layer
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.quant.formats import LANES
from osler.quant.network import NetworkContent, PackedParts, part_names, product_tensors
from osler.quant.packed import PackedWeight
from osler.quant.plan import EMBEDDING
from osler.weights.assemble import empty_network

Tree = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class PackedTensors:
    """Takes the place of `osler.quant.network.packed_network`, and keeps what JAX needs.

    Args:
        kernels: What multiplies; ``None`` for XLA.
        products: Filled in: the packed products, see `packed_products`.
        tensors: Filled in: all other tensors under Osler's names.
    """

    kernels: Kernels | None
    products: Tree = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, content: NetworkContent) -> Osler:
        """Returns a network that has shapes and no storage."""
        config = content.config
        model = empty_network(config)
        taken = product_tensors(config)
        self.tensors = {name: content.widened(name) for name in model.state_dict() if name not in taken}
        self.products = packed_products(config, parts=content.parts, kernels=self.kernels)
        return model


def packed_products(config: OslerConfig, *, parts: PackedParts, kernels: Kernels | None) -> Tree:
    """Lays the packed products of a decoder into stacks.

    Args:
        parts: Gives the packed weights of each product; asked once for each.
        kernels: What multiplies; ``None`` for XLA.

    Returns:
        ``embed_tokens``, and ``packed`` with a stack for each product of each kind of layer, which
        `osler.jax.decoder` reads by the number of a layer among its kind.

    Raises:
        CheckpointError: If products are stored in parts that cannot be told apart.
    """
    (table,) = parts(EMBEDDING)
    tree: Tree = {"embed_tokens": stacked([table], kernels=kernels), "packed": {}}
    for kind, layers in layers_by_kind(config.decoder).items():
        stacks = tree["packed"][kind] = {}
        for product in products_of_a_layer(config.decoder):
            stacks |= _product_stacks(product, layers=layers, config=config, parts=parts, kernels=kernels)
    return tree


def _product_stacks(
    product: str, *, layers: Sequence[int], config: OslerConfig, parts: PackedParts, kernels: Kernels | None
) -> Tree:
    """Stacks one product of all layers: joined where every layer has it so, else apart under the names of its parts."""
    found = [list(parts(f"language_model.layers.{layer}.{product}")) for layer in layers]
    if all(len(row) == 1 for row in found):
        return {product: stacked([row.pop() for row in found], kernels=kernels)}
    names = [name.removesuffix(".weight") for name in part_names(product)]
    shapes = {name: tuple(value.shape) for name, value in empty_network(config).state_dict().items()}
    sizes = [shapes[f"language_model.layers.{layers[0]}.{name}.weight"][0] for name in names]
    apart = [row if len(row) > 1 else _split(row[0], sizes=sizes, name=product) for row in found]
    return {name: stacked([row[number] for row in apart], kernels=kernels) for number, name in enumerate(names)}


def _split(weight: PackedWeight, *, sizes: Sequence[int], name: str) -> list[PackedWeight]:
    """Takes a joined product apart, which whole blocks of outputs allow."""
    if any(size % LANES for size in sizes[:-1]):
        raise CheckpointError(
            f"Layers store {name!r} in parts of {', '.join(map(str, sizes))} outputs, which are not whole blocks.",
            allowed=f"Multiples of {LANES}.",
            next_step="Use backend='torch' for these weights.",
        )
    parts, start = [], 0
    for size in sizes:
        blocks = slice(start // LANES, -(-(start + size) // LANES))
        offset = None if weight.offset is None else weight.offset[blocks]
        parts.append(replace(weight, rows=size, codes=weight.codes[blocks], scale=weight.scale[blocks], offset=offset))
        start += size
    return parts


def stacked(weights: list[PackedWeight], *, kernels: Kernels | None) -> PackedStack | MixedStack:
    """Stacks the weights of layers, one array for each format; the list is emptied on the way."""
    formats = list(dict.fromkeys(weight.format for weight in weights))
    homes = [formats.index(weight.format) for weight in weights]
    places = [homes[:number].count(home) for number, home in enumerate(homes)]
    stacks = tuple(_uniform([weight for weight in weights if weight.format == form], kernels) for form in formats)
    weights.clear()
    if len(stacks) == 1:
        return stacks[0]
    return MixedStack(stacks=stacks, home=put(np.array(homes, np.int32)), place=put(np.array(places, np.int32)))


def _uniform(weights: Sequence[PackedWeight], kernels: Kernels | None) -> PackedStack:
    first = weights[0]
    return PackedStack(
        format=first.format,
        rows=first.rows,
        columns=first.columns,
        codes=_joined([weight.codes for weight in weights]),
        scale=_joined([weight.scale for weight in weights]),
        offset=None if first.offset is None else _joined([_offset(weight) for weight in weights]),
        kernels=kernels,
    )


def _offset(weight: PackedWeight) -> Tensor:
    assert weight.offset is not None
    return weight.offset


def _joined(tensors: Sequence[Tensor]) -> jax.Array:
    """Copies tensors of one shape into one array, once."""
    plain = tensors[0].numpy()
    whole = aligned((len(tensors), *plain.shape), plain.dtype)
    for number, tensor in enumerate(tensors):
        whole[number] = tensor.numpy()
    return jax.device_put(whole)
