"""Answers under a constraint: they parse, they are what stepping gives, and bad constraints are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from osler.engine.constrained import MOST_CHARACTERS, Constraint, Grammars, JsonSchema, Lark, Regex, Rule
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding, Sampling
from osler.engine.runner import Runner
from osler.engine.session import Session
from osler.errors import RequestError
from osler.model.config import OslerConfig
from osler.weights import Checkpoint
from osler.weights.tokenizer import GemmaTokenizer
from tests.cli.mini import needs_mini

pytest.importorskip("llguidance")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "value": {"type": "integer", "minimum": 0, "maximum": 999},
        "unit": {"enum": ["mmol/L", "µmol/L", "%"]},
        "flags": {"type": "array", "items": {"enum": ["H", "L"]}, "maxItems": 2},
    },
    "required": ["name", "value", "unit", "flags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars(tokenizer: GemmaTokenizer, config: OslerConfig) -> Grammars:
    """Compiles for the random model."""
    tokens = config.tokens
    return Grammars(tokenizer, vocab=config.decoder.vocab, ends=(tokens.end_of_turn, tokens.eos))


def run(
    runner: Runner,
    prompts: list[Prompt],
    *,
    rules: list[Rule | None],
    most: int = 400,
    sampling: Sampling | None = None,
) -> list[list[int]]:
    decoding = Decoding(max_tokens=most, sampling=sampling or Sampling())
    return [result.token_ids for result in generate(runner, prompts, decoding=decoding, rules=rules)]


@pytest.mark.parametrize("seed", range(6))
def test_random_weights_write_json_that_validates(
    seed: int, runner: Runner, grammars: Grammars, make_prompt: Callable[..., Prompt], tokenizer: GemmaTokenizer
) -> None:
    sampling = Sampling(temperature=1.5, seed=seed)
    rule = grammars.start(JsonSchema(SCHEMA))
    (ids,) = run(runner, [make_prompt(seed=seed)], rules=[rule], sampling=sampling)
    jsonschema.validate(json.loads(tokenizer.decode(ids)), SCHEMA)
    assert rule.whole


def test_forced_tokens_give_what_stepping_gives(
    runner: Runner, grammars: Grammars, make_prompt: Callable[..., Prompt]
) -> None:
    prompt = make_prompt(images=1)
    together, singly = (
        run(runner, [prompt], rules=[grammars.start(JsonSchema(SCHEMA), forced=forced)])
        for forced in ("together", "singly")
    )
    assert together == singly


def test_forced_tokens_are_read_in_one_pass(
    runner: Runner, grammars: Grammars, make_prompt: Callable[..., Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0
    whole_read, whole_step = Runner.read, Runner.step

    def read(self: Runner, *args: Any, **options: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return whole_read(self, *args, **options)

    def step(self: Runner, *args: Any, **options: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return whole_step(self, *args, **options)

    monkeypatch.setattr(Runner, "read", read)
    monkeypatch.setattr(Runner, "step", step)
    constraint = Regex("the same text whatever it says: (yes|no)")
    (ids,) = run(runner, [make_prompt()], rules=[grammars.start(constraint)])
    assert len(ids) > 30
    assert passes <= 4


def test_a_constraint_that_allows_everything_changes_nothing(
    runner: Runner, grammars: Grammars, make_prompt: Callable[..., Prompt], tokenizer: GemmaTokenizer
) -> None:
    # Every id that is text: control tokens have no text, so a grammar never gives them.
    free = grammars.start(Regex("(?s:.*)"))
    allowed = free.allowed()
    prompt = make_prompt(seed=3)
    (bound,) = run(runner, [prompt], rules=[free], most=12)
    logits = []
    for count in range(len(bound)):
        ids = np.concatenate((prompt.token_ids, np.array(bound[:count], dtype=np.int64)))
        (first,) = run(runner, [Prompt(token_ids=ids)], rules=[None], most=1)
        logits.append(first[0] if first else -1)
    for token, plain in zip(bound, logits, strict=True):
        assert token == plain or plain == -1 or not allowed[plain] or tokenizer.bytes_of(plain)[:1] >= b"\x80"


def test_other_rows_of_a_batch_are_unaffected(
    runner: Runner, grammars: Grammars, make_prompt: Callable[..., Prompt], tokenizer: GemmaTokenizer
) -> None:
    prompts = [make_prompt(seed=1), make_prompt(seed=2, text=17)]
    (alone,) = run(runner, [prompts[1]], rules=[None], most=40)
    (bound_alone,) = run(runner, [prompts[0]], rules=[grammars.start(JsonSchema(SCHEMA))], most=40)
    bound, free = run(runner, prompts, rules=[grammars.start(JsonSchema(SCHEMA)), None], most=40)
    assert free == alone
    assert tokenizer.decode(bound) == tokenizer.decode(bound_alone)


def test_bytes_of_split_characters_are_right(
    runner: Runner, grammars: Grammars, make_prompt: Callable[..., Prompt], tokenizer: GemmaTokenizer
) -> None:
    (ids,) = run(runner, [make_prompt()], rules=[grammars.start(Lark('start: "µ" "€" "𝛼"'))])
    assert tokenizer.decode(ids) == "µ€𝛼"


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (JsonSchema({"type": "integer", "minimum": 5, "maximum": 2}), "JSON schema cannot be followed: .*greater than"),
        (JsonSchema({"enum": []}), "JSON schema cannot be followed: Unsatisfiable"),
        (JsonSchema({"type": "texts"}), "JSON schema cannot be followed: Invalid type"),
        (JsonSchema({"$ref": "http://example.org/a.json"}), "does not fetch"),
        (JsonSchema({"not": {}}), "Unimplemented keys"),
        (JsonSchema([1]), "An object with keywords"),  # type: ignore[arg-type]
        (JsonSchema({"const": object()}), "The JSON schema is not JSON"),
        (JsonSchema({"title": "x" * MOST_CHARACTERS}), r"has 200,\d+ characters. At most 200,000"),
        (Regex("(("), "regular expression cannot be followed"),
        (Lark("start: absent"), "Lark grammar cannot be followed: .*unknown name"),
    ],
)
def test_a_constraint_that_cannot_be_followed_is_refused(
    constraint: Constraint, message: str, grammars: Grammars
) -> None:
    with pytest.raises(RequestError, match=message):
        grammars.start(constraint)


def test_stop_strings_and_constraints_exclude_each_other(checkpoint: Checkpoint) -> None:
    with pytest.raises(RequestError, match="A JSON schema together with stop strings"):
        Session(checkpoint).ask(None, "Which?", constraint=JsonSchema(SCHEMA), stop=("}",))


def test_an_answer_that_is_cut_off_says_so(checkpoint: Checkpoint) -> None:
    answer = Session(checkpoint).ask(None, "Which?", constraint=JsonSchema(SCHEMA), max_tokens=5)
    assert answer.stopped == "max_tokens"
    assert any("does not fulfill its JSON schema" in warning for warning in answer.warnings)


def test_a_session_answers_by_a_schema(checkpoint: Checkpoint) -> None:
    session = Session(checkpoint)
    answer = session.ask(None, "Which?", constraint=JsonSchema(SCHEMA), max_tokens=400)
    jsonschema.validate(json.loads(answer.text), SCHEMA)
    assert answer.stopped == "end"
    assert session.ask(None, "Which?", constraint=Regex("yes|no")).text in ("yes", "no")


@pytest.mark.slow
@needs_mini
def test_the_mini_answers_by_a_schema() -> None:
    from osler.engine.load import load

    session = load("osler-mini", device="cpu")
    question = "Potassium 4.2 mmol/L. Write it as a form."
    answer = session.ask(None, question, constraint=JsonSchema(SCHEMA), max_tokens=200)
    jsonschema.validate(json.loads(answer.text), SCHEMA)
    free = session.ask(None, "What is a CT?", max_tokens=16)
    bound = session.ask(None, "What is a CT?", max_tokens=16, constraint=Regex("(?s:.*)"))
    assert bound.text == free.text
