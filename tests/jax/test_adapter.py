"""The cross-attention adapter against its PyTorch twin, in float32, alone and inside the decoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax
import jax.numpy as jnp

from osler.engine.kv_cache import KVCache
from osler.jax import adapter
from osler.jax.arrays import to_jax, to_torch
from osler.model.adapter import AdapterMemory, CrossAttentionAdapter
from osler.model.config import AdapterConfig, OslerConfig, get_config
from tests.jax.conftest import Pair, difference
from tests.jax.parts import random_part, require_near, tree_of

_DEBUG = get_config("debug-parts")
assert _DEBUG.vision is not None
V, D = _DEBUG.vision.width, _DEBUG.decoder.width


def config_for(every: int) -> OslerConfig:
    return replace(_DEBUG, adapter=AdapterConfig(every=every, heads=3, head_dim=8, pool=2))


@pytest.mark.parametrize("every", [1, 3])
def test_every_layer_reads_what_its_twin_reads(every: int) -> None:
    config = config_for(every)
    assert config.adapter is not None
    part = random_part(CrossAttentionAdapter(config), seed=every)
    tree = tree_of(part)
    memory_BMV, stream = torch.randn(3, 11, V), torch.randn(3, 5, D)
    padding = torch.zeros(3, 11, dtype=torch.bool)
    padding[0, 7:] = True
    padding[2] = True
    theirs = part.memory_keys_values(memory_BMV, padding_BM=padding)
    ours = adapter.memory_keys_values(tree, to_jax(memory_BMV), config=config.adapter, padding_BM=to_jax(padding))
    numbers = adapter.layer_numbers(config.adapter, decoder=config.decoder)
    read = jax.jit(adapter.read, static_argnames="config")
    for layer in range(config.decoder.layers):
        found = read(tree, to_jax(stream), memory=ours, number=jnp.int32(numbers[layer]), config=config.adapter)
        require_near(found, theirs.read(stream, layer=layer))
        assert torch.equal(to_torch(found)[2], stream[2])


def test_patches_are_pooled_alike() -> None:
    config = config_for(3)
    assert config.adapter is not None
    assert config.vision is not None
    part = CrossAttentionAdapter(config)
    features = torch.randn(3, config.vision.side**2, V)
    found = adapter.pool_patches(to_jax(features), config=config.adapter, vision=config.vision)
    require_near(found, part.pool_patches(features))


def test_prompts_with_and_without_images_in_one_batch(pair_of) -> None:
    """Prefill in two parts and steps, with memories of three images, of one and of none."""
    pair: Pair = pair_of("all parts")
    side = pair.config.vision.image_size
    pixels = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(3))
    theirs, ours, wants, finds = [], [], [], []
    for some in (pixels[:3], pixels[3:]):
        theirs.append(pair.torch.model.memory_of(pair.torch.model.memory_features(some)))
        ours.append(pair.jax.network.memory_of(pair.jax.network.memory_features(some)))
    theirs.append(theirs[0].nothing())
    ours.append(ours[0].nothing())
    caches = [], []
    for row, (their_memory, our_memory) in enumerate(zip(theirs, ours, strict=True)):
        their_cache, our_cache = KVCache(pair.config.decoder, planned=80), pair.jax.new_cache(planned=80)
        for part in (torch.arange(20 + row, 37)[None], torch.arange(40, 45)[None]):
            wanted = pair.torch.read(part, features_NTD=None, cache=their_cache, memory=their_memory)
            found = pair.jax.read(part, features_NTD=None, cache=our_cache, memory=our_memory)
            assert difference(found, wanted) < 1e-5
        wants.append(wanted)
        finds.append(found)
        caches[0].append(their_cache)
        caches[1].append(our_cache)
    assert difference(finds[0], wants[2]) > 1e-3, "the memory must matter"
    their_cache = caches[0][0].stack(caches[0], planned=80)
    our_cache = caches[1][0].stack(caches[1], planned=80)
    for token in range(50, 58):
        ids = torch.tensor([token, token + 1, token + 2])
        wanted = pair.torch.step(ids, cache=their_cache, memory=AdapterMemory.stack(theirs))
        found = pair.jax.step(ids, cache=our_cache, memory=ours[0].stack(ours))
        assert difference(found, wanted) < 1e-5


def test_scores_of_given_words_read_the_memory_too(pair_of) -> None:
    pair: Pair = pair_of("all parts")
    side = pair.config.vision.image_size
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(5))
    theirs = pair.torch.model.memory_of(pair.torch.model.memory_features(pixels))
    ours = pair.jax.network.memory_of(pair.jax.network.memory_features(pixels))
    words = torch.arange(30, 43)[None]
    wanted = pair.torch.score(words, cache=KVCache(pair.config.decoder, planned=40), memory=theirs)
    assert difference(pair.jax.score(words, cache=pair.jax.new_cache(planned=40), memory=ours), wanted) < 1e-5
