"""The cache returns what a layer may see, in memory that was announced."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.engine.kv_cache import BLOCK, ROOM, KVCache, cache_bytes
from osler.errors import CapacityError
from osler.model.config import OslerConfig, get_config

CONFIG = get_config("debug").decoder
SLIDING, GLOBAL = 0, 5


def _tokens(start: int, count: int, *, rows: int = 1) -> torch.Tensor:
    """Keys that carry the time at which they came."""
    times = torch.arange(start, start + count, dtype=torch.float32)
    return times[None, None, :, None].expand(rows, CONFIG.kv_heads, count, CONFIG.head_dim).contiguous()


@torch.inference_mode()
def _add(cache: KVCache, count: int, *, rows: int = 1) -> dict[int, list[float]]:
    """Adds tokens to all layers and returns the times of the keys that each layer sees."""
    seen = {}
    new = _tokens(cache.length, count, rows=rows)
    for layer in range(CONFIG.layers):
        keys, values, _ = cache.update(layer, new, -new)
        assert torch.equal(keys, -values)
        seen[layer] = keys[0, 0, :, 0].tolist()
    return seen


@given(parts=st.lists(st.integers(1, 700), min_size=1, max_size=6))
@settings(deadline=None, max_examples=40)
def test_layers_see_the_window_or_everything_in_order(parts: list[int]) -> None:
    cache = KVCache(CONFIG, planned=sum(parts))
    before = 0
    for count in parts:
        seen = _add(cache, count)
        assert seen[GLOBAL] == list(range(before + count))
        first = max(0, before - (CONFIG.window - 1))
        assert seen[SLIDING] == list(range(first, before + count))
        before += count
    assert cache.length == before


def test_memory_of_sliding_layers_does_not_grow() -> None:
    cache = KVCache(CONFIG, planned=4096)
    _add(cache, 1)
    first = cache.layers[SLIDING].keys_BKSH.nbytes
    for _ in range(3 * ROOM):
        _add(cache, 1)
    _add(cache, 1000)
    assert cache.layers[SLIDING].keys_BKSH.nbytes == first
    assert cache.layers[SLIDING].keys_BKSH.shape[2] == CONFIG.window - 1 + ROOM


def test_global_layers_grow_in_blocks_up_to_the_plan() -> None:
    cache = KVCache(CONFIG, planned=BLOCK + 10)
    _add(cache, 1)
    assert cache.layers[GLOBAL].keys_BKSH.shape[2] == BLOCK
    _add(cache, BLOCK)
    assert cache.layers[GLOBAL].keys_BKSH.shape[2] == BLOCK + 10


@pytest.mark.parametrize("tokens", [5, 400, 1500])
def test_memory_is_what_was_announced(tokens: int) -> None:
    cache = KVCache(CONFIG, planned=tokens)
    for start in range(0, tokens, 100):
        _add(cache, min(100, tokens - start))
    assert cache.bytes == cache_bytes(CONFIG, tokens=tokens, itemsize=4)


def test_the_published_model_needs_what_the_facts_say() -> None:
    config = get_config("medgemma-1.5-4b").decoder
    needed = cache_bytes(config, tokens=22_400, itemsize=2)
    assert needed == pytest.approx(0.58e9, rel=0.1)


def test_more_than_planned_is_refused() -> None:
    cache = KVCache(CONFIG, planned=10)
    _add(cache, 8)
    with pytest.raises(CapacityError, match="planned for 10 tokens and would hold 11"):
        _add(cache, 3)


def test_rewind_restores_what_a_mark_held() -> None:
    cache = KVCache(CONFIG, planned=2000)
    _add(cache, 100)
    mark = cache.mark()
    for count in (700, 3, 300):
        _add(cache, count)
    cache.rewind(mark, planned=2000)
    assert cache.length == 100
    seen = _add(cache, 2)
    assert seen[GLOBAL] == list(range(102))
    assert seen[SLIDING] == list(range(100 - CONFIG.window + 1, 102))


def test_a_mark_survives_being_used() -> None:
    cache = KVCache(CONFIG, planned=2000)
    _add(cache, 100)
    mark = cache.mark()
    for _ in range(3):
        cache.rewind(mark, planned=2000)
        assert _add(cache, 300)[SLIDING] == list(range(100 - CONFIG.window + 1, 400))


@torch.inference_mode()
def test_stacked_rows_are_padded_on_the_left() -> None:
    rows = [KVCache(CONFIG, planned=100) for _ in range(3)]
    for cache, count in zip(rows, (3, 40, 10), strict=True):
        _add(cache, count)
    joined = KVCache.stack(rows, planned=200)
    assert joined.length == 40
    assert joined.padding_B.tolist() == [37, 0, 30]
    new = _tokens(40, 1, rows=3)
    keys, _, positions = joined.update(GLOBAL, new, new)
    assert keys.shape[2] == 41
    assert positions[0].tolist() == [-1] * 37 + [0, 1, 2, 3]
    assert positions[1].tolist() == list(range(41))
    assert keys[2, 0, 30:40, 0].tolist() == list(range(10))
    keys, _, positions = joined.update(SLIDING, new, new)
    assert keys.shape[2] == CONFIG.window
    assert positions[1].tolist() == list(range(40 - CONFIG.window + 1, 41))
    assert keys[1, 0, :-1, 0].tolist() == list(range(40 - CONFIG.window + 1, 40))
    assert positions[2].tolist() == [-1] * (CONFIG.window - 11) + list(range(11))


@torch.inference_mode()
def test_rows_of_equal_length_need_no_padding(config: OslerConfig) -> None:
    rows = [KVCache(config.decoder, planned=50) for _ in range(2)]
    for cache in rows:
        _add(cache, 20)
    joined = KVCache.stack(rows, planned=50)
    new = _tokens(20, 1, rows=2)
    assert joined.update(GLOBAL, new, new)[2] is None
    assert all(cache.bytes == 0 for cache in rows)
