"""The decoder: causality, gradients, precision."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from osler.engine.kv_cache import KVCache
from osler.model.config import get_config
from osler.model.decoder import Decoder

CONFIG = get_config("debug").decoder


def _decoder(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(CONFIG).eval()


def _positions(x_BLD: torch.Tensor) -> torch.Tensor:
    return torch.arange(x_BLD.shape[1]).expand(x_BLD.shape[:2])


@torch.inference_mode()
def test_later_tokens_do_not_change_earlier_ones() -> None:
    decoder = _decoder()
    x = torch.randn(1, 40, CONFIG.width)
    changed = x.clone()
    changed[:, 25:] += 1
    one, two = (decoder(y, positions_BL=_positions(y)) for y in (x, changed))
    torch.testing.assert_close(one[:, :25], two[:, :25])
    assert not torch.allclose(one[:, 25:], two[:, 25:])


@torch.inference_mode()
def test_tokens_of_an_image_see_each_other() -> None:
    decoder = _decoder()
    x = torch.randn(1, 12, CONFIG.width)
    changed = x.clone()
    changed[:, 8] += 1
    blocks = torch.full((1, 12), -1)
    blocks[:, 5:9] = 0
    one, two = (decoder(y, positions_BL=_positions(y), image_blocks_BL=blocks) for y in (x, changed))
    torch.testing.assert_close(one[:, :5], two[:, :5])
    assert not torch.allclose(one[:, 5], two[:, 5])


@torch.inference_mode()
def test_the_last_token_alone_leaves_the_last_layer() -> None:
    decoder = _decoder()
    x, tokens = torch.randn(2, 12, CONFIG.width), []
    caches = [KVCache(CONFIG, planned=16) for _ in range(2)]
    decoder.layers[-1].mlp.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].shape[1]))
    whole, last = (
        decoder(x, positions_BL=_positions(x), cache=cache, last_only=only)
        for cache, only in zip(caches, (False, True), strict=True)
    )
    torch.testing.assert_close(last, whole[:, -1:])
    assert tokens == [12, 1]
    for one, two in zip(caches[0].layers, caches[1].layers, strict=True):
        assert one.keys_BKSH is not None
        assert two.keys_BKSH is not None
        torch.testing.assert_close(one.keys_BKSH[:, :, :12], two.keys_BKSH[:, :, :12])


@torch.inference_mode()
def test_padding_changes_nothing() -> None:
    decoder = _decoder()
    x = torch.randn(1, 9, CONFIG.width)
    wide = torch.cat((torch.randn(1, 4, CONFIG.width), x, torch.randn(1, 3, CONFIG.width)), dim=1)
    padding = torch.zeros(1, 16, dtype=torch.bool)
    padding[:, :4] = padding[:, 13:] = True
    positions = (torch.arange(16) - 4).clamp(min=0)[None]
    found = decoder(wide, positions_BL=positions, padding_BL=padding)[:, 4:13]
    torch.testing.assert_close(found, decoder(x, positions_BL=_positions(x)))


def test_every_parameter_gets_a_gradient() -> None:
    decoder = _decoder().train()
    ids = torch.randint(0, CONFIG.vocab, (2, 30))
    hidden = decoder(decoder.embed(ids), positions_BL=_positions(ids[..., None]))
    torch.nn.functional.cross_entropy(decoder.logits(hidden).flatten(0, 1), ids.flatten()).backward()
    without = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_embedding_scale_is_rounded_to_the_weights() -> None:
    config = get_config("medgemma-1.5-4b").decoder
    with torch.device("meta"):
        decoder = Decoder(config)
    table = torch.nn.Embedding(3, config.width, dtype=torch.bfloat16)
    table.weight.data.fill_(1.0)
    decoder.embed_tokens = table
    assert decoder.embed(torch.tensor([[1]])).unique().tolist() == [50.5]


@torch.inference_mode()
def test_stays_in_bfloat16() -> None:
    decoder = _decoder().bfloat16()
    x = torch.randn(1, 30, CONFIG.width, dtype=torch.bfloat16)
    hidden = decoder(x, positions_BL=_positions(x))
    assert hidden.dtype == decoder.logits(hidden).dtype == torch.bfloat16


class _Made(TorchDispatchMode):
    """Notes the number of elements of all memory that operations take."""

    def __init__(self, *given: torch.Tensor) -> None:
        super().__init__()
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.elements: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() not in self.given:
            self.elements.append(found.numel())
        return found


@torch.no_grad()
def test_logits_of_the_last_token_do_not_copy_the_head() -> None:
    decoder = _decoder()
    hidden = torch.randn(1, 8, CONFIG.width)
    with _Made(hidden, decoder.embed_tokens.weight) as made:
        logits = decoder.logits(hidden[:, -1:])
    assert logits.shape == (1, 1, CONFIG.vocab)
    assert max(made.elements) == CONFIG.vocab
    torch.testing.assert_close(logits, decoder.logits(hidden)[:, -1:])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_logits_take_hidden_states_of_any_rank(shape):
    decoder = Decoder(get_config("debug").decoder)
    hidden = torch.randn(*shape, decoder.config.width)
    logits = decoder.logits(hidden)
    assert logits.shape == (*shape, decoder.config.vocab)
    torch.testing.assert_close(logits, hidden @ decoder.embed_tokens.weight.T)
