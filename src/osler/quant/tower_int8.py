"""The image tower by AVX-512 VNNI without tiles: products of stored weights in int8, attention by vectors.

Vectors multiply int8 several times as fast as bfloat16, which older processors
do not have at all, and as float32. So products whose weights are stored in 8 bits
round their activations to int8, with a scale for each 32 of a row, as the
decoder's do; bias and GELU are applied to the sums. All other weights stay with
PyTorch, and so does attention where activations are float32.

Dimensions: B images, P patches, D width, N heads, H width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from osler.model.vision import EncoderLayer, VisionAttention, VisionMLP
from osler.quant.attention import attend, fits_head
from osler.quant.kernels import NativeKernels
from osler.quant.linear import WidenedLinear

_BITS = 8
"""Of weights beside which activations in int8 have a scale for each 32."""


class VectorAttention(VisionAttention):
    """`VisionAttention` whose attention runs on the kernels; takes no gradient."""

    def __init__(self, plain: VisionAttention, *, kernels: NativeKernels) -> None:
        nn.Module.__init__(self)
        self.heads = plain.heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = plain.k_proj, plain.v_proj, plain.q_proj, plain.out_proj
        self._kernels = kernels

    def gather(self, q_BNPH: Tensor, *, k_BNPH: Tensor, v_BNPH: Tensor) -> Tensor:
        """See `VisionAttention.gather`."""
        return attend(self._kernels, q_BNPH, k_BKSH=k_BNPH, v_BKSH=v_BNPH, scale=q_BNPH.shape[-1] ** -0.5)


class StoredMLP(nn.Module):
    """`VisionMLP` with stored weights, whose GELU is part of the first product."""

    def __init__(self, plain: VisionMLP) -> None:
        super().__init__()
        self.fc1, self.fc2 = plain.fc1, plain.fc2

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        return self.fc2(self.fc1.activated(x_BPD, activation="gelu"))


def multiply_in_int8(layers: nn.ModuleList, *, kernels: NativeKernels) -> None:
    """Puts int8 into the products of layers of a tower whose weights are stored in 8 bits, in place.

    Args:
        layers: Of `EncoderLayer`, in evaluation mode, on the CPU.
        kernels: With vectors.
    """
    for product in layers.modules():
        if isinstance(product, WidenedLinear) and product.weight.format.bits == _BITS:
            product.activations = "int8"
    for layer in layers:
        if not isinstance(layer, EncoderLayer):
            continue
        if isinstance(layer.mlp.fc1, WidenedLinear):
            layer.mlp = StoredMLP(layer.mlp)
        if fits_layer(layer):
            layer.self_attn = VectorAttention(layer.self_attn, kernels=kernels)


def fits_layer(layer: EncoderLayer) -> bool:
    """Whether the attention of a layer fits `attend`: in bfloat16, on the CPU, with heads of such a width."""
    scale_D, heads = layer.layer_norm1.weight, layer.self_attn.heads
    head = len(scale_D) // heads
    return (
        scale_D.dtype == torch.bfloat16
        and scale_D.device.type == "cpu"
        and fits_head(head)
        and head * heads == len(scale_D)
    )
