"""The decoder again, for speed on a CPU: fewer, larger kernels on packed weights.

`osler.model.decoder` says what is computed; this computes the same, with the
same roundings, and differs in how:

- query, key and value projections are one matrix, gate and up another;
- bfloat16 weights are repacked once into oneDNN's blocked layout, in which a
  matrix-vector product reads memory at 90% of its speed instead of 60%
  (`benchmarks/decode_270m.md`); the results are equal to the bit;
- norms scale by a float32 vector made once; rotations come from a table made
  once per pass; queries that share a key head are rows of one product.

Anything that it does not know (soft-caps, other devices) goes through the model.

Legend: B rows, L tokens, D width, N query heads, K key heads, G = N / K, H width
of a head, F width of the MLP, S keys, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F

from osler.engine.device import Choice, has_fast_bfloat16
from osler.engine.kv_cache import KVCache
from osler.model.attention import attend
from osler.model.decoder import Decoder, DecoderLayer, ForwardStep

Packing = Literal["packed", "plain"]
Product = Callable[[torch.Tensor], torch.Tensor]

_MOST_AUTO_BYTES = 2 << 30


def choose_packing(decoder: Decoder, *, available: int) -> Choice[Packing]:
    """Decides whether a second, packed copy of the weights is worth its memory.

    Args:
        available: Free memory, bytes.
    """
    weight = decoder.embed_tokens.weight
    size = sum(parameter.nbytes for parameter in decoder.parameters())
    if decoder.config.attention_softcap is not None:
        return Choice("plain", "soft-capped attention has no fast path")
    if weight.device.type != "cpu":
        return Choice("plain", f"the weights are on {weight.device.type}")
    if weight.dtype != torch.bfloat16 or not has_fast_bfloat16():
        return Choice("plain", f"no packed kernels for {str(weight.dtype).removeprefix('torch.')} on this CPU")
    if size > _MOST_AUTO_BYTES or size > available // 2:
        return Choice("plain", f"a packed copy would take another {size / 2**30:.1f} GiB")
    return Choice("packed", f"bfloat16 weights of {size / 2**20:.0f} MiB on a CPU with bfloat16 kernels")


class FastDecoder:
    """Computes hidden states and logits from packed copies of a decoder's weights.

    Args:
        decoder: Whose weights are copied; its embedding is shared.
    """

    def __init__(self, decoder: Decoder) -> None:
        if decoder.config.attention_softcap is not None:
            raise ValueError("soft-capped attention has no fast path")
        self._decoder = decoder
        self._layers = [_FastLayer(layer) for layer in decoder.layers]
        self._norm_D = _scale(decoder.norm.weight)
        self._head = _product([decoder.embed_tokens.weight])

    def forward(
        self,
        x_BLD: torch.Tensor,
        *,
        positions_BL: torch.Tensor,
        cache: KVCache,
        image_blocks_BL: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Runs all layers; the same as `Decoder.forward` with a cache.

        Returns:
            Hidden states after the last norm, (B, L, D).
        """
        step = ForwardStep(
            config=self._decoder.config,
            positions_BL=positions_BL,
            cache=cache,
            image_blocks_BL=image_blocks_BL,
            padding_BL=None,
            dtype=x_BLD.dtype,
        )
        for layer in self._layers:
            x_BLD = layer.forward(x_BLD, step=step)
        return _rms_norm(x_BLD, self._norm_D, eps=self._decoder.config.norm_eps)

    def logits(self, hidden_BLD: torch.Tensor) -> torch.Tensor:
        """Scores the vocabulary, (B, L, V); the same as `Decoder.logits`."""
        logits_BLV = self._head(hidden_BLD)
        cap = self._decoder.config.logit_softcap
        return logits_BLV if cap is None else torch.tanh(logits_BLV / cap) * cap


class _FastLayer:
    def __init__(self, layer: DecoderLayer) -> None:
        attention = layer.self_attn
        self.index, self.kind = attention.index, attention.kind
        self.head_dim, self.attention_scale = attention.head_dim, attention.scale
        self.kv_heads = attention.k_proj.out_features // self.head_dim
        self.heads = attention.q_proj.out_features // self.head_dim
        self.eps = layer.input_layernorm.eps
        self.norms_D = [
            _scale(norm.weight)
            for norm in (
                layer.input_layernorm,
                layer.post_attention_layernorm,
                layer.pre_feedforward_layernorm,
                layer.post_feedforward_layernorm,
            )
        ]
        self.qk_scale_NH: torch.Tensor | None = None
        if attention.q_norm is not None and attention.k_norm is not None:
            q_H, k_H = _scale(attention.q_norm.weight), _scale(attention.k_norm.weight)
            self.qk_scale_NH = torch.stack([q_H] * self.heads + [k_H] * self.kv_heads)
        self.qkv = _product([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        self.out = _product([attention.o_proj.weight])
        self.gate_up = _product([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight])
        self.down = _product([layer.mlp.down_proj.weight])

    def forward(self, x_BLD: torch.Tensor, *, step: ForwardStep) -> torch.Tensor:
        before_attention, after_attention, before_mlp, after_mlp = self.norms_D
        update_BLD = self._attention(_rms_norm(x_BLD, before_attention, eps=self.eps), step=step)
        x_BLD = x_BLD + _rms_norm(update_BLD, after_attention, eps=self.eps)
        gate_BLF, up_BLF = self.gate_up(_rms_norm(x_BLD, before_mlp, eps=self.eps)).chunk(2, dim=-1)
        update_BLD = self.down(F.gelu(gate_BLF, approximate="tanh").mul_(up_BLF))
        return x_BLD + _rms_norm(update_BLD, after_mlp, eps=self.eps)

    def _attention(self, x_BLD: torch.Tensor, *, step: ForwardStep) -> torch.Tensor:
        B, L, _ = x_BLD.shape
        heads = self.qkv(x_BLD).view(B, L, -1, self.head_dim)
        qk, v_BLKH = heads[:, :, : self.heads + self.kv_heads], heads[:, :, self.heads + self.kv_heads :]
        if self.qk_scale_NH is not None:
            unit = F.rms_norm(qk.float(), (self.head_dim,), None, self.eps)
            qk = unit.mul_(self.qk_scale_NH).to(x_BLD.dtype)
        cos_B1LH, sin_B1LH = step.rotations[self.kind]
        cos, sin = cos_B1LH.transpose(1, 2), sin_B1LH.transpose(1, 2)
        qk = (qk * cos).add_(qk.roll(self.head_dim // 2, dims=-1).mul_(sin)).transpose(1, 2)
        q_BNLH, k_BKLH = qk[:, : self.heads], qk[:, self.heads :]
        assert step.cache is not None
        k_BKSH, v_BKSH, keys_BS = step.cache.update(self.index, k_BKLH, v_BLKH.transpose(1, 2))
        view = step.view(self.kind, keys=k_BKSH.shape[2], keys_BS=keys_BS)
        if L > 1:
            out_BNLH = attend(q_BNLH, k_BKSH=k_BKSH, v_BKSH=v_BKSH, view=view, scale=self.attention_scale, softcap=None)
            return self.out(out_BNLH.transpose(1, 2).reshape(B, L, -1))
        # One query: the G heads that share keys become rows, so that the keys are read once for all of them.
        out_BKGH = F.scaled_dot_product_attention(
            q_BNLH.reshape(B, self.kv_heads, -1, self.head_dim),
            k_BKSH,
            v_BKSH,
            attn_mask=None if view is None else view.mask(slice(0, 1), slice(0, k_BKSH.shape[2])),
            scale=self.attention_scale,
        )
        return self.out(out_BKGH.reshape(B, 1, -1))


def _product(weights: Sequence[torch.Tensor]) -> Product:
    """Packs matrices with a common input into one product."""
    weight = weights[0].detach() if len(weights) == 1 else torch.cat([weight.detach() for weight in weights])
    if weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and has_fast_bfloat16():
        blocked = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1)
        return partial(_blocked_linear, blocked=blocked)
    return partial(F.linear, weight=weight)


def _blocked_linear(x: torch.Tensor, *, blocked: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, blocked, None, "none", [], "")


def _scale(weight: torch.Tensor) -> torch.Tensor:
    return 1.0 + weight.detach().float()


def _rms_norm(x: torch.Tensor, scale: torch.Tensor, *, eps: float) -> torch.Tensor:
    return F.rms_norm(x.float(), scale.shape, scale, eps).to(x.dtype)
