"""Which tiles multiply prompts by weights of 8 bits: those of int8 where rounding to them adds little."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.quant.formats import parse_format
from osler.quant.packed import dequantize, quantize
from tests.kernels import Choose, error, product

Case = Literal["normal", "tails", "uneven weights", "uneven weights of one output", "offsets", "first row alone"]


@pytest.mark.parametrize(
    ("case", "tiles"),
    [
        ("normal", "amx-int8"),
        ("first row alone", "amx-int8"),
        ("tails", "amx-bf16"),
        ("uneven weights", "amx-bf16"),
        ("uneven weights of one output", "amx-bf16"),
        ("offsets", "amx-bf16"),
    ],
)
@pytest.mark.parametrize("columns", [256, 640, 2592])
@pytest.mark.parametrize("count", [45, 530])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_8_bits_take_tiles_of_int8_where_rounding_adds_little(
    choose: Choose, case: Case, tiles: str, columns: int, count: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(columns)
    outputs = 1 if case == "uneven weights of one output" else 64
    x, matrix = torch.randn(count, columns, generator=generator), torch.randn(outputs, columns, generator=generator)
    if case == "tails":
        x = x**3
    if case == "first row alone" and count > 128:
        x[0] **= 7
    if case.startswith("uneven weights"):
        matrix[:, :32] *= 20
    x = x.to(dtype)
    weight = quantize(matrix, form=parse_format("int8-g32-asym" if case == "offsets" else "int8-g32"))
    found = product(choose("amx"), weight, x)
    assert torch.equal(found, product(choose(tiles), weight, x))
    other = {"amx-int8": "amx-bf16", "amx-bf16": "amx-int8"}[tiles]
    assert not torch.equal(found, product(choose(other), weight, x))
    if case != "first row alone":
        assert error(found, x.float() @ dequantize(weight).T) < 0.013
    if outputs == 64:
        gated, wanted = (kernels.gated(x, kernels.prepare(weight)) for kernels in (choose("amx"), choose(tiles)))
        assert torch.equal(gated, wanted)


def test_few_inputs_of_8_bits_keep_their_precision(choose: Choose) -> None:
    for columns, tiles in ((255, "amx-bf16"), (256, "amx-int8")):
        weight, x = quantize(torch.randn(48, columns), form=parse_format("int8-channel")), torch.randn(64, columns)
        assert torch.equal(product(choose("amx"), weight, x), product(choose(tiles), weight, x))


def test_sizes_that_overflow_do_not_count_as_little(choose: Choose) -> None:
    weight, x = quantize(torch.randn(48, 512), form=parse_format("int8-g32")), torch.full((64, 512), 1e18)
    x[torch.arange(64), torch.arange(64)] = 3e19
    assert torch.equal(product(choose("amx"), weight, x), product(choose("amx-bf16"), weight, x))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tails=st.floats(0.5, 4.0),
    columns_apart=st.floats(0.0, 2.0),
    rows_apart=st.floats(0.0, 3.0),
    weights=st.floats(0.5, 4.0),
)
def test_8_bits_keep_their_limit_whatever_the_activations(
    choose: Choose, tails: float, columns_apart: float, rows_apart: float, weights: float
) -> None:
    generator = torch.Generator().manual_seed(0)

    def spread(*shape: int, power: float) -> torch.Tensor:
        x = torch.randn(shape, generator=generator)
        return x.sign() * x.abs() ** power

    x = spread(100, 1024, power=tails) * (torch.randn(1024, generator=generator) * columns_apart).exp()
    x = x * (torch.randn(100, 1, generator=generator) * rows_apart).exp()
    weight = quantize(spread(64, 1024, power=weights), form=parse_format("int8-g32"))
    wanted = x @ dequantize(weight).T
    found = product(choose("amx"), weight, x)
    # Rows count alike, so that each is compared with itself.
    apart = ((found - wanted).norm(dim=1) / wanted.norm(dim=1)).square().mean().sqrt()
    assert float(apart) < 0.015
