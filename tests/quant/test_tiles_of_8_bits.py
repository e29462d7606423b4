"""Which tiles multiply prompts by weights of 8 bits: those of int8 where rounding to them adds little."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.quant.formats import parse_format
from osler.quant.packed import dequantize, quantize
from tests.kernels import Choose, error, product

Case = Literal["normal", "uneven weights", "uneven weights of one output", "offsets", "first row alone"]


@pytest.mark.parametrize(
    ("case", "tiles"),
    [
        ("normal", "amx-int8"),
        ("first row alone", "amx-int8"),
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
    if case == "first row alone" and count > 128:
        x[0] **= 7
    if case.startswith("uneven weights"):
        # One is large as it is, others once they are mixed.
        matrix[:, 0] += 80
        matrix[:, 32:64] += 20
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


@pytest.mark.parametrize("columns", [256, 640, 2592, 5152])
@pytest.mark.parametrize("count", [45, 530])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_with_tails_are_mixed(choose: Choose, columns: int, count: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(columns)
    x = (torch.randn(count, columns, generator=generator) ** 3).to(dtype)
    weight = quantize(torch.randn(70, columns, generator=generator), form=parse_format("int8-g32"))
    found, wanted = product(choose("amx"), weight, x), x.float() @ dequantize(weight).T
    others = [product(choose(tiles), weight, x) for tiles in ("amx-int8", "amx-bf16")]
    assert not any(torch.equal(found, other) for other in others)
    assert error(found, wanted) < 0.017
    assert error(found, wanted) < 0.9 * error(others[0], wanted)
    assert torch.equal(product(choose("amx"), weight, x.float()).to(dtype).float(), found)


@pytest.mark.parametrize("columns", [512, 640, 2592, 5152])
@pytest.mark.parametrize("form", ["int8-g32", "int8-g64", "int8-channel"])
def test_mixed_rows_and_weights_multiply_exactly_where_rounding_moves_nothing(
    choose: Choose, columns: int, form: str
) -> None:
    """A whole number among sixteen zeros becomes sixteen of its size, and a row of the matrix becomes such a number."""
    columns -= columns % 64 if form == "int8-g64" else 0
    generator = torch.Generator().manual_seed(columns)

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    def inputs(sets: torch.Tensor) -> torch.Tensor:
        """(rows, 32s, [bit 1 of the input], [bits 4, 3, 2, 0]) to (rows, columns)."""
        return sets.unflatten(3, (8, 2)).movedim(2, 3).reshape(len(sets), columns).float()

    hadamard = torch.ones(1, 1)
    for _ in range(4):
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    some, sets = columns // 32, (columns // 32, 2)
    # Many of a row's numbers are 127, so that it is among those with one place, too.
    sizes = draw(-2, 1, 45, *sets).clamp(min=-1).add(1) * 127
    sizes = torch.where(draw(0, 9, 45, *sets) == 0, draw(1, 127, 45, *sets), sizes) * (draw(0, 2, 45, *sets) * 2 - 1)
    x = inputs(sizes[..., None] * torch.nn.functional.one_hot(draw(0, 16, 45, *sets), 16))
    weights = draw(90, 128, 48, *sets)
    weights[:, :: some // 2] = 127
    matrix = inputs(weights[..., None] * hadamard[draw(0, 16, 48, *sets)])
    channel = quantize(matrix, form=parse_format("int8-channel"))
    weight = channel
    if form != "int8-channel":
        weight = replace(quantize(torch.full_like(matrix, 127.0), form=parse_format(form)), codes=channel.codes)
    assert torch.equal(dequantize(weight), matrix)
    found = product(choose("amx"), weight, x)
    assert not torch.equal(found, product(choose("amx-int8"), weight, x))
    assert error(found, (x.double() @ matrix.double().T).float()) < 1e-6


def test_what_is_known_of_a_weight_is_kept_beside_it(choose: Choose) -> None:
    kernels, x = choose("amx"), torch.randn(64, 640) ** 3
    weight = quantize(torch.randn(48, 640), form=parse_format("int8-g32"))
    prepared = kernels.prepare(weight)
    assert not prepared.known.any()
    first, again = kernels.linear(x, prepared), kernels.linear(x, prepared)
    assert prepared.known.any()
    assert torch.equal(first, again)
    prepared.struct.known = None
    assert torch.equal(kernels.linear(x, prepared), product(choose("amx-bf16"), weight, x))
    for name, form in (("amx", "int4-g32"), ("amx-int8", "int8-g32"), ("portable", "int8-g32")):
        other = quantize(torch.randn(48, 640), form=parse_format(form))
        assert not len(choose(name).prepare(other).known)


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
    assert float(apart) < 0.019
