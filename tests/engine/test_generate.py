"""Cached, chunked, batched and packed runs give the tokens of a plain forward pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.engine.decode import forbidden_ids
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding
from osler.engine.runner import Runner
from osler.engine.sampling import Sampling
from osler.errors import CapacityError, RequestError
from osler.model.config import OslerConfig

SHORT, IMAGES, LONG = {"text": 5}, {"images": 3, "text": 10}, {"images": 12, "text": 40, "seed": 3}


@pytest.mark.parametrize("shape", [SHORT, IMAGES, LONG], ids=["short", "images", "past the window"])
@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_generate_gives_the_tokens_of_a_plain_pass(
    runner: Runner,
    make_prompt: Callable[..., Prompt],
    plain_answer: Callable[..., list[int]],
    shape: dict[str, int],
    chunk: int,
) -> None:
    prompt = make_prompt(**shape)
    (result,) = generate(runner, [prompt], decoding=Decoding(max_tokens=40, chunk=chunk))
    assert result.token_ids == plain_answer(prompt, count=40)
    assert len(set(result.token_ids)) > 5


def test_rows_of_a_batch_answer_as_they_do_alone(
    runner: Runner, make_prompt: Callable[..., Prompt], plain_answer: Callable[..., list[int]]
) -> None:
    prompts = [make_prompt(**shape) for shape in (SHORT, LONG, IMAGES, {"text": 60, "seed": 9})]
    results = generate(runner, prompts, decoding=Decoding(max_tokens=40))
    assert [result.token_ids for result in results] == [plain_answer(prompt, count=40) for prompt in prompts]


def test_sampled_rows_of_a_batch_draw_as_they_do_alone(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    prompts = [make_prompt(**shape) for shape in (SHORT, LONG, IMAGES)]
    decoding = Decoding(max_tokens=20, sampling=Sampling(temperature=0.9, top_p=0.9, seed=7))
    together = generate(runner, prompts, decoding=decoding)
    alone = [generate(runner, [prompt], decoding=decoding)[0] for prompt in prompts]
    assert [result.token_ids for result in together] == [result.token_ids for result in alone]


def test_the_seed_decides(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    def draw(seed: int) -> list[int]:
        sampling = Sampling(temperature=2.0, seed=seed)
        return generate(runner, [make_prompt(**SHORT)], decoding=Decoding(max_tokens=12, sampling=sampling))[
            0
        ].token_ids

    assert draw(1) == draw(1) != draw(2)


def test_an_answer_never_holds_image_tokens_or_padding(
    runner: Runner, make_prompt: Callable[..., Prompt], config: OslerConfig
) -> None:
    forbidden = set(forbidden_ids(config.tokens, vocab=config.decoder.vocab))
    assert forbidden == {0, 500, 501, 511}
    decoding = Decoding(max_tokens=400, sampling=Sampling(temperature=50.0, seed=0))
    (result,) = generate(runner, [make_prompt(**SHORT)], decoding=decoding)
    assert not forbidden & set(result.token_ids)


def test_a_stop_token_ends_the_row_and_is_left_out(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    decoding = Decoding(max_tokens=3000, sampling=Sampling(temperature=50.0, seed=0))
    (result,) = generate(runner, [make_prompt(**SHORT)], decoding=decoding)
    assert result.stopped == "end"
    assert not {1, 106} & set(result.token_ids)


def test_a_row_ends_when_the_caller_says_so(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    seen: list[tuple[int, int]] = []

    def take(row: int, token: int) -> bool:
        seen.append((row, token))
        return row == 0 and len(seen) >= 3

    one, two = generate(
        runner, [make_prompt(**SHORT), make_prompt(**IMAGES)], decoding=Decoding(max_tokens=10), on_token=take
    )
    assert (one.stopped, len(one.token_ids)) == ("stop_string", 2)
    assert (two.stopped, len(two.token_ids)) == ("max_tokens", 10)


def test_a_request_beyond_the_context_is_refused_with_the_numbers(
    runner: Runner, make_prompt: Callable[..., Prompt]
) -> None:
    prompt = make_prompt(text=4000)
    with pytest.raises(CapacityError, match=r"takes 4,001 tokens and the answer may take 200.*at most 95 tokens"):
        generate(runner, [prompt], decoding=Decoding(max_tokens=200))
    with pytest.raises(CapacityError, match=r"takes 5,001 tokens.*holds 4,096 tokens"):
        generate(runner, [make_prompt(text=5000)], decoding=Decoding(max_tokens=1))


def test_an_empty_prompt_is_refused(runner: Runner) -> None:
    with pytest.raises(RequestError, match="prompt is empty"):
        generate(runner, [Prompt(token_ids=np.zeros(0, dtype=np.int64))], decoding=Decoding(max_tokens=1))


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_max_tokens_must_be_a_whole_number_from_1(value: object) -> None:
    with pytest.raises(RequestError, match=r"max_tokens .* out of range.*whole number from 1"):
        Decoding(max_tokens=value)
