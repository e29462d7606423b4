"""How an answer is drawn and when it ends: checked without loading torch, before any costly work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from osler.engine.chunks import CHUNK
from osler.errors import RequestError

Speculation = Literal["none", "lookup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What to draw from: greedy at temperature 0, else the filtered distribution.

    The filters apply in this order: temperature, top-k, top-p, min-p.

    Args:
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Keep this many of the likeliest tokens; ``None`` keeps all.
        top_p: Keep the likeliest tokens until their probabilities reach it, in (0, 1].
        min_p: Keep tokens at least this fraction as likely as the likeliest, in [0, 1].
        seed: Of the random generator; ``None`` draws a fresh one.

    Raises:
        RequestError: If a value is out of its range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise _out_of_range("temperature", self.temperature, "0 (greedy) or any positive number")
        if self.top_k is not None and (not _is_whole(self.top_k) or self.top_k < 1):
            raise _out_of_range("top_k", self.top_k, "a whole number from 1")
        if not 0.0 < self.top_p <= 1.0:
            raise _out_of_range("top_p", self.top_p, "above 0 and at most 1")
        if not 0.0 <= self.min_p <= 1.0:
            raise _out_of_range("min_p", self.min_p, "from 0 to 1")
        if self.seed is not None and (not _is_whole(self.seed) or not 0 <= self.seed < 2**63):
            raise _out_of_range("seed", self.seed, "a whole number from 0 to 2^63 - 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How answers are drawn and when they end.

    Args:
        max_tokens: Tokens of an answer at most.
        sampling: How a token is drawn.
        chunk: Tokens read in one pass of prefill.
        speculation: ``"none"`` writes token by token; ``"lookup"`` checks guesses from the text so far several at
            once, for a single greedy answer. That stays what it is in float32; in bfloat16 what is read together is
            rounded differently, and a near tie may fall the other way.

    Raises:
        RequestError: If ``max_tokens`` or ``chunk`` is below 1.
    """

    max_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    chunk: int = CHUNK
    speculation: Speculation = "none"

    def __post_init__(self) -> None:
        for name in ("max_tokens", "chunk"):
            value = getattr(self, name)
            if not _is_whole(value) or value < 1:
                raise _out_of_range(name, value, "a whole number from 1")


def check_stop(stop: Iterable[str]) -> tuple[str, ...]:
    """Returns the texts that end an answer.

    Raises:
        RequestError: If one is empty.
    """
    texts = (stop,) if isinstance(stop, str) else tuple(stop)
    if any(not isinstance(text, str) or not text for text in texts):
        raise RequestError("A stop string is empty.", allowed="Texts of at least one character.")
    return texts


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _out_of_range(name: str, value: object, allowed: str) -> RequestError:
    return RequestError(f"The {name} {value!r} is out of range.", allowed=f"Allowed: {allowed}.")


def decoding_of(
    *,
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    seed: int | None,
) -> Decoding:
    """Puts the options of a request together; ``None`` stands for what changes nothing.

    Raises:
        RequestError: If one of them is out of range.
    """
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=1.0 if top_p is None else top_p,
        min_p=0.0 if min_p is None else min_p,
        seed=seed,
    )
    return Decoding(max_tokens=max_tokens, sampling=sampling)
