"""Packed weights as arrays against `osler.quant.packed`, on odd shapes, in plain XLA."""

from __future__ import annotations

import numpy as np
import pytest
import torch

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax.numpy as jnp  # noqa: E402

from osler.jax import packed  # noqa: E402
from osler.jax.arrays import to_jax  # noqa: E402
from osler.jax.network import stacked  # noqa: E402
from osler.quant.formats import parse_format  # noqa: E402
from osler.quant.packed import PackedWeight, dequantize, quantize, take_rows  # noqa: E402
from tests.jax.conftest import difference  # noqa: E402


@jax.jit
def product(x: jax.Array, stack: packed.PackedStack, layer: int) -> jax.Array:
    return stack.at(layer).product(x)


def weights(count: int, *, rows: int, columns: int, form: str, seed: int = 0) -> list[PackedWeight]:
    generator = torch.Generator().manual_seed(seed)
    return [quantize(torch.randn(rows, columns, generator=generator), form=parse_format(form)) for _ in range(count)]


def back(array: jax.Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


@pytest.mark.parametrize(
    ("form", "rows", "columns", "count"),
    [
        ("int4-g32", 1, 64, 1),
        ("int4-g64-asym", 70, 192, 20),
        ("int8-g32", 33, 96, 3),
        ("int8-g64-asym", 16, 128, 1),
        ("int4-channel", 17, 31, 5),
        ("int4-channel-asym", 50, 65, 1),
        ("int8-channel", 69, 257, 2),
    ],
)
def test_a_product_is_that_of_the_dequantized_weight(form: str, rows: int, columns: int, count: int) -> None:
    found = weights(3, rows=rows, columns=columns, form=form)
    stack = stacked(list(found), kernels=None)
    x = torch.randn(count, columns, generator=torch.Generator().manual_seed(1))
    for layer, weight in enumerate(found):
        assert torch.equal(back(packed.dequantize(stack.at(layer))), dequantize(weight))
        result = back(product(to_jax(x), stack, layer))
        assert difference(result, x @ dequantize(weight).T) < 1e-5
        ids = torch.tensor([[0, rows - 1], [rows // 2, 0]])
        rows_found = packed.take_rows(stack.at(layer), to_jax(ids))
        assert torch.equal(back(rows_found), take_rows(weight, ids.flatten()).view(2, 2, -1))


def test_a_large_weight_is_never_whole_in_floating_point(monkeypatch: pytest.MonkeyPatch) -> None:
    (weight,) = found = weights(1, rows=16 * 83, columns=256, form="int4-g32-asym")
    stack = stacked(list(found), kernels=None)
    monkeypatch.setattr(packed, "_CHUNK_WEIGHTS", 16 * 256 * 4)
    x = torch.randn(3, 256)
    compiled = jax.jit(lambda x, stack: stack.at(0).product(x)).lower(to_jax(x), stack).compile()
    assert difference(back(compiled(to_jax(x), stack)), x @ dequantize(weight).T) < 1e-5
    # A chunk of four blocks, twice: its values, and those in the order of the product.
    assert compiled.memory_analysis().temp_size_in_bytes <= 2 * 4 * 16 * 256 * 4 + 16 * 83 * 3 * 4 + 4096


def test_layers_of_different_formats_stand_in_one_stack() -> None:
    found = [
        weights(1, rows=40, columns=64, form=form, seed=seed)[0]
        for seed, form in enumerate(("int4-g32", "int8-g32", "int4-g32", "int8-g32", "int4-g32-asym"))
    ]
    stack = stacked(list(found), kernels=None)
    assert len(stack.stacks) == 3
    x = torch.randn(2, 64)

    @jax.jit
    def every(x: jax.Array, stack: packed.MixedStack) -> jax.Array:
        return jax.lax.map(lambda layer: stack.at(layer).product(x), jnp.arange(5))

    for result, weight in zip(back(every(to_jax(x), stack)), found, strict=True):
        assert difference(result, x @ dequantize(weight).T) < 1e-5


def test_the_arrays_hold_the_bytes_of_the_file() -> None:
    found = weights(2, rows=48, columns=128, form="int4-g64-asym")
    stack = stacked(list(found), kernels=None)
    assert stack.nbytes == sum(weight.nbytes for weight in found)
    assert stack.codes.dtype == np.uint8
    assert all(torch.equal(back(stack.codes)[layer], weight.codes) for layer, weight in enumerate(found))
