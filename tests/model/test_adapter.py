"""The cross-attention adapter: parity with torch, computed once, padding unseen, cached equal to uncached."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from osler.engine.kv_cache import KVCache
from osler.errors import RequestError
from osler.model.adapter import AdapterLayer, AdapterMemory, CrossAttentionAdapter
from osler.model.config import AdapterConfig, get_config
from osler.model.osler import Osler

CONFIG = get_config("debug-parts")


@pytest.fixture(scope="module")
def model() -> Osler:
    """Random weights with open gates."""
    torch.manual_seed(2)
    network = Osler(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.15)
    return network


def test_a_layer_is_torchs_multihead_attention_behind_a_gate() -> None:
    torch.manual_seed(0)
    layer = AdapterLayer(CONFIG)
    width, seen, inner = 64, 48, 32
    nn.init.constant_(layer.gate, 0.3)
    reference = nn.MultiheadAttention(inner, 2, bias=False, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.eye(inner).repeat(3, 1))
        reference.out_proj.weight.copy_(torch.eye(inner))
    x, memory = torch.randn(2, 5, width), torch.randn(2, 9, seen)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 6:] = True
    k, v = layer.keys_values(memory)
    found = layer(x, k_BNMH=k, v_BNMH=v, padding_BM=padding)
    normal = F.layer_norm(memory, (seen,))
    gathered, _ = reference(
        layer.q_proj(F.layer_norm(x, (width,))),
        layer.k_proj(normal),
        layer.v_proj(normal),
        key_padding_mask=padding,
        need_weights=False,
    )
    expected = x + torch.tanh(torch.tensor(0.3)) * layer.out_proj(gathered)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_stands_before_every_kth_layer(model: Osler) -> None:
    assert CONFIG.adapter is not None
    assert CONFIG.adapter.layers(CONFIG.decoder) == (2, 5)
    assert model.adapter is not None
    assert set(model.adapter.layers) == {"2", "5"}
    memory = model.image_memory(torch.zeros(1, 3, 32, 32))
    x = torch.randn(1, 3, 64)
    for layer in range(CONFIG.decoder.layers):
        assert torch.equal(memory.read(x, layer=layer), x) == (layer not in (2, 5))


def test_decoding_with_a_cache_gives_what_the_whole_pass_gives(model: Osler) -> None:
    """The memory is computed once; prompt in two parts, then token by token."""
    ids = torch.randint(110, 480, (1, 40), generator=torch.Generator().manual_seed(1))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    memory = model.image_memory(pixels)
    positions = torch.arange(40)[None]
    x = model.embed(ids)
    whole = model.decoder(x, positions_BL=positions, memory=memory)
    cache = KVCache(CONFIG.decoder, planned=40)
    parts = [
        model.decoder(x[:, part], positions_BL=positions[:, part], cache=cache, memory=memory)
        for part in (slice(0, 20), slice(20, 33), *(slice(i, i + 1) for i in range(33, 40)))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)
    without = model.decoder(x, positions_BL=positions)
    assert (whole - without).abs().max() > 0.01


def test_padding_is_not_seen_and_rows_do_not_mix(model: Osler) -> None:
    assert model.adapter is not None
    generator = torch.Generator().manual_seed(3)
    long, short = (torch.randn(1, count, 48, generator=generator) for count in (11, 4))
    alone = [model.adapter.memory_keys_values(memory) for memory in (long, short)]
    both = AdapterMemory.stack(alone)
    assert (both.rows, both.length) == (2, 11)
    x = torch.randn(2, 6, 64, generator=generator)
    positions = torch.arange(6).expand(2, -1)
    together = model.decoder(x, positions_BL=positions, memory=both)
    for row, memory in enumerate(alone):
        single = model.decoder(x[row : row + 1], positions_BL=positions[:1], memory=memory)
        torch.testing.assert_close(together[row : row + 1], single, rtol=1e-4, atol=1e-5)


def test_a_row_without_images_is_read_as_without_an_adapter(model: Osler) -> None:
    assert model.adapter is not None
    memory = model.adapter.memory_keys_values(torch.randn(1, 3, 48), padding_BM=torch.ones(1, 3, dtype=torch.bool))
    x, positions = torch.randn(1, 5, 64), torch.arange(5)[None]
    found = model.decoder(x, positions_BL=positions, memory=memory)
    assert torch.equal(found, model.decoder(x, positions_BL=positions))


def test_gradients_reach_the_gate_first_and_everything_once_it_is_open() -> None:
    torch.manual_seed(4)
    adapter = CrossAttentionAdapter(CONFIG)
    x = torch.randn(1, 3, 64)

    def gradients() -> dict[str, float]:
        adapter.zero_grad(set_to_none=True)
        memory = adapter.memory_keys_values(torch.randn(1, 7, 48))
        memory.read(x, layer=2).square().sum().backward()
        own = adapter.layers["2"].named_parameters()
        return {name: 0.0 if p.grad is None else float(p.grad.abs().sum()) for name, p in own}

    closed = gradients()
    assert closed.pop("gate") > 0
    assert set(closed.values()) == {0.0}
    nn.init.constant_(adapter.layers["2"].gate, 0.1)
    assert all(size > 0 for size in gradients().values())


@pytest.mark.parametrize(
    ("change", "said"), [({"every": 8}, "every 8th of 7 layers"), ({"pool": 3}, "squares of 3 patches of 8 a side")]
)
def test_an_adapter_that_does_not_fit_is_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        CrossAttentionAdapter(dataclasses.replace(CONFIG, adapter=dataclasses.replace(CONFIG.adapter, **change)))


def test_a_configuration_without_sense_is_refused() -> None:
    with pytest.raises(RequestError, match="adapter's heads is 0"):
        AdapterConfig(heads=0)
