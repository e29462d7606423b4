"""A few tokens of one row through a packed decoder, by the compiled kernels alone.

As `osler.engine.lean_step`, whose roundings it shares, without PyTorch between
the products: they cost one call.

Legend: L tokens, D width, K key heads, H width of a head.
"""

from __future__ import annotations

import torch

from osler.engine.kv_cache import KVCache
from osler.engine.lean_step import LeanStep, rotations_from
from osler.engine.row_products import scores_alone
from osler.model.config import LayerKind
from osler.model.decoder import Decoder, DecoderLayer
from osler.model.pack import PackedAttention, PackedMLP
from osler.quant.token import TokenLayer, TokenRun, native_parts

_KINDS: tuple[LayerKind, LayerKind] = ("sliding", "global")
_WIDEST_HEAD, _LANES = 512, 16


class NativeStep:
    """Runs a few tokens of one row, each with the bits that it gets alone.

    Args:
        decoder: A packed decoder for which `fits` is true.
    """

    def __init__(self, decoder: Decoder) -> None:
        config = decoder.config
        self._decoder = decoder
        self.logits = scores_alone(decoder)
        self._like_1K1H = torch.empty(1, config.kv_heads, 1, config.head_dim, dtype=decoder.dtype)
        layers = [_layer(layer) for layer in decoder.layers]
        self._run = TokenRun(
            layers,
            norm=decoder.norm.scale_D,
            heads=config.heads,
            key_heads=config.kv_heads,
            head_dim=config.head_dim,
            mlp_width=config.mlp_width,
            eps=config.norm_eps,
            scale=config.query_scalar**-0.5,
        )

    @staticmethod
    def fits(decoder: Decoder) -> bool:
        """Whether the kernels can run every part of a decoder."""
        width = decoder.config.head_dim
        return (
            LeanStep.fits(decoder)
            and decoder.dtype == torch.bfloat16
            and width % _LANES == 0
            and width <= _WIDEST_HEAD
            and all(native_parts(product) for layer in decoder.layers for product in _products(layer))
        )

    def hidden(self, token_ids_L: torch.Tensor, *, cache: KVCache) -> torch.Tensor:
        """Adds tokens to a cache of one row without padding.

        Args:
            token_ids_L: At most `FEW_ROWS`.

        Returns:
            The hidden states after the last norm, (L, D).
        """
        x_LD = self._decoder.embed(token_ids_L)
        rotations = rotations_from(self._decoder, start=cache.length, count=len(token_ids_L))
        for number, layer in enumerate(cache.layers):
            place = cache.reserve(number, self._like_1K1H, count=len(token_ids_L))
            keys, values = layer.keys_BKSH, layer.values_BKSH
            assert keys is not None
            assert values is not None
            window = None if layer.keep is None else layer.keep + 1
            self._run.place(number, keys_BKSH=keys, values_BKSH=values, place=place, window=window)
        self._run.run(x_LD, rotations=[rotations[kind] for kind in _KINDS])
        return x_LD


def _products(layer: DecoderLayer) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    attention, mlp = layer.self_attn, layer.mlp
    assert isinstance(attention, PackedAttention)
    assert isinstance(mlp, PackedMLP)
    return attention.qkv_proj, attention.o_proj, mlp.gate_up_proj, mlp.down_proj


def _layer(layer: DecoderLayer) -> TokenLayer:
    attention = layer.self_attn
    assert isinstance(attention, PackedAttention)
    scale = attention.norm_scale
    return TokenLayer(
        products=_products(layer),
        norms=(
            layer.input_layernorm.scale_D,
            layer.post_attention_layernorm.scale_D,
            layer.pre_feedforward_layernorm.scale_D,
            layer.post_feedforward_layernorm.scale_D,
        ),
        qk_scale=None if scale is None else scale.reshape(-1, attention.head_dim).contiguous(),
        rotation=_KINDS.index(attention.kind),
    )
