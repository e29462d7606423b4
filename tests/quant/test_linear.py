from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from osler.errors import RequestError
from osler.quant.build import Built
from osler.quant.formats import parse_format
from osler.quant.kernels import PATHS, TorchKernels, choose_kernels
from osler.quant.linear import JoinedLinear, QuantEmbedding, QuantLinear, WidenedLinear
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", ["torch", *PATHS])
def test_a_widened_weight_is_the_one_that_is_stored(built: Built, path: str, dtype: torch.dtype) -> None:
    try:
        kernels = choose_kernels(path, library=built.path).kernels
    except RequestError as error:
        pytest.skip(error.problem)
    for form, columns in (("int8-g32", 96), ("int8-channel", 72), ("int4-g32-asym", 64)):
        weight = quantize(torch.randn(40, columns), form=parse_format(form))
        x, bias = torch.randn(3, columns).to(dtype), torch.randn(40).to(dtype)
        wanted = F.linear(x, dequantize(weight).to(dtype), bias)
        assert torch.equal(WidenedLinear(weight, kernels=kernels, bias=bias)(x), wanted)


def test_nothing_is_a_parameter() -> None:
    assert list(QuantLinear(WEIGHT, kernels=TorchKernels()).parameters()) == []
