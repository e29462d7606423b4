"""GGUF blocks as packed weights: the same values as the float tensors of the file."""

from __future__ import annotations

import pytest
import torch

from osler.errors import CheckpointError
from osler.quant.packed import dequantize
from osler.quant.repack import repack, repacked_format
from osler.weights import GgufFile, embedded_gguf, read_gguf


@pytest.fixture(scope="module")
def file() -> GgufFile:
    try:
        return read_gguf(embedded_gguf())
    except CheckpointError as error:
        pytest.skip(f"the embedded weights are not here: {error.problem}")


@pytest.mark.parametrize(
    ("name", "most"),
    [("blk.0.attn_q.weight", 0.0), ("blk.3.attn_v.weight", 0.0), ("blk.0.attn_output.weight", 1e-3)],
)
def test_blocks_keep_their_values(file: GgufFile, name: str, most: float) -> None:
    wanted = file.read(name, dtype=torch.float32)
    found = dequantize(repack(file, name).check(name))
    assert float((found - wanted).norm() / wanted.norm()) <= most


def test_formats_that_need_more_bits_are_quantized_anew() -> None:
    assert repacked_format("Q8_0", bits=8) == "int8-g32"
    assert repacked_format("Q8_0", bits=4) is None
    assert repacked_format("Q4_K", bits=4) == "int4-g32-asym"
    assert repacked_format("Q6_K", bits=8) is None
