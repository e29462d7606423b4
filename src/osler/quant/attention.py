"""Attention of prompts and the image tower in one pass: by tiles of bfloat16 (AMX), or by vectors (AVX-512).

Scores and sums are float32. Tiles take the weights of the values rounded to
bfloat16, as the values are; so do the vectors of AMD's processors with AVX-512
BF16 where queries see all keys, as in the tower. Other vectors multiply in float32.

Dimensions: B batch, L queries, S keys, N query heads, K key heads, H width of a
head.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from osler.model.attention import KeySpans
from osler.quant.kernels import NativeKernels

_MOST_HEAD, _HEAD_STEP = 256, 8

_Strides = ctypes.c_int64 * 3


class AttentionStruct(ctypes.Structure):
    """``OslerAttention`` of ``native/attention.h``."""

    _fields_ = (
        ("q", ctypes.c_void_p),
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("last", ctypes.c_void_p),
        ("B", ctypes.c_int64),
        ("L", ctypes.c_int64),
        ("S", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("key_heads", ctypes.c_int64),
        ("H", ctypes.c_int64),
        ("q_stride", _Strides),
        ("k_stride", _Strides),
        ("v_stride", _Strides),
        ("out_stride", _Strides),
        ("scale", ctypes.c_float),
    )


def fits_head(width: int) -> bool:
    """Whether `attend` takes heads of this width."""
    return width <= _MOST_HEAD and width % _HEAD_STEP == 0


def attend(
    kernels: NativeKernels,
    q_BNLH: Tensor,
    *,
    k_BKSH: Tensor,
    v_BKSH: Tensor,
    scale: float,
    spans: KeySpans | None = None,
) -> Tensor:
    """Computes attention, query heads in groups that share a key head.

    Args:
        kernels: That attend.
        q_BNLH: Queries, bfloat16. k_BKSH: Keys. v_BKSH: Values. Of each only the last dimension need be contiguous.
        scale: Factor on the scores.
        spans: Which keys each query sees; ``None`` for all.

    Returns:
        (B, N, L, H), which lies in memory as (B, L, N, H); zeros where a query sees nothing.
    """
    batch, heads, queries, width = q_BNLH.shape
    out_BLNH = q_BNLH.new_empty(batch, queries, heads, width)
    out_BNLH = out_BLNH.transpose(1, 2)
    parts = (q_BNLH, k_BKSH, v_BKSH, out_BNLH)
    assert all(part.stride(3) == 1 and part.dtype == torch.bfloat16 for part in parts)
    strides = [_Strides(*part.stride()[:3]) for part in parts]
    struct = AttentionStruct(
        q=q_BNLH.data_ptr(),
        k=k_BKSH.data_ptr(),
        v=v_BKSH.data_ptr(),
        out=out_BLNH.data_ptr(),
        first=None if spans is None else spans.first_BL.data_ptr(),
        last=None if spans is None else spans.last_BL.data_ptr(),
        B=batch,
        L=queries,
        S=k_BKSH.shape[2],
        heads=heads,
        key_heads=k_BKSH.shape[1],
        H=width,
        q_stride=strides[0],
        k_stride=strides[1],
        v_stride=strides[2],
        out_stride=strides[3],
        scale=scale,
    )
    kernels.attend(struct)
    return out_BNLH
