"""Log-probabilities of given answers: the prompt is read once, each answer after it."""

from __future__ import annotations

from dataclasses import dataclass


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
