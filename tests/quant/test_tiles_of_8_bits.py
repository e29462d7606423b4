"""Which tiles multiply prompts by weights of 8 bits: of int8 where rounding adds little, as inputs are or mixed."""

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


def tails(count: int, columns: int, *, generator: torch.Generator) -> torch.Tensor:
    """Returns rows of which int8 would round most inputs too coarsely as they are."""
    return torch.randn(count, columns, generator=generator) ** 3


@pytest.mark.parametrize("columns", [256, 640, 2592, 5152])
@pytest.mark.parametrize("count", [45, 530])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_with_tails_are_mixed(choose: Choose, columns: int, count: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(columns)
    x = tails(count, columns, generator=generator).to(dtype)
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
    # With the factor, tiles of bfloat16 would round rows.
    found = product(choose("amx"), weight, x * 1.01)
    assert not torch.equal(found, product(choose("amx-int8"), weight, x * 1.01))
    assert error(product(choose("amx-bf16"), weight, x * 1.01), found) > 2e-4
    assert error(found, (x.double() * 1.01 @ matrix.double().T).float()) < 1e-6


@pytest.mark.parametrize(
    ("form", "columns"), [("int8-g128", 640), ("int8-channel", 2661), ("int8-channel", 2705), ("int8-g64", 5120)]
)
def test_a_gate_takes_mixed_products_too(choose: Choose, form: str, columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    x, matrix = tails(45, columns, generator=generator), torch.randn(96, columns, generator=generator)
    weight = quantize(matrix, form=parse_format(form))
    weight.scale[:2].neg_()
    kernels, wanted = choose("amx"), x @ dequantize(weight).T
    prepared = kernels.prepare(weight)
    found = kernels.linear(x, prepared)
    assert error(found, wanted) < 0.017
    assert not torch.equal(found, product(choose("amx-bf16"), weight, x))
    assert not torch.equal(found, product(choose("amx-int8"), weight, x))
    first, second = found.chunk(2, dim=1)
    gated = torch.nn.functional.gelu(first, approximate="tanh") * second
    assert error(kernels.gated(x, prepared), gated) < 1e-5


def test_outputs_of_zeros_do_not_hide_what_mixing_adds_to_others(choose: Choose) -> None:
    """Mixing adds more than 1.7% to those that are there, but not to all on average."""
    generator = torch.Generator().manual_seed(0)
    x, matrix = tails(64, 640, generator=generator), torch.randn(640, 640, generator=generator)
    matrix[:, 0] += 16
    matrix[:, 32:64] += 4
    for zeros in (slice(0, 480), slice(160, 640), slice(0, 0)):
        some = matrix.clone()
        some[zeros] = 0
        weight = quantize(some, form=parse_format("int8-g32"))
        assert torch.equal(product(choose("amx"), weight, x), product(choose("amx-bf16"), weight, x))


def test_zeros_where_weights_are_looked_at_do_not_count_as_little(choose: Choose) -> None:
    """Of 160 blocks of outputs, every twentieth is looked at: all others hold one large input each."""
    generator = torch.Generator().manual_seed(0)
    x, matrix = torch.randn(64, 320, generator=generator), torch.randn(160, 16, 320, generator=generator)
    matrix[..., 0] += 80
    matrix[..., 32:64] += 20
    matrix[::20] = 0
    weight = quantize(matrix.flatten(0, 1), form=parse_format("int8-g32"))
    assert torch.equal(product(choose("amx"), weight, x), product(choose("amx-bf16"), weight, x))
    weight = quantize(torch.zeros(64, 320), form=parse_format("int8-g32"))
    assert not product(choose("amx"), weight, x).any()


def test_large_rows_stay_finite_when_they_are_mixed(choose: Choose) -> None:
    generator = torch.Generator().manual_seed(0)
    x = tails(258, 640, generator=generator)
    x[257] = 3.3e38  # every third row is looked at, from the second on
    weight = quantize(torch.randn(48, 640, generator=generator) / 100, form=parse_format("int8-g32"))
    found, wanted = product(choose("amx"), weight, x), (x.double() @ dequantize(weight).double().T).float()
    assert not torch.equal(found, product(choose("amx-bf16"), weight, x))
    there = wanted.isfinite()
    assert there[257].any()
    assert found[there].isfinite().all()
    assert error(found[:257], wanted[:257]) < 0.017
    assert error(found[257][there[257]] / 1e38, wanted[257][there[257]] / 1e38) < 0.017


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_mixed_rows_that_are_not_finite_become_nan_alone(choose: Choose, value: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, kernels = tails(64, 640, generator=generator), choose("amx")
    prepared = kernels.prepare(quantize(torch.randn(48, 640, generator=generator), form=parse_format("int8-g32")))
    for row, column in ((0, 0), (31, 639), (63, 77)):
        broken = x.clone()
        broken[row, column] = value
        found = kernels.linear(broken, prepared)
        assert found[row].isnan().all()
        assert found[torch.arange(64) != row].isfinite().all()


def test_what_is_known_of_a_weight_is_kept_beside_it(choose: Choose) -> None:
    generator = torch.Generator().manual_seed(0)
    kernels, x = choose("amx"), tails(64, 640, generator=generator)
    weight = quantize(torch.randn(48, 640, generator=generator), form=parse_format("int8-g32"))
    prepared = kernels.prepare(weight)
    assert not prepared.known.any()
    first, again = kernels.linear(x, prepared), kernels.linear(x, prepared)
    # Numbers of the whole weight, then scales of its outputs.
    assert prepared.known[:64].any()
    assert prepared.known[64:].any()
    assert torch.equal(first, again)
    assert not torch.equal(first, product(choose("amx-bf16"), weight, x))
    prepared.struct.known = None
    assert torch.equal(kernels.linear(x, prepared), product(choose("amx-bf16"), weight, x))
    for name, form in (("amx", "int4-g32"), ("amx-int8", "int8-g32"), ("portable", "int8-g32")):
        other = quantize(torch.randn(48, 640), form=parse_format(form))
        assert not len(choose(name).prepare(other).known)


def test_few_inputs_of_8_bits_keep_their_precision(choose: Choose) -> None:
    generator = torch.Generator().manual_seed(0)
    for columns, tiles in ((255, "amx-bf16"), (256, "amx-int8")):
        matrix, x = torch.randn(48, columns, generator=generator), torch.randn(64, columns, generator=generator)
        weight = quantize(matrix, form=parse_format("int8-channel"))
        assert torch.equal(product(choose("amx"), weight, x), product(choose(tiles), weight, x))


def test_sizes_that_overflow_do_not_count_as_little(choose: Choose) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = quantize(torch.randn(48, 512, generator=generator), form=parse_format("int8-g32"))
    for size in (1e18, 1e24, 1e-17):
        x = torch.full((64, 512), size)
        x[torch.arange(64), torch.arange(64)] = 30 * size
        assert error(product(choose("amx"), weight, x) / size, x / size @ dequantize(weight).T) < 0.017


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.floats(0.5, 4.0),
    columns_apart=st.floats(0.0, 2.0),
    rows_apart=st.floats(0.0, 3.0),
    weights=st.floats(0.5, 4.0),
)
def test_8_bits_keep_their_limit_whatever_the_activations(
    choose: Choose, rows: float, columns_apart: float, rows_apart: float, weights: float
) -> None:
    generator = torch.Generator().manual_seed(0)

    def spread(*shape: int, power: float) -> torch.Tensor:
        x = torch.randn(shape, generator=generator)
        return x.sign() * x.abs() ** power

    x = spread(100, 1024, power=rows) * (torch.randn(1024, generator=generator) * columns_apart).exp()
    x = x * (torch.randn(100, 1, generator=generator) * rows_apart).exp()
    weight = quantize(spread(64, 1024, power=weights), form=parse_format("int8-g32"))
    matrix = dequantize(weight)
    found = product(choose("amx"), weight, x)
    # Beside the size that a product has where nothing is known of its factors but theirs: rows and outputs count alike.
    sizes = x.norm(dim=1, keepdim=True) * matrix.norm(dim=1) / 32
    assert float(((found - x @ matrix.T) / sizes).square().mean().sqrt()) < 0.0175
