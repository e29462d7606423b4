"""What a prompt needs between its products, on the compiled kernels: norms, heads normalized and rotated, attention.

PyTorch passes over the activations once for each operation, in float32; the
kernels do so once, with the same roundings: the norm before a product together
with the sum that it follows. Attention is theirs where the processor has tiles
(AMX) or AVX-512, with scores that are not rounded. Parameters keep their names.

Dimensions: B batch, L tokens, S keys, D width, N query heads, K key heads,
J = N + 2 K heads of queries, keys and values, H width of a head.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from osler.model.attention import FOLD, KeyView, causal_spans
from osler.model.decoder import Decoder, DecoderLayer, ForwardStep
from osler.model.pack import PackedAttention, PackedNorm
from osler.quant.attention import attend, fits_head
from osler.quant.kernels import Kernels, NativeKernels

_MOST_HEAD, _HEAD_STEP = 512, 16
_NORMS = 4  # of a layer


class HeadsStruct(ctypes.Structure):
    """``OslerHeads`` of ``native/token.h``."""

    _fields_ = (
        ("qkv", ctypes.c_void_p),
        ("qk_scale", ctypes.c_void_p),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("B", ctypes.c_int64),
        ("L", ctypes.c_int64),
        ("turned", ctypes.c_int64),
        ("values", ctypes.c_int64),
        ("head_dim", ctypes.c_int64),
        ("eps", ctypes.c_float),
    )


class NormStruct(ctypes.Structure):
    """``OslerNorm`` of ``native/token.h``."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("M", ctypes.c_int64),
        ("D", ctypes.c_int64),
        ("eps", ctypes.c_float),
        ("then_scale", ctypes.c_void_p),
        ("then", ctypes.c_void_p),
    )


class PromptNorm(PackedNorm):
    """`PackedNorm` on the kernels, where activations are bfloat16."""

    def __init__(self, plain: PackedNorm, *, kernels: NativeKernels) -> None:
        nn.Module.__init__(self)
        self.eps = plain.eps
        self.scale_D = plain.scale_D
        self._kernels = kernels

    def forward(self, x_D: Tensor) -> Tensor:
        """See `PackedNorm`."""
        return self._run(x_D, stream_D=None, then=None)[0] if _on_kernels(x_D) else super().forward(x_D)

    def onto(self, stream_D: Tensor, *, update_D: Tensor) -> Tensor:
        """See `RMSNorm.onto`."""
        if not _fit(stream_D, update_D):
            return super().onto(stream_D, update_D=update_D)
        return self._run(update_D, stream_D=stream_D, then=None)[0]

    def onto_then(self, stream_D: Tensor, *, update_D: Tensor, then: PromptNorm) -> tuple[Tensor, Tensor]:
        """Returns what `onto` does, and the same normalized by another norm."""
        if not _fit(stream_D, update_D) or self.eps != then.eps:
            stream_D = self.onto(stream_D, update_D=update_D)
            return stream_D, then(stream_D)
        return self._run(update_D, stream_D=stream_D, then=then)

    def _run(self, x_D: Tensor, *, stream_D: Tensor | None, then: PromptNorm | None) -> tuple[Tensor, Tensor]:
        x_D = x_D.contiguous()
        stream_D = None if stream_D is None else stream_D.contiguous()
        out_D = torch.empty_like(x_D)
        then_D = out_D if then is None else torch.empty_like(x_D)
        width = x_D.shape[-1]
        self._kernels.norm(
            NormStruct(
                x=x_D.data_ptr(),
                stream=None if stream_D is None else stream_D.data_ptr(),
                scale=self.scale_D.data_ptr(),
                out=out_D.data_ptr(),
                M=x_D.numel() // width,
                D=width,
                eps=self.eps,
                then_scale=None if then is None else then.scale_D.data_ptr(),
                then=None if then is None else then_D.data_ptr(),
            )
        )
        return out_D, then_D


class PromptLayer(DecoderLayer):
    """`DecoderLayer` whose sums and the norms that follow them are computed together.

    Args:
        plain: Whose norms are `PromptNorm`.
        following: The norm that the next layer begins with; ``None`` after the last.
    """

    input_layernorm: PromptNorm
    post_attention_layernorm: PromptNorm
    pre_feedforward_layernorm: PromptNorm
    post_feedforward_layernorm: PromptNorm

    def __init__(self, plain: DecoderLayer, *, following: PromptNorm | None) -> None:
        nn.Module.__init__(self)
        for name, child in plain.named_children():
            setattr(self, name, child)
        self._following = (following,)  # not a part of this layer

    def forward(self, x_BLD: Tensor, *, step: ForwardStep, last_only: bool = False) -> Tensor:
        """See `DecoderLayer`."""
        if step.memory is not None:
            x_BLD = step.memory.read(x_BLD, layer=self.self_attn.index)
        known, step.normalized = step.normalized, None
        if known is None or known[0] is not x_BLD or known[1] is not self.input_layernorm:
            normed_BLD = self.input_layernorm(x_BLD)
        else:
            normed_BLD = known[2]
        del known
        update_BLD = self.self_attn(normed_BLD, step=step)
        if last_only:
            x_BLD, update_BLD = x_BLD[:, -1:], update_BLD[:, -1:]
        x_BLD, normed_BLD = self.post_attention_layernorm.onto_then(
            x_BLD, update_D=update_BLD, then=self.pre_feedforward_layernorm
        )
        update_BLD = self.mlp(normed_BLD)
        following = self._following[0]
        if following is None:
            return self.post_feedforward_layernorm.onto(x_BLD, update_D=update_BLD)
        x_BLD, normed_BLD = self.post_feedforward_layernorm.onto_then(x_BLD, update_D=update_BLD, then=following)
        step.normalized = (x_BLD, following, normed_BLD)
        return x_BLD


class PromptAttention(PackedAttention):
    """`PackedAttention` whose heads the kernels place, where activations are bfloat16."""

    def __init__(self, plain: PackedAttention, *, kernels: NativeKernels) -> None:
        nn.Module.__init__(self)
        self.index, self.kind, self.head_dim = plain.index, plain.kind, plain.head_dim
        self.scale, self.softcap = plain.scale, plain.softcap
        self.heads = plain.heads
        self.qkv_proj, self.o_proj = plain.qkv_proj, plain.o_proj
        self.norm_scale = plain.norm_scale
        self.eps = 0.0 if plain.norm_scale is None else plain.eps
        # One row for each head, as the kernels read it.
        self._qk_scale = None if plain.norm_scale is None else plain.norm_scale.reshape(-1, plain.head_dim).contiguous()
        self._kernels = kernels

    def project(self, x_BLD: Tensor, *, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Attention.project`."""
        if not _on_kernels(x_BLD):
            return super().project(x_BLD, rotation=rotation)
        queries, keys, values = self.heads
        images, tokens = x_BLD.shape[:2]
        qkv_BLC = self.qkv_proj(x_BLD).contiguous()
        cos_BLH, sin_BLH = (part.expand(images, 1, tokens, self.head_dim).contiguous() for part in rotation)
        out_BJLH = torch.empty(images, queries + keys + values, tokens, self.head_dim, dtype=torch.bfloat16)
        self._kernels.heads(
            HeadsStruct(
                qkv=qkv_BLC.data_ptr(),
                qk_scale=None if self._qk_scale is None else self._qk_scale.data_ptr(),
                cos=cos_BLH.data_ptr(),
                sin=sin_BLH.data_ptr(),
                out=out_BJLH.data_ptr(),
                B=images,
                L=tokens,
                turned=queries + keys,
                values=values,
                head_dim=self.head_dim,
                eps=self.eps,
            )
        )
        q_BNLH, k_BKLH, v_BKLH = out_BJLH.split((queries, keys, values), dim=1)
        return q_BNLH, k_BKLH, v_BKLH

    def gather(self, q_BNLH: Tensor, *, k_BKSH: Tensor, v_BKSH: Tensor, view: KeyView | None) -> Tensor:
        """See `Attention.gather`."""
        kernels, (batch, _, queries, width) = self._kernels, q_BNLH.shape
        fits = kernels.attends and q_BNLH.dtype == k_BKSH.dtype == torch.bfloat16 and fits_head(width)
        if not fits or self.softcap is not None or queries <= FOLD or q_BNLH.device.type != "cpu":
            return super().gather(q_BNLH, k_BKSH=k_BKSH, v_BKSH=v_BKSH, view=view)
        spans = causal_spans(batch, queries) if view is None else view.spans()
        if spans is None:
            return super().gather(q_BNLH, k_BKSH=k_BKSH, v_BKSH=v_BKSH, view=view)
        return attend(kernels, q_BNLH, k_BKSH=k_BKSH, v_BKSH=v_BKSH, scale=self.scale, spans=spans)


def _on_kernels(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _fit(stream_D: Tensor, update_D: Tensor) -> bool:
    return _on_kernels(stream_D) and _on_kernels(update_D) and stream_D.shape == update_D.shape


def fuse_prompt(decoder: Decoder, *, kernels: Kernels) -> None:
    """Puts the kernels into what stands between the products of a packed decoder, in place, where they run."""
    config = decoder.config
    if not isinstance(kernels, NativeKernels) or config.head_dim > _MOST_HEAD or config.head_dim % _HEAD_STEP:
        return
    for module in tuple(decoder.modules()):
        for name, child in tuple(module.named_children()):
            if isinstance(child, PackedNorm):
                setattr(module, name, PromptNorm(child, kernels=kernels))
            elif isinstance(child, PackedAttention):
                setattr(module, name, PromptAttention(child, kernels=kernels))
    layers = list(decoder.layers)
    for number, (layer, after) in enumerate(zip(layers, [*layers[1:], None], strict=True)):
        norms = [child for child in layer.children() if isinstance(child, PromptNorm)]
        if len(norms) == _NORMS:
            decoder.layers[number] = PromptLayer(layer, following=None if after is None else after.input_layernorm)
