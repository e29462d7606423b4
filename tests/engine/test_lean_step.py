"""The lean step gives the tokens of the model's own forward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from osler.engine.generate import Prompt
from osler.engine.kv_cache import KVCache
from osler.engine.lean_step import LeanStep
from osler.engine.runner import Runner
from osler.model.osler import Osler
from osler.model.pack import choose_packing, pack


def _packed(model: Osler, *, dtype: torch.dtype) -> Osler:
    network = copy.deepcopy(model).to(dtype)
    pack(network.decoder)
    return network


def _next_logits(network: Osler, prompt: Prompt, *, tokens: list[int], lean: bool) -> torch.Tensor:
    """Logits after each of some tokens, one step a token."""
    runner = Runner(network)
    cache = KVCache(network.config.decoder, planned=400)
    runner.read(torch.from_numpy(prompt.token_ids)[None], features_NTD=None, cache=cache)
    if not lean:
        runner._single = None
    return torch.cat([runner.step(torch.tensor([token]), cache=cache) for token in tokens])


@pytest.mark.parametrize("text", [3, 60])
def test_float32_agrees_with_the_model(model: Osler, make_prompt: Callable[..., Prompt], text: int) -> None:
    network = _packed(model, dtype=torch.float32)
    prompt, tokens = make_prompt(text=text), torch.arange(110, 170).tolist()
    lean, full = (_next_logits(network, prompt, tokens=tokens, lean=lean) for lean in (True, False))
    torch.testing.assert_close(lean, full, rtol=1e-4, atol=1e-5)
    assert torch.equal(lean.argmax(-1), full.argmax(-1))


@pytest.mark.skipif(
    choose_packing(device=torch.device("cpu"), dtype=torch.bfloat16).layout != "onednn",
    reason="this CPU has no bfloat16 kernels",
)
def test_bfloat16_is_as_near_to_float32_as_the_model_is(model: Osler, make_prompt: Callable[..., Prompt]) -> None:
    prompt, tokens = make_prompt(text=60), torch.arange(110, 170).tolist()
    exact = _next_logits(_packed(model, dtype=torch.float32), prompt, tokens=tokens, lean=False)
    small = _packed(model, dtype=torch.bfloat16)
    lean, full = (_next_logits(small, prompt, tokens=tokens, lean=lean).float() for lean in (True, False))
    assert float((lean - exact).norm()) < 1.05 * float((full - exact).norm())
    assert float((lean.argmax(-1) == full.argmax(-1)).float().mean()) > 0.9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tokens_together_are_those_of_single_steps(
    model: Osler, make_prompt: Callable[..., Prompt], dtype: torch.dtype
) -> None:
    runner = Runner(_packed(model, dtype=dtype))
    prompt, tokens, found = torch.from_numpy(make_prompt(text=60).token_ids)[None], torch.arange(110, 170), []
    for count in (1, 9):
        cache = KVCache(runner.config.decoder, planned=400)
        runner.read(prompt, features_NTD=None, cache=cache)
        found.append(torch.cat([runner.steps(part, cache=cache) for part in tokens.split(count)]))
    assert runner.repeats(memory=None)
    assert torch.equal(found[1], found[0])


def test_only_a_packed_decoder_that_is_known_fits(model: Osler) -> None:
    assert not LeanStep.fits(model.decoder)
    network = _packed(model, dtype=torch.float32)
    assert LeanStep.fits(network.decoder)
    network.decoder.layers[3].add_module("adapter", torch.nn.Identity())
    assert not LeanStep.fits(network.decoder)


def test_the_step_is_taken_for_one_row_of_a_packed_decoder(model: Osler) -> None:
    assert Runner(model)._single is None
    assert Runner(_packed(model, dtype=torch.float32))._single is not None
