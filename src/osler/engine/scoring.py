"""Log-probabilities of given answers: the prompt is read once, each answer after it.

Legend: L tokens of a continuation, V vocabulary, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from osler.engine.decode import Generated
from osler.engine.generate import Prompt, prefill
from osler.engine.kv_cache import KVCache
from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.model.adapter import AdapterMemory
from osler.study import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """How likely a model finds a text as the continuation of a prompt.

    Args:
        text: The continuation.
        token_ids: Its tokens.
        logprobs: Natural logarithm of the probability of each, given all before.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def logprob(self) -> float:
        """Of the whole continuation."""
        return sum(self.logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Continuations in the order in which they were given, and what the model saw.

    Args:
        scored: One entry a continuation.
        answer: Without text: model, contract, what was used and left out.
    """

    scored: tuple[Scored, ...]
    answer: Answer

    def shares(self) -> tuple[float, ...]:
        """Returns the probability of each continuation among those given; they add up to 1."""
        highest = max(entry.logprob for entry in self.scored)
        weights = [math.exp(entry.logprob - highest) for entry in self.scored]
        return tuple(weight / sum(weights) for weight in weights)


def score_continuations(
    runner: Runner,
    prompt: Prompt,
    continuations: Sequence[Sequence[int]],
    *,
    decoding: Decoding,
    prefix: PrefixStore | None = None,
) -> list[tuple[float, ...]]:
    """Computes log-probabilities of the tokens of each continuation.

    Args:
        runner: The network.
        prompt: What stands before each continuation.
        continuations: Token ids, one at least each; no longer than ``decoding.max_tokens``.
        decoding: How the prompt is cut.
        prefix: Reuses and keeps the cache of the prompt.

    Returns:
        One log-probability a token, float32 over the whole vocabulary.

    Raises:
        CapacityError: If the prompt and a continuation exceed the context.
    """
    result = Generated(prompt_tokens=len(prompt.token_ids))
    cache, logits_1V = prefill(runner, prompt, result=result, decoding=decoding, on_prefill=None, prefix=prefix)
    point, planned = cache.mark(), cache.planned
    found = []
    for token_ids in continuations:
        if cache.length > point.length:
            cache.rewind(point, planned=planned)
        found.append(_after(runner, token_ids, first_1V=logits_1V, cache=cache, memory=prompt.memory))
    return found


@torch.inference_mode()
def _after(
    runner: Runner,
    token_ids: Sequence[int],
    *,
    first_1V: torch.Tensor,
    cache: KVCache,
    memory: AdapterMemory | None,
) -> tuple[float, ...]:
    logits_LV = first_1V
    if len(token_ids) > 1:
        logits_LV = torch.cat((first_1V, runner.score(torch.tensor([token_ids[:-1]]), cache=cache, memory=memory)))
    logprobs_LV = torch.log_softmax(logits_LV.float(), dim=-1)
    picked = torch.tensor(token_ids, device=runner.device)[:, None]
    return tuple(logprobs_LV.gather(1, picked)[:, 0].tolist())
