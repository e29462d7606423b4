"""A prefix that was read before gives the same tokens without reading it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from osler.engine.decode import Generated
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore, PromptKey, image_digests
from osler.engine.runner import Runner

DECODING = Decoding(max_tokens=30, chunk=32)


def _ask(runner: Runner, prompt: Prompt, *, store: PrefixStore) -> Generated:
    return generate(runner, [prompt], decoding=DECODING, prefix=store)[0]


def _other_question(prompt: Prompt, *, text: int, seed: int) -> Prompt:
    study = prompt.token_ids[: int(np.flatnonzero(prompt.token_ids == 501)[-1]) + 1]
    question = np.random.default_rng(seed).integers(110, 490, text)
    return replace(prompt, token_ids=np.concatenate((study, question)))


def test_the_second_question_reads_only_itself(
    runner: Runner, make_prompt: Callable[..., Prompt], plain_answer: Callable[..., list[int]]
) -> None:
    store = PrefixStore()
    first = make_prompt(images=12, text=40, seed=3)
    study = len(first.token_ids) - 40
    for seed, text in enumerate((40, 5, 60, 11)):
        prompt = first if seed == 0 else _other_question(first, text=text, seed=seed)
        result = _ask(runner, prompt, store=store)
        assert result.reused_tokens == (0 if seed == 0 else study)
        assert result.token_ids == plain_answer(prompt, count=30)


def test_reused_logits_are_equal_to_the_bit(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    store = PrefixStore()
    first = make_prompt(images=12, text=40, seed=3)
    second = _other_question(first, text=9, seed=5)
    _ask(runner, first, store=store)
    key = PromptKey(
        token_ids=second.token_ids, images=image_digests(second.features_NTD), image_token=511, image_tokens=4
    )
    ends = [32, len(second.token_ids) - 9, len(second.token_ids)]
    reused, _ = store.take(key, ends=ends, runner=runner, planned=len(second.token_ids))
    assert reused.length == len(second.token_ids) - 9
    question = torch.from_numpy(second.token_ids[-9:])[None]
    from_store = runner.read(question, features_NTD=None, cache=reused)
    fresh = PrefixStore()
    _ask(runner, second, store=fresh)
    again, _ = fresh.take(key, ends=ends, runner=runner, planned=len(second.token_ids))
    assert torch.equal(from_store, runner.read(question, features_NTD=None, cache=again))


def test_the_same_tokens_over_another_image_are_not_the_same_prefix(
    runner: Runner, make_prompt: Callable[..., Prompt], plain_answer: Callable[..., list[int]]
) -> None:
    store = PrefixStore()
    first = make_prompt(images=6, text=20, seed=3)
    _ask(runner, first, store=store)
    assert first.features_NTD is not None
    features = first.features_NTD.clone()
    features[2] = make_prompt(images=1, seed=8).features_NTD[0]
    other = replace(first, features_NTD=features)
    result = _ask(runner, other, store=store)
    assert result.reused_tokens == 0
    assert result.token_ids == plain_answer(other, count=30) != plain_answer(first, count=30)


def test_common_counts_up_to_the_first_image_that_differs() -> None:
    ids = np.array([2, 7, 500, 511, 511, 501, 500, 511, 511, 501, 9])

    def key(*images: str, token_ids: np.ndarray = ids) -> PromptKey:
        return PromptKey(token_ids=token_ids, images=images, image_token=511, image_tokens=2)

    assert key("a", "b").common(key("a", "b")) == 11
    assert key("a", "b").common(key("a", "c")) == 7
    assert key("a", "b").common(key("c", "b")) == 3
    assert key("a", "b").common(key("a", "b", token_ids=np.array([2, 7, 500, 511, 511, 501, 8]))) == 6


def test_a_long_text_is_reused_up_to_its_last_part(
    runner: Runner, make_prompt: Callable[..., Prompt], plain_answer: Callable[..., list[int]]
) -> None:
    store = PrefixStore()
    prompt = make_prompt(text=100)
    _ask(runner, prompt, store=store)
    longer = replace(prompt, token_ids=np.concatenate((prompt.token_ids, [200, 300])))
    result = _ask(runner, longer, store=store)
    assert result.reused_tokens == 96
    assert result.token_ids == plain_answer(longer, count=30)


def test_few_marks_are_kept(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    store = PrefixStore()
    first = make_prompt(images=12, text=40, seed=3)
    _ask(runner, first, store=store)
    held = store.bytes
    for seed in range(1, 4):
        _ask(runner, _other_question(first, text=40, seed=seed), store=store)
    assert store.bytes == held


def test_clear_frees_the_memory(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    store = PrefixStore()
    _ask(runner, make_prompt(text=40), store=store)
    assert store.bytes > 0
    store.clear()
    assert store.bytes == 0
