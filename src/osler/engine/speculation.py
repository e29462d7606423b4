"""Guesses of the next tokens, which the network then checks in one pass: answers stay what they are.

A step of decoding reads all weights for one token. Where the next tokens can be
guessed, one pass over the same weights checks several (Leviathan et al. 2022,
https://arxiv.org/abs/2211.17192): the guesses are kept as far as the network
itself would have written them. Two sources of guesses:

- *lookup*: what followed the last few tokens where they stood before, in the
  prompt or in the answer. Costs nothing; records, reports and lists repeat.
- *draft*: a small network with the same tokenizer writes ahead.

Legend: L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from osler.engine.kv_cache import SLACK
from osler.engine.runner import Runner
from osler.engine.sampling import greedy
from osler.errors import RequestError
from osler.weights.tokenizer import GemmaTokenizer

MOST_GUESSES = 8
"""Tokens that are guessed at once: a pass over nine tokens takes hardly longer than one over one."""

MOST_DRAFTED = 4
"""Guesses of a network at once, each of which takes a step of its own."""

assert MOST_GUESSES <= SLACK


class Drafter(Protocol):
    """Guesses how a text goes on."""

    def propose(self, token_ids: Sequence[int], *, most: int) -> list[int]:
        """Returns at most ``most`` guesses.

        Args:
            token_ids: The prompt and the answer so far; longer at each call, by what was accepted.
        """
        ...


class PromptLookup:
    """Guesses what followed the last tokens when they stood in the text before.

    Args:
        longest: Tokens that are looked up, at most. shortest: At least.
    """

    def __init__(self, *, longest: int = 4, shortest: int = 2) -> None:
        self._sizes = range(longest, shortest - 1, -1)
        self._after: dict[tuple[int, ...], int] = {}
        self._known = 0

    def propose(self, token_ids: Sequence[int], *, most: int) -> list[int]:
        """See `Drafter`."""
        # The end itself is not entered yet: it would be found as its own past.
        for end in range(self._known, len(token_ids)):
            for size in self._sizes:
                if end >= size:
                    self._after[tuple(token_ids[end - size : end])] = end
        self._known = max(self._known, len(token_ids))
        for size in self._sizes:
            found = self._after.get(tuple(token_ids[-size:])) if len(token_ids) >= size else None
            if found is not None:
                return list(token_ids[found : found + most])
        return []


class DraftModel:
    """A small network that writes ahead.

    It reads the text without images, which it may not know how to see: a guess is only a guess.

    Args:
        runner: Of the small network.
        left_out: Ids that it does not read: image tokens, and what is not in its vocabulary.
        planned: Tokens of prompt and answer at most.
    """

    def __init__(self, runner: Runner, *, left_out: Sequence[int], planned: int) -> None:
        self._runner = runner
        self._left_out = frozenset(left_out)
        self._cache = runner.new_cache(planned=planned + MOST_GUESSES + 1)
        self._planned = planned
        self._read: list[int] = []

    @torch.inference_mode()
    def propose(self, token_ids: Sequence[int], *, most: int) -> list[int]:
        """See `Drafter`."""
        vocab = self._runner.config.decoder.vocab
        wanted = [token for token in token_ids if token < vocab and token not in self._left_out]
        same = _same_length(self._read, wanted)
        # The last token is read again if need be: its scores are the first guess.
        self._forget(len(self._read) - min(same, len(wanted) - 1))
        logits_1V = self._take(wanted[len(self._read) :])
        guesses: list[int] = []
        most = min(most, MOST_DRAFTED)
        while len(guesses) < most:
            guess = int(greedy(logits_1V)[0])
            if guess in self._left_out:
                break
            guesses.append(guess)
            if len(guesses) < most:
                logits_1V = self._take([guess])
        return guesses

    def _take(self, token_ids: list[int]) -> torch.Tensor:
        self._read += token_ids
        return self._runner.read(torch.tensor([token_ids]), features_NTD=None, cache=self._cache)

    def _forget(self, count: int) -> None:
        if count > SLACK:
            # Only where the text itself was cut: never while an answer grows.
            self._cache, self._read = self._runner.new_cache(planned=self._planned + MOST_GUESSES + 1), []
        elif count:
            self._cache.drop(count)
            del self._read[-count:]


def require_same_tokens(draft: GemmaTokenizer, *, target: GemmaTokenizer) -> None:
    """Refuses a draft network whose ids mean other texts than those of the network that answers.

    Raises:
        RequestError: Naming the first id that differs.
    """
    for token in range(min(len(draft), len(target))):
        if draft.bytes_of(token) != target.bytes_of(token):
            raise RequestError(
                f"The draft's token {token} is {draft.bytes_of(token)!r}, and the model's is "
                f"{target.bytes_of(token)!r}.",
                allowed="A draft with the same tokenizer: Gemma 3 for Gemma 3.",
                next_step="Choose another draft, or none.",
            )


def _same_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns how many tokens two texts begin alike with."""
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return number
    return min(len(first), len(second))
