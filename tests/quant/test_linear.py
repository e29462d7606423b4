from __future__ import annotations

import torch

from osler.quant.formats import parse_format
from osler.quant.kernels import TorchKernels
from osler.quant.linear import JoinedLinear, QuantEmbedding, QuantLinear
from osler.quant.packed import dequantize, quantize

WEIGHT = quantize(torch.randn(24, 64, generator=torch.Generator().manual_seed(0)), form=parse_format("int8-g32"))


def test_a_product_keeps_leading_axes_and_adds_its_bias() -> None:
    x, bias = torch.randn(2, 3, 64), torch.randn(24)
    found = QuantLinear(WEIGHT, kernels=TorchKernels(), bias=bias)(x)
    torch.testing.assert_close(found, x @ dequantize(WEIGHT).T + bias)


def test_parts_stand_side_by_side() -> None:
    other = quantize(torch.randn(8, 64), form=parse_format("int4-g32-asym"))
    joined = JoinedLinear([QuantLinear(weight, kernels=TorchKernels()) for weight in (WEIGHT, other)])
    x = torch.randn(2, 64)
    torch.testing.assert_close(joined(x), x @ torch.cat([dequantize(WEIGHT), dequantize(other)]).T)


def test_rows_are_looked_up_in_the_dtype_of_the_network() -> None:
    table = QuantEmbedding(WEIGHT, kernels=TorchKernels(), dtype=torch.bfloat16)
    ids = torch.tensor([[3, 23], [0, 3]])
    assert torch.equal(table(ids), dequantize(WEIGHT)[ids].bfloat16())
    assert (table.dtype, table.device.type) == (torch.bfloat16, "cpu")


def test_nothing_is_a_parameter() -> None:
    assert list(QuantLinear(WEIGHT, kernels=TorchKernels()).parameters()) == []
