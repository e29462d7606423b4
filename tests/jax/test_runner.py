"""Prefill, steps and the cache against the PyTorch runner, in float32."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.engine.kv_cache import KVCache
from osler.errors import CapacityError
from osler.jax.runner import JaxCache
from tests.jax.conftest import CONFIGS, Pair, difference

_IMAGE = [500, *[511] * 4, 501]


def prompt(*, words: int = 20) -> torch.Tensor:
    return torch.tensor([[2, *_IMAGE, *range(10, 10 + words), *_IMAGE, 7, 8, *_IMAGE, 9]])


def features_for(pair: Pair, *, count: int = 3) -> torch.Tensor:
    assert pair.config.vision is not None
    generator = torch.Generator().manual_seed(7)
    side = pair.config.vision.image_size
    return pair.torch.model.encode_images(torch.randn(count, 3, side, side, generator=generator))


@pytest.mark.parametrize("name", CONFIGS)
def test_prefill_and_steps_past_the_window(name: str, pair_of) -> None:
    pair = pair_of(name)
    features, ids = features_for(pair), prompt()
    theirs, ours = KVCache(pair.config.decoder, planned=120), pair.jax.new_cache(planned=120)
    wanted = pair.torch.read(ids, features_NTD=features, cache=theirs)
    assert difference(pair.jax.read(ids, features_NTD=features, cache=ours), wanted) < 1e-5
    more = torch.arange(40, 57)[None]
    wanted = pair.torch.read(more, features_NTD=None, cache=theirs)
    assert difference(pair.jax.read(more, features_NTD=None, cache=ours), wanted) < 1e-5
    for number in range(40):
        token = torch.tensor([number * 37 % 490])
        wanted = pair.torch.step(token, cache=theirs)
        assert difference(pair.jax.step(token, cache=ours), wanted) < 1e-5, number
    assert ours.length == theirs.length


def test_a_mark_brings_back_the_same_logits(pair_of) -> None:
    pair = pair_of()
    cache = pair.jax.new_cache(planned=100)
    pair.jax.read(prompt(), features_NTD=features_for(pair), cache=cache)
    point = cache.mark()
    first = [pair.jax.step(torch.tensor([token]), cache=cache) for token in range(20, 60)]
    saved = cache.saved(point)
    cache.rewind(point, planned=100)
    again = [pair.jax.step(torch.tensor([token]), cache=cache) for token in range(20, 60)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other, _ = JaxCache.restored(saved, length=point.length, planned=100)
    assert other.length == point.length
    restored = [pair.jax.step(torch.tensor([token]), cache=other) for token in range(20, 60)]
    assert max(difference(a, b) for a, b in zip(restored, first, strict=True)) < 1e-6
    cache.rewind(point, planned=700)
    longer = [pair.jax.step(torch.tensor([token]), cache=cache) for token in range(20, 60)]
    assert max(difference(a, b) for a, b in zip(longer, first, strict=True)) < 1e-6


def test_rows_of_a_batch_are_what_they_are_alone(pair_of) -> None:
    pair = pair_of()
    features = features_for(pair)
    alone, caches, wanted = [], [], []
    for words in (3, 17):
        for copies in (alone, caches):
            cache = pair.jax.new_cache(planned=90)
            pair.jax.read(prompt(words=words), features_NTD=features, cache=cache)
            copies.append(cache)
    joined = JaxCache.stack(caches, planned=90)
    for number in range(30):
        token = torch.tensor([number + 20])
        wanted = torch.cat([pair.jax.step(token, cache=cache) for cache in alone])
        found = pair.jax.step(token.expand(2), cache=joined)
        assert difference(found, wanted) < 1e-5


def test_more_tokens_than_planned_are_refused(pair_of) -> None:
    pair = pair_of()
    cache = pair.jax.new_cache(planned=10)
    with pytest.raises(CapacityError, match="planned for 10 tokens"):
        pair.jax.read(prompt(), features_NTD=features_for(pair), cache=cache)


def test_a_new_length_in_the_same_bucket_compiles_nothing(pair_of) -> None:
    from osler.jax import runner

    pair = pair_of()
    pair.jax.read(torch.tensor([[2, 11, 12]]), features_NTD=None, cache=pair.jax.new_cache(planned=80))
    compiled = runner._read.shapes
    for length in (1, 5, 16):
        pair.jax.read(torch.full((1, length), 11), features_NTD=None, cache=pair.jax.new_cache(planned=80 + length))
    assert runner._read.shapes == compiled
