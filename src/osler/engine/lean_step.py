"""A few tokens of one row through a packed decoder, with little between the kernels.

A token of a small decoder takes so little time in the matrix products that what
PyTorch and Python spend around them counts. This path takes the same steps as
`osler.model.decoder` on the same packed weights, and leaves out what one token
of one row does not need: modules, masks, heads apart from each other. Norms
take their factor through a dot product: one pass over the stream.

Tokens that go together share the products that give each what it gets alone
(`osler.engine.row_products`). Whatever adds numbers up elsewhere, or approximates
a function, is called for one token at a time: PyTorch cuts a longer input into
other parts.

Legend: L tokens, D width, J heads of queries, keys and values, N query heads, K key
heads, G = N / K, H width of a head, F width of the MLP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from osler.engine.kv_cache import KVCache
from osler.engine.row_products import Product, Trial, each_alone, scores_alone
from osler.model.config import LayerKind
from osler.model.decoder import Decoder, DecoderLayer
from osler.model.pack import PackedAttention, PackedMLP, PackedNorm
from osler.model.rope import rotary_table
from osler.quant.prompt import PromptLayer

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
    """Runs a few tokens of one row.

    Args:
        decoder: A packed decoder for which `fits` is true.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        trials: dict[torch.Size, Trial] = {}
        self._layers = [_layer(layer, trials=trials) for layer in decoder.layers]
        self._norm_D = decoder.norm.scale_D
        self._scale = decoder.config.query_scalar**-0.5
        self.logits = scores_alone(decoder)

    @staticmethod
    def fits(decoder: Decoder) -> bool:
        """Whether every part of a decoder is one that this path knows."""
        return (
            decoder.config.attention_softcap is None
            and decoder.device.type == "cpu"
            and all(
                type(layer) in (DecoderLayer, PromptLayer)
                and dict(layer.named_children()).keys() == _CHILDREN.keys()
                and all(isinstance(child, _CHILDREN[name]) for name, child in layer.named_children())
                for layer in decoder.layers
            )
        )

    def hidden(self, token_ids_L: torch.Tensor, *, cache: KVCache) -> torch.Tensor:
        """Adds tokens to a cache of one row without padding.

        Args:
            token_ids_L: At most `FEW_ROWS`.

        Returns:
            The hidden states after the last norm, (L, D).
        """
        config = self._decoder.config
        x_LD = self._decoder.embed(token_ids_L)
        rotations = rotations_from(self._decoder, start=cache.length, count=len(token_ids_L))
        for layer in self._layers:
            x_LD = self._run(layer, x_LD, rotation=rotations[layer.kind], cache=cache)
        return _rms_norm(x_LD, self._norm_D, eps=config.norm_eps)

    def _run(
        self, layer: _Layer, x_LD: torch.Tensor, *, rotation: tuple[torch.Tensor, torch.Tensor], cache: KVCache
    ) -> torch.Tensor:
        eps = self._decoder.config.norm_eps
        before_attention, after_attention, before_mlp, after_mlp = layer.norms
        qkv_LE = layer.qkv(_rms_norm(x_LD, before_attention, eps=eps))
        found = [
            self._attend(
                layer, qkv_LE[i : i + 1], rotation=(rotation[0][i : i + 1], rotation[1][i : i + 1]), cache=cache
            )
            for i in range(len(x_LD))
        ]
        x_LD = x_LD + _rms_norm(layer.out(_joined(found)), after_attention, eps=eps)
        gates_LF, ups_LF = layer.gate_up(_rms_norm(x_LD, before_mlp, eps=eps)).chunk(2, -1)
        gated = [
            F.gelu(gate_1F, approximate="tanh").mul_(up_1F)
            for gate_1F, up_1F in zip(gates_LF.split(1), ups_LF.split(1), strict=True)
        ]
        return x_LD + _rms_norm(layer.down(_joined(gated)), after_mlp, eps=eps)

    def _attend(
        self, layer: _Layer, qkv_1E: torch.Tensor, *, rotation: tuple[torch.Tensor, torch.Tensor], cache: KVCache
    ) -> torch.Tensor:
        """Adds the key and the value of one token to the cache; returns what its queries gather, (1, N H)."""
        config = self._decoder.config
        N, K, H = layer.heads, config.kv_heads, config.head_dim
        heads_JH = qkv_1E.view(-1, H)
        qk = heads_JH[: N + K]
        if layer.qk_scale is not None:
            qk = F.rms_norm(qk.float(), (H,), None, config.norm_eps).mul_(layer.qk_scale).to(qkv_1E.dtype)
        cos, sin = rotation
        qk = (qk * cos).add_(qk.roll(H // 2, -1).mul_(sin))
        k_1KSH, v_1KSH, _ = cache.update(layer.index, qk[N:].view(1, K, 1, H), heads_JH[N + K :].view(1, K, 1, H))
        # The G query heads of a key head are rows of one product: its keys are read once.
        out_1KGH = F.scaled_dot_product_attention(qk[:N].view(1, K, N // K, H), k_1KSH, v_1KSH, scale=self._scale)
        return out_1KGH.reshape(1, N * H)


def rotations_from(decoder: Decoder, *, start: int, count: int) -> dict[LayerKind, tuple[torch.Tensor, torch.Tensor]]:
    """Returns cosines and signed sines of positions from ``start`` on, each (L, H), for each kind of layer."""
    config = decoder.config

    def rotation(theta: float, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        found = [
            rotary_table(
                torch.full((1, 1), position), head_dim=config.head_dim, theta=theta, scale=scale, dtype=decoder.dtype
            )
            for position in range(start, start + count)
        ]
        cosines, sines = zip(*found, strict=True)
        return _joined(cosines).view(count, config.head_dim), _joined(sines).view(count, config.head_dim)

    return {
        "sliding": rotation(config.rope_theta_sliding, 1.0),
        "global": rotation(config.rope_theta, config.rope_scale),
    }


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _layer(layer: DecoderLayer, *, trials: dict[torch.Size, Trial]) -> _Layer:
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
        qkv=each_alone(attention.qkv_proj, trials=trials),
        out=each_alone(attention.o_proj, trials=trials),
        gate_up=each_alone(mlp.gate_up_proj, trials=trials),
        down=each_alone(mlp.down_proj, trials=trials),
    )


def _rms_norm(x_LD: torch.Tensor, scale_D: torch.Tensor, *, eps: float) -> torch.Tensor:
    wide_LD = x_LD.float()
    factors = [1.0 / math.sqrt(torch.dot(row_D, row_D).item() / row_D.numel() + eps) for row_D in wide_LD]
    factor_L1 = factors[0] if len(factors) == 1 else torch.tensor(factors)[:, None]
    return (wide_LD * factor_L1).mul_(scale_D).to(x_LD.dtype)
