"""Dequantization equals the reference package's to the bit."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize as reference

from osler.weights.gguf_blocks import dequantize
from osler.weights.gguf_file import BLOCK_FORMATS

# Byte offsets of the half-precision scales in a block.
_SCALES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q8_0": (0,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def _random_blocks(name: str, *, shape: tuple[int, ...], seed: int) -> np.ndarray:
    block = next(block for block in BLOCK_FORMATS.values() if block.name == name)
    random = np.random.default_rng(seed)
    if name == "BF16":
        return (
            (random.standard_normal(prod(shape), dtype=np.float32).view(np.uint32) >> 16)
            .astype(np.uint16)
            .view(np.uint8)
        )
    if name in ("F32", "F16"):
        kind = np.float32 if name == "F32" else np.float16
        return random.standard_normal(prod(shape)).astype(kind).view(np.uint8)
    raw = random.integers(0, 256, (prod(shape) // block.weights, block.bytes), dtype=np.uint8)
    for at in _SCALES[name]:
        raw[:, at : at + 2] = random.standard_normal(len(raw)).astype(np.float16).view(np.uint8).reshape(-1, 2)
    return raw.reshape(-1)


@pytest.mark.parametrize("name", [block.name for block in BLOCK_FORMATS.values()])
@pytest.mark.parametrize("shape", [(4, 256), (1100, 512)])
def test_equals_the_reference_to_the_bit(name: str, shape: tuple[int, ...]) -> None:
    raw = _random_blocks(name, shape=shape, seed=sum(map(ord, name)))
    expected = reference(raw.reshape(shape[0], -1), GGMLQuantizationType[name])
    found = dequantize(raw, format_name=name, shape=shape, dtype=torch.float32)
    assert found.shape == shape
    np.testing.assert_array_equal(found.numpy().view(np.uint32), np.asarray(expected, dtype=np.float32).view(np.uint32))
    half = dequantize(raw, format_name=name, shape=shape, dtype=torch.bfloat16)
    assert torch.equal(half, found.bfloat16())


@pytest.mark.parametrize("block", BLOCK_FORMATS.values(), ids=lambda block: block.name)
def test_block_sizes_are_those_of_the_format(block) -> None:
    assert GGML_QUANT_SIZES[GGMLQuantizationType[block.name]] == (block.weights, block.bytes)


def test_storage_off_any_alignment_is_read() -> None:
    raw = _random_blocks("F32", shape=(8, 32), seed=1)
    shifted = np.concatenate([np.zeros(3, np.uint8), raw])[3:]
    found = dequantize(shifted, format_name="F32", shape=(8, 32), dtype=torch.float32)
    assert torch.equal(found, torch.from_numpy(raw.view(np.float32).reshape(8, 32)))
