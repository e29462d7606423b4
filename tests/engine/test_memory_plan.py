"""A request that does not fit is refused before it starts, with the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.engine.memory_plan import MemoryPlan, plan_request, plan_weights, require_context
from osler.errors import CapacityError, RequestError
from osler.model.config import get_config

FULL = get_config("medgemma-1.5-4b")


def test_a_plan_that_fits_passes() -> None:
    MemoryPlan(kv_cache=10, activations=5).require(100)


def test_a_plan_that_does_not_fit_says_what_takes_how_much() -> None:
    plan = MemoryPlan(kv_cache=int(3e9), features=int(1e8), activations=int(5e8))
    with pytest.raises(
        CapacityError,
        match=r"takes 3\.60 GB of memory \(KV cache 3\.00 GB, features 0\.10 GB, activations 0\.50 GB\), "
        r"and 2\.00 GB are free\. Show fewer slices",
    ):
        plan.require(int(2e9))


def test_weights_that_do_not_fit_ask_for_a_smaller_model() -> None:
    with pytest.raises(CapacityError, match=r"weights 8\.60 GB.*smaller model"):
        MemoryPlan(weights=int(8.6e9)).require(int(4e9))


def test_the_published_model_reads_85_slices_in_little_memory() -> None:
    plan = plan_request(FULL, prompt_tokens=22_400, max_tokens=256, images=85, itemsize=2)
    assert plan.kv_cache == pytest.approx(0.62e9 + 2 * 0.15e9, rel=0.05)  # with two marks of the prefix store
    assert plan.features == 2 * 85 * 256 * 2560 * 2
    assert plan.total < 2e9


def test_more_of_anything_takes_more() -> None:
    base = {"prompt_tokens": 2000, "max_tokens": 100, "images": 4, "itemsize": 2}
    smallest = plan_request(FULL, **base).total
    for more in ({"prompt_tokens": 9000}, {"max_tokens": 4000}, {"images": 40}, {"itemsize": 4}, {"rows": 3}):
        assert plan_request(FULL, **{**base, **more}).total > smallest


def test_the_context_is_refused_with_the_numbers() -> None:
    config = get_config("osler-mini").decoder
    require_context(config, prompt_tokens=32_000, max_tokens=768)
    with pytest.raises(CapacityError, match=r"takes 32,001 tokens and the answer may take 768.*at most 767 tokens"):
        require_context(config, prompt_tokens=32_001, max_tokens=768)
    with pytest.raises(CapacityError, match=r"prompt takes 40,000 tokens.*holds 32,768.*fewer slices"):
        require_context(config, prompt_tokens=40_000, max_tokens=1)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(RequestError, match="prompt is empty"):
        require_context(FULL.decoder, prompt_tokens=0, max_tokens=1)


def test_weights_are_counted_before_they_are_loaded(tmp_path: Path) -> None:
    half = plan_weights("osler-mini", itemsize=2).weights
    assert half > 268_000_000 * 2
    assert plan_weights("osler-mini", itemsize=4).weights == 2 * half
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"x" * 500)
    assert plan_weights(str(tmp_path), itemsize=2).weights == 1500
    assert plan_weights(str(tmp_path / "absent"), itemsize=2).weights == 0
