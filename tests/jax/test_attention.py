"""Attention with the compiled kernels against XLA's: rings, windows, images, padding, rows of unequal length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax.numpy as jnp  # noqa: E402

from osler.jax.attention import attend, visible  # noqa: E402
from osler.jax.kernels import Kernels, native_attention  # noqa: E402
from osler.jax.kv_cache import LayerKeys  # noqa: E402
from osler.quant.kernels import PATHS  # noqa: E402

LAYERS = 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("rows", "queries", "heads", "key_heads", "slots", "width", "window"),
    [
        (1, 1, 4, 1, 40, 32, None),
        (3, 1, 6, 3, 300, 48, 64),
        (1, 37, 4, 1, 129, 16, None),
        (2, 70, 8, 4, 256, 64, 50),
        (1, 300, 2, 2, 512, 32, 100),
    ],
)
def test_the_result_is_that_of_xla(
    choose: Callable[[str], Kernels],
    path: str,
    rows: int,
    queries: int,
    heads: int,
    key_heads: int,
    slots: int,
    width: int,
    window: int | None,
) -> None:
    random = np.random.default_rng(queries)
    q = jnp.asarray(random.normal(size=(rows, queries, heads, width)), jnp.float32)
    keys = LayerKeys(
        *(jnp.asarray(random.normal(size=(LAYERS, rows, key_heads, slots, width)), jnp.float32) for _ in range(2))
    )
    # Rows hold unequal counts of earlier tokens; a ring is written over, and its slots are in no order of positions.
    positions = np.full((rows, queries), -1, np.int32)
    stored = np.full((rows, slots), -1, np.int32)
    for row in range(rows):
        kept = queries - min(row, queries - 1)
        before = int(random.integers(0, 2 * slots if window else slots - queries))
        positions[row, :kept] = before + np.arange(kept)
        for position in range(max(0, before + kept - slots), before + kept):
            stored[row, position % slots] = position
    # The middle of a prompt is an image, whose tokens see each other.
    last = positions.copy()
    third = slice(queries // 3, 2 * queries // 3)
    last[:, third] = last[:, third].max(axis=1, keepdims=True, initial=-1)
    last[positions < 0] = -1
    scale = width**-0.5
    seen = visible(jnp.asarray(positions), last_BL=jnp.asarray(last), keys_BS=jnp.asarray(stored), window=window)
    kernels = choose(path)
    for layer in range(LAYERS):
        wanted = attend(
            q.swapaxes(1, 2),
            k_BKSH=keys.keys[layer],
            v_BKSH=keys.values[layer],
            seen_BLS=seen,
            scale=scale,
            softcap=None,
        ).swapaxes(1, 2)
        found = jax.jit(native_attention, static_argnames=("window", "scale", "kernels"))(
            q,
            keys,
            layer=layer,
            positions_BL=jnp.asarray(positions),
            last_BL=jnp.asarray(last),
            stored_BS=jnp.asarray(stored),
            window=window,
            scale=scale,
            kernels=kernels,
        )
        counts = positions >= 0
        np.testing.assert_allclose(found[counts], wanted[counts], rtol=1e-4, atol=2e-6)
        assert np.isfinite(found).all()


def test_a_cache_that_does_not_fit_is_an_error(choose: Callable[[str], Kernels]) -> None:
    q, keys = jnp.zeros((1, 1, 2, 32)), LayerKeys(jnp.zeros((1, 1, 1, 8, 32)), jnp.zeros((1, 1, 1, 8, 32)))
    one, slots = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 9), jnp.int32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="does not fit"):
        native_attention(
            q,
            keys,
            layer=0,
            positions_BL=one,
            last_BL=one,
            stored_BS=slots,
            window=None,
            scale=1.0,
            kernels=choose("portable"),
        )
