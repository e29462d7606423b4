"""The compiled step gives the tokens of the model's own forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from osler.engine.generate import Prompt
from osler.engine.kv_cache import KVCache, LayerCache
from osler.engine.lean_step import LeanStep
from osler.engine.native_step import NativeStep
from osler.engine.runner import Runner
from osler.errors import CapacityError, RequestError
from osler.model.osler import Osler
from osler.quant.build import Built
from osler.quant.kernels import PATHS, Kernels, TorchKernels, choose_kernels
from osler.quant.network import quantized_network
from osler.quant.packed import FEW_ROWS
from osler.quant.plan import default_plan
from osler.quant.source import WeightSource
from tests.quant.conftest import built

__all__ = ["built"]

TOKENS = torch.arange(110, 170).tolist()


def _network(model: Osler, *, kernels: Kernels, dtype: torch.dtype = torch.bfloat16, bits: int = 8) -> Osler:
    plan = default_plan(model.config, bits=bits)
    source = WeightSource(stored=model.state_dict())
    return quantized_network(source, config=model.config, plan=plan, dtype=dtype, kernels=kernels, name="debug")


def _logits(network: Osler, prompt: Prompt, *, step: type[NativeStep | LeanStep] | None) -> torch.Tensor:
    """Logits after each of some tokens, one step a token; ``None``: by the modules."""
    runner = Runner(network)
    cache = KVCache(network.config.decoder, planned=400)
    runner.read(torch.from_numpy(prompt.token_ids)[None], features_NTD=None, cache=cache)
    runner._single = None if step is None else step(network.decoder)
    return torch.cat([runner.step(torch.tensor([token]), cache=cache) for token in TOKENS]).float()


@pytest.fixture(params=PATHS)
def kernels(request: pytest.FixtureRequest, built: Built) -> Kernels:
    try:
        return choose_kernels(request.param, library=built.path).kernels
    except RequestError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("text", [3, 60])
def test_it_is_as_near_to_float32_as_the_modules_are(
    model: Osler, make_prompt: Callable[..., Prompt], kernels: Kernels, text: int
) -> None:
    # The window of the sliding layers is 24 tokens, so that the steps move it twice.
    prompt, network = make_prompt(text=text), _network(model, kernels=kernels)
    exact = _logits(_network(model, kernels=TorchKernels(), dtype=torch.float32), prompt, step=None)
    native, lean = (_logits(network, prompt, step=step) for step in (NativeStep, LeanStep))
    assert float((native - exact).norm()) < 1.1 * float((lean - exact).norm())
    assert float((native.argmax(-1) == lean.argmax(-1)).float().mean()) > 0.9


@pytest.mark.parametrize("bits", [8, 4])
def test_tokens_together_are_those_of_single_steps(
    model: Osler, make_prompt: Callable[..., Prompt], kernels: Kernels, bits: int
) -> None:
    runner = Runner(_network(model, kernels=kernels, bits=bits))
    assert runner.repeats(memory=None)
    assert isinstance(runner._single, NativeStep)
    tokens, prompt = torch.tensor(TOKENS * 5), torch.from_numpy(make_prompt(text=40).token_ids)[None]

    def read(count: int) -> tuple[torch.Tensor, KVCache]:
        cache = runner.new_cache(planned=400)
        runner.read(prompt, features_NTD=None, cache=cache)
        step = runner.step if count == 1 else runner.steps
        return torch.cat([step(part, cache=cache) for part in tokens.split(count)]), cache

    # More than the sliding layers append before they move their window.
    wanted, alone = read(1)
    for count in (2, 7, 9, FEW_ROWS, 3 * FEW_ROWS - 1):
        found, together = read(count)
        assert torch.equal(found, wanted), count
        for one, other in zip(alone.layers, together.layers, strict=True):
            assert one.keys_BKSH is not None
            assert other.keys_BKSH is not None
            kept = alone.length if one.keep is None else one.keep
            wanted_keys = one.keys_BKSH[:, :, one.end - kept : one.end]
            assert torch.equal(other.keys_BKSH[:, :, other.end - kept : other.end], wanted_keys)


def test_without_compiled_kernels_too(model: Osler, make_prompt: Callable[..., Prompt]) -> None:
    runner = Runner(_network(model, kernels=TorchKernels()))
    assert runner.repeats(memory=None)
    prompt, found = torch.from_numpy(make_prompt(text=40).token_ids)[None], []
    for count in (1, 9):
        cache = runner.new_cache(planned=400)
        runner.read(prompt, features_NTD=None, cache=cache)
        found.append(torch.cat([runner.steps(part, cache=cache) for part in torch.tensor(TOKENS).split(count)]))
    assert torch.equal(found[0], found[1])


def test_threads_do_not_change_a_bit(model: Osler, make_prompt: Callable[..., Prompt], built: Built) -> None:
    network, prompt = _network(model, kernels=choose_kernels("portable", library=built.path).kernels), make_prompt()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found.append(_logits(network, prompt, step=NativeStep))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


def test_it_fits_only_what_the_kernels_can_run(model: Osler, built: Built) -> None:
    native = choose_kernels("portable", library=built.path).kernels
    assert not NativeStep.fits(model.decoder)
    assert not NativeStep.fits(_network(model, kernels=TorchKernels()).decoder)
    assert not NativeStep.fits(_network(model, kernels=native, dtype=torch.float32).decoder)
    network = _network(model, kernels=native)
    assert NativeStep.fits(network.decoder)
    assert isinstance(Runner(network)._single, NativeStep)


def test_a_reserved_place_is_where_a_token_would_have_gone(model: Osler) -> None:
    likes = [torch.full((1, 1, 1, 16), float(number)) for number in range(400)]
    for keep, count in itertools.product((None, 23), (1, 2, 8)):
        appended, reserved = LayerCache(keep=keep), LayerCache(keep=keep)
        for start in range(0, len(likes), count):
            together = likes[start : start + count]
            first = reserved.reserve(likes[0], count=count, limit=400)
            for place, like in enumerate(together, start=first):
                keys, _ = appended.append(like, like, limit=400)
                assert reserved.keys_BKSH is not None
                reserved.keys_BKSH[:, :, place] = like[:, :, 0]
                seen = 0 if keep is None else max(0, place - keep)
                assert torch.equal(reserved.keys_BKSH[:, :, seen : place + 1], keys)


def test_a_full_cache_is_refused(model: Osler, make_prompt: Callable[..., Prompt], built: Built) -> None:
    network = _network(model, kernels=choose_kernels("portable", library=built.path).kernels)
    prompt = torch.from_numpy(make_prompt(text=5).token_ids)[None]
    cache, runner = KVCache(network.config.decoder, planned=prompt.shape[1]), Runner(network)
    runner.read(prompt, features_NTD=None, cache=cache)
    with pytest.raises(CapacityError, match="Ask for fewer tokens"):
        runner.step(torch.tensor([110]), cache=cache)
