"""Decoding: one token a step for each row, or several where they are forced or guessed right.

Legend: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

import torch

from osler.engine.constrained import Rule, mask_logits
from osler.engine.kv_cache import KVCache
from osler.engine.options import Decoding
from osler.engine.runner import Runner
from osler.engine.sampling import Sampler
from osler.engine.speculation import MOST_GUESSES, Drafter
from osler.model.adapter import AdapterMemory
from osler.model.config import TokenIds

Stopped = Literal["end", "max_tokens", "stop_string"]
OnToken = Callable[[int, int], bool]
"""Takes a row and its new token; true ends the row."""

# Where `Runner.repeats` is not true, scores of a pass over several tokens are rounded otherwise than those of one. In
# bfloat16 those of the embedded model, near 20, moved by up to 1.1; in float32 by a millionth. Where the likeliest one
# leads by less than this share of its score, the plain step decides.
_CLOSE = {torch.bfloat16: 2.0**-3, torch.float32: 2.0**-12}


@dataclass(slots=True, kw_only=True)
class Generated:
    """Tokens of one answer.

    Args:
        token_ids: Without the token that ended it.
        stopped: Why it ended.
        prompt_tokens: Length of the prompt. reused_tokens: Of it, taken from the prefix store.
        passes: Of the network, after the prompt. guessed: Tokens that were guessed and kept.
        prefill_seconds: To read this prompt. decode_seconds: Of the whole batch.
    """

    token_ids: list[int] = field(default_factory=list)
    stopped: Stopped = "max_tokens"
    prompt_tokens: int = 0
    reused_tokens: int = 0
    passes: int = 0
    guessed: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


def forbidden_ids(tokens: TokenIds, *, vocab: int) -> tuple[int, ...]:
    """Lists the ids that an answer can never hold: image tokens and padding."""
    return tuple(token for token in _never(tokens) if token < vocab)


def _never(tokens: TokenIds) -> tuple[int, ...]:
    return (tokens.pad, tokens.start_of_image, tokens.end_of_image, tokens.image)


class Writing:
    """The rows being written, and what ends each."""

    def __init__(
        self,
        results: list[Generated],
        *,
        rules: Sequence[Rule | None],
        decoding: Decoding,
        on_token: OnToken | None,
    ) -> None:
        self.results, self.rules, self.decoding = results, rules, decoding
        self.open_rows = set(range(len(results)))
        self._on_token = on_token

    def end(self, row: int, why: Stopped) -> None:
        self.results[row].stopped = why
        self.open_rows.discard(row)

    def take(self, row: int, token: int, *, ends: set[int]) -> None:
        """Adds a token to a row that is open, and closes the row where it ends."""
        rule, result = self.rules[row], self.results[row]
        if token in ends:
            self.end(row, "end")
            return
        result.token_ids.append(token)
        stopped = self._on_token is not None and self._on_token(row, token)
        if rule is not None:
            rule.take(token)
        if stopped:
            self.end(row, "stop_string")
        elif rule is not None and rule.ended:
            self.end(row, "end")
        elif len(result.token_ids) == self.decoding.max_tokens:
            self.end(row, "max_tokens")

    def ahead(self) -> list[int]:
        """The tokens that a single row must go on with, by its rule."""
        rule = self.rules[0] if len(self.results) == 1 else None
        return rule.ahead() if rule is not None and self.open_rows else []


@dataclass(slots=True, kw_only=True)
class Drafting:
    """Guesses for one row.

    Args:
        drafter: Makes them. prompt: Ids before the answer. tokens: Control tokens of the network.
    """

    drafter: Drafter
    prompt: list[int]
    tokens: TokenIds

    def guesses(self, result: Generated, *, decoding: Decoding) -> list[int]:
        """Guesses what follows the answer so far, up to where no answer can go on."""
        # One token is read before the guesses, and the answer ends at the latest with the last of them.
        most = min(MOST_GUESSES, decoding.max_tokens - len(result.token_ids))
        if most < 1:
            return []
        never = _never(self.tokens)
        found = self.drafter.propose([*self.prompt, *result.token_ids], most=most)
        return list(takewhile(lambda token: token not in never, found))


def decode(
    runner: Runner,
    logits_BV: torch.Tensor,
    *,
    cache: KVCache,
    writing: Writing,
    memory: AdapterMemory | None,
    drafting: Drafting | None = None,
) -> None:
    """Writes until every row has ended.

    Args:
        logits_BV: After the prompts.
        cache: Holds the prompts. writing: Takes the tokens.
        memory: What the adapter reads, if the network has one.
        drafting: Guesses, of a single greedy row.
    """
    config = runner.config
    ends = {config.tokens.eos, config.tokens.end_of_turn}
    sampler = Sampler(
        writing.decoding.sampling,
        forbidden=forbidden_ids(config.tokens, vocab=config.decoder.vocab),
        rows=len(writing.results),
    )
    while True:
        mask_logits(logits_BV, rules=writing.rules, open_rows=writing.open_rows)
        token_ids_B = sampler.pick(logits_BV)
        for row in sorted(writing.open_rows):
            writing.take(row, int(token_ids_B[row]), ends=ends)
        ahead = writing.ahead()
        for token in ahead:
            if writing.open_rows:
                writing.take(0, token, ends=ends)
        if not writing.open_rows:
            return
        for row in writing.open_rows:
            writing.results[row].passes += 1
        guesses = drafting.guesses(writing.results[0], decoding=writing.decoding) if drafting is not None else []
        if guesses:
            read = [int(token_ids_B[0]), *ahead]
            checking = _Checking(runner, cache=cache, memory=memory, writing=writing, sampler=sampler, ends=ends)
            logits_BV = checking.check(read, guesses=guesses)
            if not writing.open_rows:
                return
        elif ahead:
            logits_BV = runner.go_on(torch.tensor([int(token_ids_B[0]), *ahead]), cache=cache, memory=memory)
        else:
            logits_BV = runner.step(token_ids_B, cache=cache, memory=memory)


@dataclass(frozen=True, slots=True)
class _Checking:
    """Reads guesses in one pass and keeps those that the network would have written itself."""

    runner: Runner
    cache: KVCache = field(kw_only=True)
    memory: AdapterMemory | None = field(kw_only=True)
    writing: Writing = field(kw_only=True)
    sampler: Sampler = field(kw_only=True)
    ends: set[int] = field(kw_only=True)

    def check(self, read: list[int], *, guesses: list[int]) -> torch.Tensor:
        """Takes the guesses that are right; returns the scores after the last one, (1, V).

        Args:
            read: Tokens of the answer that the cache does not hold yet.
            guesses: What may follow them.
        """
        part = [*read, *guesses]
        scores_LV = self.runner.steps(torch.tensor(part), cache=self.cache, memory=self.memory)
        kept = 0
        for guess in guesses:
            row_1V = scores_LV[len(read) - 1 + kept][None]
            mask_logits(row_1V, rules=self.writing.rules, open_rows=(0,))
            if int(self.sampler.pick(row_1V)[0]) != guess or self._is_unsure(row_1V):
                break
            self.writing.take(0, guess, ends=self.ends)
            kept += 1
            if not self.writing.open_rows:
                break
        self.writing.results[0].guessed += kept
        last = len(read) - 1 + kept
        row_1V = scores_LV[last][None]
        if not self.writing.open_rows or not self._is_unsure(row_1V):
            self.cache.drop(len(guesses) - kept)
            return row_1V
        # Too close to call: the last token is read again, alone, as plain decoding reads it.
        self.cache.drop(len(guesses) - kept + 1)
        self.writing.results[0].passes += 1
        return self.runner.step(torch.tensor([part[last]]), cache=self.cache, memory=self.memory)

    def _is_unsure(self, row_1V: torch.Tensor) -> bool:
        """Whether plain decoding might choose otherwise."""
        return not self.runner.repeats(memory=self.memory) and _is_close(row_1V)


def _is_close(row_1V: torch.Tensor) -> bool:
    """Whether the two likeliest tokens are too close for scores of a pass over several tokens."""
    best, second = row_1V[0].float().topk(2).values.tolist()
    return best - second <= _CLOSE[row_1V.dtype] * max(abs(best), 1.0)
