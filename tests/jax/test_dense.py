"""Products with bfloat16 weights in tiles against float32, on odd shapes, and a network of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax.numpy as jnp  # noqa: E402

from osler.jax.arrays import to_jax  # noqa: E402
from osler.jax.dense import DenseStack, dense_products, tiled  # noqa: E402
from osler.jax.kernels import Kernels  # noqa: E402
from osler.jax.runner import JaxRunner  # noqa: E402
from osler.quant.kernels import PATHS  # noqa: E402
from osler.quant.network import product_tensors  # noqa: E402
from tests.jax.conftest import CONFIGS, difference  # noqa: E402
from tests.jax.test_packed import back  # noqa: E402


@jax.jit
def layers_in_a_loop(x: jax.Array, stack: DenseStack) -> jax.Array:
    return jax.lax.map(lambda layer: stack.at(layer).product(x), jnp.arange(stack.tiles.shape[0]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("rows", "columns", "count", "dtype"),
    [
        (1, 32, 1, "float32"),
        (70, 191, 33, "float32"),
        (33, 96, 3, "bfloat16"),
        (17, 31, 13, "float32"),
        (561, 300, 40, "bfloat16"),
        (50, 65, 530, "float32"),
    ],
)
def test_products_on_odd_shapes(
    choose: Callable[[str], Kernels], path: str, rows: int, columns: int, count: int, dtype: str
) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(rows, columns, generator=generator).bfloat16() for _ in range(3)]
    x = torch.randn(count, columns, generator=generator).to(getattr(torch, dtype))
    results = layers_in_a_loop(to_jax(x), tiled([[weight] for weight in weights], kernels=choose(path)))
    assert results.dtype == dtype
    # The AMX paths round inputs to bfloat16 where there are many rows.
    most = 1e-5 if dtype == "float32" and (not path.startswith("amx") or count < 16) else 0.006
    for result, weight in zip(results.astype(jnp.float32), weights, strict=True):
        size = x.float().norm() * weight.float().norm() / columns**0.5
        assert float((back(result) - x.float() @ weight.float().T).norm() / size) < most


def test_joined_products_and_rows_of_a_table(choose: Callable[[str], Kernels]) -> None:
    parts = [torch.randn(rows, 40).bfloat16() for rows in (5, 19, 3)]
    stack = tiled([parts], kernels=choose("portable"))
    assert (stack.rows, stack.columns) == (27, 40)
    whole, ids = torch.cat(parts), torch.tensor([[0, 26], [7, 7]])
    assert torch.equal(back(stack.at(0).take(to_jax(ids)).astype(jnp.float32)), whole[ids].float())
    x = torch.randn(2, 3, 40)
    assert difference(back(layers_in_a_loop(to_jax(x), stack)[0]), x @ whole.float().T) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_a_network_gives_the_logits_of_its_rounded_weights(
    name: str, choose: Callable[[str], Kernels], pair_of: Callable
) -> None:
    pair = pair_of(name)
    taken = product_tensors(pair.config)
    state = {
        key: tensor.bfloat16().float() if key in taken else tensor
        for key, tensor in pair.torch.model.state_dict().items()
    }
    products = dense_products(state, config=pair.config, kernels=choose("portable"))
    rest = {key: tensor for key, tensor in state.items() if key not in taken}
    packed = JaxRunner(rest, config=pair.config, products=products, longest=64)
    plain = JaxRunner(state, config=pair.config, longest=64)
    caches = [runner.new_cache(planned=80) for runner in (plain, packed)]
    ids = torch.tensor([[2, *range(10, 40)]])
    wanted, found = (
        runner.read(ids, features_NTD=None, cache=cache) for runner, cache in zip((plain, packed), caches, strict=True)
    )
    assert difference(found, wanted) < 1e-5
    for token in range(40, 50):
        wanted, found = (
            runner.step(torch.tensor([token]), cache=cache)
            for runner, cache in zip((plain, packed), caches, strict=True)
        )
        assert difference(found, wanted) < 1e-5
