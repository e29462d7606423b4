"""Guesses change the time that an answer takes, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

import osler
import osler.engine.draft_network as draft_module
import osler.engine.session as session_module
from osler.engine.constrained import Grammars, JsonSchema
from osler.engine.decode import Generated
from osler.engine.generate import Prompt, generate
from osler.engine.kv_cache import KVCache
from osler.engine.options import Decoding, Sampling, check_speculation
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.engine.session import Session
from osler.engine.speculation import MOST_DRAFTED, Drafter, DraftModel, PromptLookup, require_same_tokens
from osler.errors import RequestError
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.quant.build import Built
from osler.quant.kernels import PATHS, VARIABLE, choose_kernels
from osler.quant.network import quantized_network
from osler.quant.plan import default_plan
from osler.quant.source import WeightSource
from osler.synth.iterate import iterate_reports
from osler.weights import Checkpoint
from osler.weights.tokenizer import GemmaTokenizer
from tests.quant.conftest import built

__all__ = ["built"]

PLAIN = Decoding(max_tokens=60)
LOOKUP = Decoding(max_tokens=60, speculation="lookup")
SHAPES = [{"text": 5}, {"images": 3, "text": 10}, {"images": 12, "text": 40, "seed": 3}, {"text": 300, "seed": 4}]


class Oracle:
    """Knows the answer, and is wrong at random places."""

    def __init__(self, prompt: Prompt, *, answer: Sequence[int], seed: int) -> None:
        self._start, self._answer = len(prompt.token_ids), list(answer)
        self._rng = np.random.default_rng(seed)

    def propose(self, token_ids: Sequence[int], *, most: int) -> list[int]:
        at = len(token_ids) - self._start
        guesses = self._answer[at : at + most]
        if guesses and self._rng.random() < 0.5:
            guesses[int(self._rng.integers(len(guesses)))] = int(self._rng.integers(110, 490))
        return guesses


def run(runner: Runner, prompt: Prompt, *, decoding: Decoding = PLAIN, drafter: Drafter | None = None) -> Generated:
    return generate(runner, [prompt], decoding=decoding, drafter=drafter)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=["short", "images", "past the window", "long"])
def test_right_and_wrong_guesses_leave_the_answer(
    runner: Runner, make_prompt: Callable[..., Prompt], shape: dict[str, int]
) -> None:
    prompt = make_prompt(**shape)
    wanted = run(runner, prompt)
    for seed in range(2):
        found = run(runner, prompt, drafter=Oracle(prompt, answer=wanted.token_ids, seed=seed))
        assert (found.token_ids, found.stopped) == (wanted.token_ids, wanted.stopped)
        assert found.guessed > 10
        assert found.passes < wanted.passes


def test_lookup_leaves_many_answers(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    guessed = 0
    for seed in range(6):
        prompt = make_prompt(text=20, seed=seed)
        # A text that repeats itself, as records do.
        prompt = Prompt(token_ids=np.concatenate([prompt.token_ids, *[prompt.token_ids[1:]] * 2]))
        wanted = run(runner, prompt)
        found = run(runner, prompt, decoding=LOOKUP, drafter=PromptLookup(shortest=1))
        assert found.token_ids == wanted.token_ids
        guessed += found.guessed
    assert guessed > 0


def test_a_draft_of_the_same_weights_is_always_right(model: Osler, make_prompt: Callable[..., Prompt]) -> None:
    runner = Runner(model)
    prompt = make_prompt(text=30, seed=2)
    wanted = run(runner, prompt)
    drafter = DraftModel(Runner(model), left_out=(500, 501, 502, 511), planned=200)
    found = run(runner, prompt, drafter=drafter)
    assert found.token_ids == wanted.token_ids
    assert found.passes <= -(-60 // (MOST_DRAFTED + 1)) + 2


@pytest.mark.parametrize("shape", SHAPES[:3], ids=["short", "images", "past the window"])
def test_a_draft_of_other_weights_leaves_the_answer(
    runner: Runner, config: OslerConfig, make_prompt: Callable[..., Prompt], shape: dict[str, int]
) -> None:
    torch.manual_seed(3)
    other = Osler(config).eval().requires_grad_(False)
    prompt = make_prompt(**shape)
    drafter = DraftModel(Runner(other), left_out=(500, 501, 511), planned=len(prompt.token_ids) + 60)
    assert run(runner, prompt, drafter=drafter).token_ids == run(runner, prompt).token_ids


def test_an_answer_longer_than_the_window_and_its_room(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    prompt = make_prompt(text=30, seed=6)
    plain = Decoding(max_tokens=340)
    wanted = run(runner, prompt, decoding=plain)
    drafter = DraftModel(Runner(runner.model), left_out=(), planned=400)
    for guesser in (Oracle(prompt, answer=wanted.token_ids, seed=1), drafter):
        assert run(runner, prompt, decoding=plain, drafter=guesser).token_ids == wanted.token_ids


@pytest.mark.parametrize("count", [1, 2, 9, 10, 13])
def test_the_answer_ends_where_it_should(runner: Runner, make_prompt: Callable[..., Prompt], count: int) -> None:
    prompt = make_prompt(text=12, seed=1)
    answer = run(runner, prompt).token_ids
    decoding = Decoding(max_tokens=count, speculation="lookup")
    found = run(runner, prompt, decoding=decoding, drafter=Oracle(prompt, answer=answer, seed=5))
    assert found.token_ids == answer[:count]
    assert found.stopped == "max_tokens"


def test_a_stop_in_the_middle_of_guesses(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    prompt = make_prompt(text=12, seed=1)
    answer = run(runner, prompt).token_ids
    drafter = DraftModel(Runner(runner.model), left_out=(), planned=200)
    (found,) = generate(
        runner, [prompt], decoding=PLAIN, drafter=drafter, on_token=lambda row, token: token == answer[7]
    )
    assert found.token_ids == answer[: answer.index(answer[7]) + 1]
    assert found.stopped == "stop_string"


def test_a_kept_prefix_is_sound_after_guesses(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    store = PrefixStore()
    prompt = make_prompt(images=3, text=10)
    wanted = run(runner, prompt)
    oracle = Oracle(prompt, answer=wanted.token_ids, seed=2)
    for drafter in (oracle, None, oracle):
        (found,) = generate(runner, [prompt], decoding=PLAIN, drafter=drafter, prefix=store)
        assert found.token_ids == wanted.token_ids


def test_guesses_under_a_schema(
    runner: Runner, tokenizer: GemmaTokenizer, config: OslerConfig, make_prompt: Callable[..., Prompt]
) -> None:
    pytest.importorskip("llguidance")
    tokens = config.tokens
    grammars = Grammars(tokenizer, vocab=config.decoder.vocab, ends=(tokens.end_of_turn, tokens.eos))
    row = {"type": "object", "properties": {"finding": {"enum": ["effusion", "edema"]}, "sure": {"type": "boolean"}}}
    row |= {"required": ["finding", "sure"], "additionalProperties": False}
    schema = JsonSchema({"type": "array", "items": row, "minItems": 4, "maxItems": 6})
    prompt, passes = make_prompt(text=20, seed=2), []
    answers = set()
    for speculation, forced in (("none", "singly"), ("none", "together"), ("lookup", "together")):
        decoding = Decoding(max_tokens=400, speculation=speculation)
        rule = grammars.start(schema, forced=forced)
        (found,) = generate(runner, [prompt], decoding=decoding, rules=[rule])
        assert rule.whole
        answers.add(tuple(found.token_ids))
        passes.append(found.passes)
    assert len(answers) == 1
    # Most of such an answer is forced; of the rest much was written before.
    assert passes[2] <= passes[1] < passes[0] / 2


def test_a_session_that_looks_up_gives_the_same_answer_in_fewer_passes(
    checkpoint: Checkpoint, model: Osler, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = copy.deepcopy(model)
    echo.decoder.embed_tokens.weight.mul_(40)  # tied to the head: the network repeats what it reads
    network = quantized_network(
        WeightSource(stored=echo.state_dict()),
        config=model.config,
        plan=default_plan(model.config, bits=8),
        dtype=torch.bfloat16,
        kernels=choose_kernels(library=built.path).kernels,
        name="debug",
    )
    session = Session(dataclasses.replace(checkpoint, model=network, bits=8))
    done: list[Generated] = []

    def kept(*arguments: Any, **options: Any) -> list[Generated]:
        done.extend(generate(*arguments, **options))
        return done[-1:]

    monkeypatch.setattr(session_module, "generate", kept)
    answers = [session.ask(None, "What?", max_tokens=60, speculation=name) for name in ("none", "lookup")]
    assert answers[0].text == answers[1].text
    assert done[0].token_ids == done[1].token_ids
    assert len(done[0].token_ids) == 60
    assert done[0].guessed == 0 < done[1].guessed
    assert done[1].passes < 0.6 * done[0].passes


@pytest.fixture
def larger(checkpoint: Checkpoint) -> Checkpoint:
    """A network of twice the layers of `checkpoint`, with its tokenizer."""
    config = checkpoint.model.config
    decoder = dataclasses.replace(config.decoder, layers=2 * config.decoder.layers)
    torch.manual_seed(4)
    model = Osler(dataclasses.replace(config, decoder=decoder)).eval().requires_grad_(False)
    # The first layers are those of `checkpoint`, the others add little: both mostly agree on the likeliest token.
    model.load_state_dict(checkpoint.model.state_dict(), strict=False)
    for layer in model.decoder.layers[config.decoder.layers :]:
        layer.self_attn.o_proj.weight.mul_(1e-3)
        layer.mlp.down_proj.weight.mul_(1e-3)
        for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
            norm.weight.fill_(-0.999)  # which multiplies by 1 + weight
    return dataclasses.replace(checkpoint, model=model, name="larger")


def draft_of(small: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Has `DraftNetwork` load ``small``; returns the names that it asks for."""
    asked: list[str] = []

    def loaded(name: str, **options: Any) -> Checkpoint:
        asked.append(name)
        return small

    monkeypatch.setattr(draft_module, "load_and_quantize", loaded)
    monkeypatch.setattr(draft_module, "open_model", lambda name: small.model)
    return asked


def test_a_session_loads_the_draft_once_and_answers_the_same(
    checkpoint: Checkpoint, larger: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = draft_of(checkpoint, monkeypatch)
    session = Session(larger)
    done: list[Generated] = []

    def kept(*arguments: Any, **options: Any) -> list[Generated]:
        done.extend(generate(*arguments, **options))
        return done[-1:]

    monkeypatch.setattr(session_module, "generate", kept)
    answers = [session.ask(None, "What?", max_tokens=40, speculation=name) for name in ("none", "draft", "draft")]
    assert asked == ["gemma-3-270m"]
    assert len({answer.text for answer in answers}) == 1
    assert done[0].token_ids == done[1].token_ids == done[2].token_ids
    assert done[0].guessed == 0 < done[1].guessed
    assert done[1].passes < done[0].passes
    session.ask(None, "What?", max_tokens=4, speculation="lookup")
    assert asked == ["gemma-3-270m"]


def test_a_draft_that_would_not_help_is_refused(
    checkpoint: Checkpoint, larger: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft_of(larger, monkeypatch)
    with pytest.raises(RequestError, match=r"as large as 'debug'.*--speculation lookup"):
        Session(checkpoint).ask(None, "What?", speculation="draft")
    with pytest.raises(RequestError, match=r"'draft' with a temperature of 0.5.*one greedy answer on PyTorch"):
        Session(larger).ask(None, "What?", speculation="draft", temperature=0.5)


def test_guessing_that_could_not_take_effect_is_refused(checkpoint: Checkpoint) -> None:
    session = Session(checkpoint)
    with pytest.raises(RequestError, match=r"Unknown speculation 'lokup'.*Did you mean 'lookup'"):
        session.ask(None, "What?", speculation="lokup")
    with pytest.raises(RequestError, match=r"'lookup' with a temperature of 0.5.*one greedy answer on PyTorch"):
        session.ask(None, "What?", speculation="lookup", temperature=0.5)
    with pytest.raises(RequestError, match=r"'lookup' with the backend 'jax': nothing would be guessed"):
        check_speculation("lookup", backend="jax")
    check_speculation("none", temperature=0.5, backend="jax")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "path"), [(16, "auto"), *[(bits, path) for bits in (8, 4) for path in (*PATHS[1:], "torch")]]
)
def test_the_embedded_model_writes_what_it_writes_alone(bits: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        choose_kernels(path)
    except RequestError as error:
        pytest.skip(str(error))
    monkeypatch.setenv(VARIABLE, path)
    session = osler.load("osler-mini", bits=bits, studies="memory")
    reports = [row.report for row in islice(iterate_reports(seed=11), 40) if len(row.report) < 700][:2]
    # The fastest path of each width writes all; the others show with one that they do the same.
    written = reports if path in ("auto", "amx") else reports[:1]
    tokens = 40 if path in ("auto", "amx") else 12
    for number, report in enumerate(written):
        ids = [session.runner.config.tokens.bos, *session.checkpoint.tokenizer.encode(f"{report}\n\n{report[:60]}")]
        prompt = Prompt(token_ids=np.array(ids))
        wanted = run(session.runner, prompt, decoding=Decoding(max_tokens=tokens))
        oracle = Oracle(prompt, answer=wanted.token_ids, seed=number)
        for drafter in (PromptLookup(), oracle):
            found = run(session.runner, prompt, decoding=Decoding(max_tokens=tokens), drafter=drafter)
            assert (found.token_ids, found.stopped) == (wanted.token_ids, wanted.stopped)
        assert found.guessed > tokens // 4
        assert found.passes < wanted.passes


def test_drawn_answers_and_batches_are_written_token_by_token(
    runner: Runner, make_prompt: Callable[..., Prompt]
) -> None:
    prompts = [make_prompt(text=20, seed=seed) for seed in (1, 2)]
    drawn = Decoding(max_tokens=20, sampling=Sampling(temperature=1.0, seed=1), speculation="lookup")
    two = Decoding(max_tokens=20, speculation="lookup")
    assert generate(runner, prompts[:1], decoding=drawn)[0].guessed == 0
    assert [result.guessed for result in generate(runner, prompts, decoding=two)] == [0, 0]


def test_lookup_finds_the_latest_and_longest() -> None:
    lookup = PromptLookup(longest=3, shortest=2)
    assert lookup.propose([1, 2, 3, 9, 2, 3], most=4) == [9, 2, 3]
    assert lookup.propose([1, 2, 3, 9, 2, 3, 7, 5, 2, 3], most=2) == [7, 5]
    # The longer match wins over the later one.
    assert lookup.propose([1, 2, 3, 9, 2, 3, 7, 5, 2, 3, 4, 1, 2, 3], most=1) == [9]
    assert lookup.propose([1, 2, 3, 9, 2, 3, 7, 5, 2, 3, 4, 1, 2, 3, 8], most=4) == []


def test_images_are_never_guessed(runner: Runner, make_prompt: Callable[..., Prompt]) -> None:
    class Blind:
        def propose(self, token_ids: Sequence[int], *, most: int) -> list[int]:
            return [500, 511, 511][:most]

    prompt = make_prompt(images=2, text=6)
    assert run(runner, prompt, drafter=Blind()).token_ids == run(runner, prompt).token_ids


def test_a_draft_with_another_vocabulary_is_refused(tokenizer: GemmaTokenizer) -> None:
    require_same_tokens(tokenizer, target=tokenizer)

    class Shifted:
        def __len__(self) -> int:
            return len(tokenizer)

        def bytes_of(self, token: int) -> bytes:
            return tokenizer.bytes_of(token + 1)

    with pytest.raises(RequestError, match=r"The draft's token \d+ is .* and the model's is"):
        require_same_tokens(Shifted(), target=tokenizer)  # type: ignore[arg-type]


def test_dropped_tokens_leave_the_cache_as_it_was(config: OslerConfig) -> None:
    decoder = config.decoder

    def add(cache: KVCache, start: int, count: int) -> list[torch.Tensor]:
        times = torch.arange(start, start + count, dtype=torch.float32)
        new = times[None, None, :, None].expand(1, decoder.kv_heads, count, decoder.head_dim).contiguous()
        return [cache.update(layer, new, -new)[0][0, 0, :, 0] for layer in range(decoder.layers)]

    plain, guessed = KVCache(decoder, planned=5000), KVCache(decoder, planned=5000)
    rng, length = np.random.default_rng(0), 0
    for _ in range(300):
        count, wrong = int(rng.integers(1, 10)), int(rng.integers(0, 9))
        wanted = add(plain, length, count)
        add(guessed, length, count)
        add(guessed, 10_000, wrong) if wrong else None
        guessed.drop(wrong)
        length += count
        assert guessed.length == plain.length == length
        assert len(wanted) == decoder.layers
    for one, other in zip(add(plain, length, 1), add(guessed, length, 1), strict=True):
        assert torch.equal(one, other)
