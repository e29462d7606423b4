"""One token of one row through a packed decoder, with little between the kernels.

A token of a small decoder takes so little time in the matrix products that what
PyTorch and Python spend around them counts. This path takes the same steps as
`osler.model.decoder` on the same packed weights, and leaves out what one token
of one row does not need: modules, masks, heads apart from each other. Norms
take their factor through a dot product: one pass over the stream.

Legend: D width, J heads of queries, keys and values, N query heads, K key
heads, G = N / K, H width of a head, F width of the MLP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from osler.engine.kv_cache import KVCache
from osler.model.config import LayerKind
from osler.model.decoder import Decoder, DecoderLayer
from osler.model.pack import PackedAttention, PackedMLP, PackedNorm
from osler.model.rope import rotary_table

Product = Callable[[torch.Tensor], torch.Tensor]

_CHILDREN = {
    "input_layernorm": PackedNorm,
    "self_attn": PackedAttention,
    "post_attention_layernorm": PackedNorm,
    "pre_feedforward_layernorm": PackedNorm,
    "mlp": PackedMLP,
    "post_feedforward_layernorm": PackedNorm,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What a step needs of a layer; ``norms`` in the order in which they apply."""

    index: int
    kind: LayerKind
    heads: int
    qk_scale: torch.Tensor | None
    norms: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    qkv: Product
    out: Product
    gate_up: Product
    down: Product


class LeanStep:
    """Runs single tokens.

    Args:
        decoder: A packed decoder for which `fits` is true.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._layers = [_layer(layer) for layer in decoder.layers]
        self._norm_D = decoder.norm.scale_D
        self._scale = decoder.config.query_scalar**-0.5

    @staticmethod
    def fits(decoder: Decoder) -> bool:
        """Whether every part of a decoder is one that this path knows."""
        return (
            decoder.config.attention_softcap is None
            and decoder.device.type == "cpu"
            and all(
                type(layer) is DecoderLayer
                and {name: type(child) for name, child in layer.named_children()} == _CHILDREN
                for layer in decoder.layers
            )
        )

    def hidden(self, token_id: torch.Tensor, *, cache: KVCache) -> torch.Tensor:
        """Adds one token to a cache of one row without padding.

        Args:
            token_id: (1,).

        Returns:
            The hidden state after the last norm, (1, D).
        """
        config = self._decoder.config
        x_1D = self._decoder.embed(token_id)
        rotations = single_rotations(self._decoder, position=cache.length)
        for layer in self._layers:
            x_1D = self._run(layer, x_1D, rotation=rotations[layer.kind], cache=cache)
        return _rms_norm(x_1D, self._norm_D, eps=config.norm_eps)

    def _run(
        self, layer: _Layer, x_1D: torch.Tensor, *, rotation: tuple[torch.Tensor, torch.Tensor], cache: KVCache
    ) -> torch.Tensor:
        config = self._decoder.config
        N, K, H, eps = layer.heads, config.kv_heads, config.head_dim, config.norm_eps
        before_attention, after_attention, before_mlp, after_mlp = layer.norms
        heads_JH = layer.qkv(_rms_norm(x_1D, before_attention, eps=eps)).view(-1, H)
        qk = heads_JH[: N + K]
        if layer.qk_scale is not None:
            qk = F.rms_norm(qk.float(), (H,), None, eps).mul_(layer.qk_scale).to(x_1D.dtype)
        cos, sin = rotation
        qk = (qk * cos).add_(qk.roll(H // 2, -1).mul_(sin))
        k_1KSH, v_1KSH, _ = cache.update(layer.index, qk[N:].view(1, K, 1, H), heads_JH[N + K :].view(1, K, 1, H))
        # The G query heads of a key head are rows of one product: its keys are read once.
        out_1KGH = F.scaled_dot_product_attention(qk[:N].view(1, K, N // K, H), k_1KSH, v_1KSH, scale=self._scale)
        x_1D = x_1D + _rms_norm(layer.out(out_1KGH.reshape(1, N * H)), after_attention, eps=eps)
        gate_1F, up_1F = layer.gate_up(_rms_norm(x_1D, before_mlp, eps=eps)).chunk(2, -1)
        update_1D = layer.down(F.gelu(gate_1F, approximate="tanh").mul_(up_1F))
        return x_1D + _rms_norm(update_1D, after_mlp, eps=eps)


def single_rotations(decoder: Decoder, *, position: int) -> dict[LayerKind, tuple[torch.Tensor, torch.Tensor]]:
    """Returns cosines and signed sines of one position, each (1, H), for each kind of layer."""
    config, position_11 = decoder.config, torch.full((1, 1), position)

    def rotation(theta: float, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = rotary_table(position_11, head_dim=config.head_dim, theta=theta, scale=scale, dtype=decoder.dtype)
        return cos.view(1, config.head_dim), sin.view(1, config.head_dim)

    return {
        "sliding": rotation(config.rope_theta_sliding, 1.0),
        "global": rotation(config.rope_theta, config.rope_scale),
    }


def _layer(layer: DecoderLayer) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    assert isinstance(attention, PackedAttention)
    assert isinstance(mlp, PackedMLP)
    scale = attention.norm_scale
    return _Layer(
        index=attention.index,
        kind=attention.kind,
        heads=attention.heads[0],
        qk_scale=None if scale is None else scale.view(-1, attention.head_dim),
        norms=(
            layer.input_layernorm.scale_D,
            layer.post_attention_layernorm.scale_D,
            layer.pre_feedforward_layernorm.scale_D,
            layer.post_feedforward_layernorm.scale_D,
        ),
        qkv=attention.qkv_proj.forward,
        out=attention.o_proj.forward,
        gate_up=mlp.gate_up_proj.forward,
        down=mlp.down_proj.forward,
    )


def _rms_norm(x_1D: torch.Tensor, scale_D: torch.Tensor, *, eps: float) -> torch.Tensor:
    wide_1D = x_1D.float()
    flat_D = wide_1D.view(-1)
    factor = 1.0 / math.sqrt(torch.dot(flat_D, flat_D).item() / flat_D.numel() + eps)
    return (wide_1D * factor).mul_(scale_D).to(x_1D.dtype)
