"""Compiled kernels called from jitted code against the dequantized product, on odd shapes, and the choice of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax.numpy as jnp  # noqa: E402

from osler.errors import RequestError  # noqa: E402
from osler.jax import packed  # noqa: E402
from osler.jax.arrays import to_jax  # noqa: E402
from osler.jax.kernels import Kernels, choose_kernels  # noqa: E402
from osler.jax.network import stacked  # noqa: E402
from osler.quant.build import Built  # noqa: E402
from osler.quant.kernels import PATHS, VARIABLE, NativeKernels  # noqa: E402
from osler.quant.kernels import choose_kernels as choose_torch_kernels  # noqa: E402
from osler.quant.packed import PackedWeight, dequantize  # noqa: E402
from tests.jax.test_packed import back, weights  # noqa: E402

SHAPES = [
    ("int4-g32", 1, 64, 1),
    ("int4-g64-asym", 70, 192, 33),
    ("int8-g32", 33, 96, 3),
    ("int8-g64-asym", 16, 128, 1),
    ("int4-channel", 17, 31, 5),
    ("int4-channel-asym", 50, 65, 40),
    ("int8-channel", 69, 257, 2),
]


@jax.jit
def layers_in_a_loop(x: jax.Array, stack: packed.PackedStack) -> jax.Array:
    return jax.lax.map(lambda layer: stack.at(layer).product(x), jnp.arange(stack.codes.shape[0]))


def error(found: torch.Tensor, x: torch.Tensor, weight: PackedWeight) -> float:
    """Of a product, relative to what its size would be if nothing cancelled out."""
    w = dequantize(weight)
    size = x.float().norm() * w.norm() / weight.columns**0.5
    return float((found.float() - x.float() @ w.T).norm() / size)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("form", "rows", "columns", "count", "dtype"),
    [*((*shape, "float32") for shape in SHAPES), *((*shape, "bfloat16") for shape in SHAPES[1:3])],
)
def test_products_on_odd_shapes(
    choose: Callable[[str], Kernels], path: str, form: str, rows: int, columns: int, count: int, dtype: str
) -> None:
    kernels = choose(path)
    found = weights(3, rows=rows, columns=columns, form=form)
    x = torch.randn(count, columns, generator=torch.Generator().manual_seed(2)).to(getattr(torch, dtype))
    results = layers_in_a_loop(to_jax(x), stacked(list(found), kernels=kernels))
    assert results.dtype == dtype
    for result, weight in zip(results.astype(jnp.float32), found, strict=True):
        # Activations of 8 bits, or products of bfloat16 on the AMX path.
        assert error(back(result), x, weight) < 0.015


@pytest.mark.parametrize(("form", "rows", "columns", "count"), SHAPES)
def test_the_bits_are_those_of_the_kernels_of_pytorch(
    choose: Callable[[str], Kernels], built: Built, form: str, rows: int, columns: int, count: int
) -> None:
    kernels, theirs = choose("portable"), choose_torch_kernels("auto")
    (weight,) = found = weights(1, rows=rows, columns=columns, form=form)
    if not isinstance(theirs.kernels, NativeKernels):
        pytest.skip(f"PyTorch has no compiled kernels here: {theirs.reason}")
    theirs = choose_torch_kernels("portable").kernels
    x = torch.randn(count, columns, generator=torch.Generator().manual_seed(3))
    result = layers_in_a_loop(to_jax(x), stacked(list(found), kernels=kernels))[0]
    assert torch.equal(back(result), theirs.linear(x, theirs.prepare(weight)))


def test_a_layer_that_does_not_exist_is_an_error(choose: Callable[[str], Kernels]) -> None:
    stack = stacked(weights(2, rows=16, columns=64, form="int8-g32"), kernels=choose("portable"))
    with pytest.raises(Exception, match="does not fit its operands"):
        jax.block_until_ready(jax.jit(lambda x, n: stack.at(n).product(x))(jnp.ones((1, 64)), 2))


def test_rows_of_several_axes(choose: Callable[[str], Kernels]) -> None:
    (weight,) = found = weights(1, rows=32, columns=64, form="int8-g32")
    x = torch.randn(2, 3, 64)
    result = layers_in_a_loop(to_jax(x), stacked(list(found), kernels=choose("portable")))[0]
    assert result.shape == (2, 3, 32)
    assert error(back(result), x, weight) < 0.015


def test_the_choice_and_its_reason(built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    chosen = choose_kernels(library=built.path)
    assert chosen.name in PATHS
    assert "fastest" in chosen.reason
    assert choose_kernels(library=built.path, platform="gpu").name == "xla"
    missing = choose_kernels(library=tmp_path / "none.so")
    assert (missing.name, "not built" in missing.reason) == ("xla", True)
    for name in ("torch", "xla"):
        monkeypatch.setenv(VARIABLE, name)
        assert choose_kernels(library=built.path).kernels is None
    monkeypatch.setenv(VARIABLE, "portable")
    assert choose_kernels(library=built.path).name == "portable"
    with pytest.raises(RequestError, match="'portable' were asked for, but the kernels for JAX are not built"):
        choose_kernels(library=tmp_path / "none.so")
    with pytest.raises(RequestError, match="kernels 'avx1'"):
        choose_kernels("avx1", library=built.path)


def test_a_file_that_is_no_library_falls_back(tmp_path: Path) -> None:
    path = tmp_path / "osler-kernels-jax.so"
    path.write_bytes(b"no library")
    path.chmod(0o700)
    chosen = choose_kernels("auto", library=path)
    assert (chosen.name, "cannot be loaded" in chosen.reason) == ("xla", True)
    path.chmod(0o777)
    np.testing.assert_equal(choose_kernels("auto", library=path).kernels, None)
