"""Networks with packed weights: quantized from a source, or opened from stored ones.

Layer after layer is quantized and put into a network that has no storage of
its own, so the most memory is that of the packed weights and a few rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.model.pack import fuse
from osler.progress import Progress
from osler.quant.formats import LANES, WeightFormat, parse_format
from osler.quant.kernels import Kernels
from osler.quant.linear import JoinedLinear, QuantEmbedding, QuantLinear, WidenedLinear
from osler.quant.packed import PackedWeight, dequantize, quantize_rows
from osler.quant.plan import EMBEDDING, QuantPlan, products
from osler.quant.prompt import fuse_prompt
from osler.quant.repack import repack, repacked_format
from osler.quant.source import WeightSource
from osler.weights.assemble import check_tensors, empty_network

_PARTS = {
    "self_attn.qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "mlp.gate_up_proj": ("gate_proj", "up_proj"),
}


class PackedParts(Protocol):
    """Gives the packed parts of a product: one, or several side by side."""

    def __call__(self, name: str) -> Sequence[PackedWeight]:
        """Returns the parts of a product, by its name in the plan."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkContent:
    """What a network with packed products is built from.

    Args:
        config: Of the network.
        parts: Gives the packed weights of each product and matrix of the plan.
        tensor: Gives every other tensor, by its name.
        matrices: Beside the decoder, that are packed.
        dtype: Of the activations. kernels: What computes.
    """

    config: OslerConfig
    parts: PackedParts
    tensor: Callable[[str], Tensor]
    matrices: frozenset[str]
    dtype: torch.dtype
    kernels: Kernels

    def widened(self, name: str) -> Tensor:
        """Returns a tensor that belongs to no product of the decoder, in floating point however it is stored."""
        layer = name.removesuffix(".weight")
        if layer not in self.matrices or layer == name:
            return self.tensor(name)
        (weight,) = self.parts(layer)
        return dequantize(weight).to(self.dtype)


Assemble = Callable[[NetworkContent], Osler]
"""Builds a network, as `packed_network` does."""


def quantized_network(
    source: WeightSource, *, config: OslerConfig, plan: QuantPlan, dtype: torch.dtype, kernels: Kernels, name: str,
    assemble: Assemble | None = None, on_progress: Progress | None = None,
) -> Osler:  # fmt: skip
    """Quantizes a network as it is read.

    Args:
        source: The float weights. config: Of the network.
        plan: Formats; GGUF blocks that fit into as many bits keep their codes instead.
        dtype: Of the activations and of what is not quantized.
        kernels: What computes.
        name: For messages.
        assemble: Builds the network; `packed_network` if not given.
        on_progress: Called with ``"quantize"``, products done, products in all.

    Raises:
        CheckpointError: If tensors are missing, extra or misshapen, or cannot be quantized.
    """
    check_source(source, config=config, name=name)
    done = 0

    def parts(product: str) -> Sequence[PackedWeight]:
        nonlocal done
        packed = pack_product(source, product, plan=plan)
        done += 1
        if on_progress is not None:
            on_progress("quantize", done, len(plan.formats))
        return packed

    build = assemble or packed_network
    return build(
        NetworkContent(
            config=config,
            parts=parts,
            tensor=lambda entry: source.tensor(entry, dtype=dtype),
            matrices=frozenset(plan.matrices),
            dtype=dtype,
            kernels=kernels,
        )
    )


def packed_network(content: NetworkContent) -> Osler:
    """Builds a network around packed products."""
    config, kernels = content.config, content.kernels
    model = empty_network(config)
    for name in content.matrices:
        plain, (weight,) = model.get_submodule(name), content.parts(name)
        bias = None if plain.bias is None else content.tensor(f"{name}.bias")
        model.set_submodule(name, WidenedLinear(weight, kernels=kernels, bias=bias))
    taken = product_tensors(config)
    state = {name: content.tensor(name) for name in model.state_dict() if name not in taken}
    model.load_state_dict(state, strict=False, assign=True)

    def join(name: str, layers: Sequence[nn.Linear]) -> nn.Module:
        products = [QuantLinear(part, kernels=kernels) for part in content.parts(f"language_model.{name}")]
        return products[0] if len(products) == 1 else JoinedLinear(products)

    (table,) = content.parts(EMBEDDING)
    model.decoder.embed_tokens = QuantEmbedding(table, kernels=kernels, dtype=content.dtype)
    model.decoder.head = QuantLinear(table, kernels=kernels)
    fuse(model.decoder, join=join)
    fuse_prompt(model.decoder, kernels=kernels)
    return model.requires_grad_(False).eval()


def move_network(model: Osler, *, device: torch.device) -> Osler:
    """Moves a network with packed weights to a device, in place; what two layers share stays shared.

    Args:
        model: Whose products are PyTorch's (`TorchKernels`): compiled ones run on the CPU only.
        device: Where to.
    """
    moved: dict[int, PackedWeight] = {}
    for module in model.modules():
        if isinstance(module, QuantLinear | QuantEmbedding):
            number = id(module.weight)
            if number not in moved:
                moved[number] = module.weight.to(device)
            module.place(moved[number])
    return model.to(device)


def pack_product(source: WeightSource, product: str, *, plan: QuantPlan) -> list[PackedWeight]:
    """Quantizes the tensors of one product: as one weight, or apart where their formats differ."""
    wanted = plan.format(product)
    assert wanted is not None, product
    tensors, shapes = part_names(product), source.shapes()
    kept = [_kept_format(source, tensor, wanted=wanted) for tensor in tensors]
    if all(form is None for form in kept):
        return [_quantize_joined(source, tensors, shapes=shapes, form=wanted, name=product)]
    packed = []
    for tensor, form in zip(tensors, kept, strict=True):
        blocks = source.blocks(tensor)
        if form is None or blocks is None:
            packed.append(_quantize_joined(source, [tensor], shapes=shapes, form=wanted, name=product))
        else:
            packed.append(repack(*blocks))
    return [_joined(packed)] if len(planned_parts(source, product, plan=plan)) == 1 else packed


def planned_parts(source: WeightSource, product: str, *, plan: QuantPlan) -> list[WeightFormat]:
    """Returns the formats of what `pack_product` will give, without reading weights."""
    wanted = plan.format(product)
    assert wanted is not None, product
    tensors, shapes = part_names(product), source.shapes()
    kept = [_kept_format(source, tensor, wanted=wanted) for tensor in tensors]
    formats = [wanted if form is None else form for form in kept]
    whole = all(shapes[tensor][0] % LANES == 0 for tensor in tensors[:-1])
    apart = any(kept) and (not whole or any(form != formats[0] for form in formats))
    return formats if apart else formats[:1]


def keeps_blocks(source: WeightSource, product: str, *, plan: QuantPlan) -> bool:
    """Whether `pack_product` will keep the codes of GGUF blocks, of one part of the product at least."""
    wanted = plan.format(product)
    assert wanted is not None, product
    return any(_kept_format(source, tensor, wanted=wanted) for tensor in part_names(product))


def part_names(product: str) -> list[str]:
    """Returns the names of the tensors that a product joins."""
    stem, _, last = product.rpartition(".")
    joined = _PARTS.get(".".join(product.split(".")[-2:]), (last,))
    return [f"{stem}.{part}.weight" for part in joined]


def product_tensors(config: OslerConfig) -> frozenset[str]:
    """Returns the names of all tensors that products take up."""
    return frozenset(name for product, _, _ in products(config.decoder) for name in part_names(product))


def check_source(source: WeightSource, *, config: OslerConfig, name: str) -> None:
    """Refuses a source whose tensors are not those of the network.

    Raises:
        CheckpointError: Lists what differs.
    """
    wanted = {entry: tuple(value.shape) for entry, value in empty_network(config).state_dict().items()}
    check_tensors(wanted=wanted, found=source.shapes(), source=name)


def _kept_format(source: WeightSource, tensor: str, *, wanted: WeightFormat) -> WeightFormat | None:
    """The format in which the blocks of a GGUF tensor can be kept, if they take no more bits than wanted."""
    blocks = source.blocks(tensor)
    if blocks is None:
        return None
    file, name = blocks
    found = repacked_format(file.tensor(name).format.name, bits=wanted.bits)
    return None if found is None else parse_format(found)


def _quantize_joined(
    source: WeightSource,
    tensors: Sequence[str],
    *,
    shapes: dict[str, tuple[int, ...]],
    form: WeightFormat,
    name: str,
) -> PackedWeight:
    counts = [shapes[tensor][0] for tensor in tensors]

    def read(start: int, stop: int) -> Tensor:
        pieces, first = [], 0
        for tensor, count in zip(tensors, counts, strict=True):
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high:
                pieces.append(source.rows(tensor, low, high))
            first += count
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    return quantize_rows(read, rows=sum(counts), columns=shapes[tensors[0]][1], form=form, name=name)


def _joined(parts: Sequence[PackedWeight]) -> PackedWeight:
    if len(parts) == 1:
        return parts[0]
    offsets = [part.offset for part in parts if part.offset is not None]
    return replace(
        parts[0],
        rows=sum(part.rows for part in parts),
        codes=torch.cat([part.codes for part in parts]),
        scale=torch.cat([part.scale for part in parts]),
        offset=torch.cat(offsets) if offsets else None,
    )
