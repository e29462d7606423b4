"""How an answer is drawn and when it ends: checked without loading torch, before any costly work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from osler.engine.chunks import CHUNK
from osler.errors import RequestError, unknown_name

Speculation = Literal["none", "lookup", "draft"]


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
            once, ``"draft"`` those of the embedded 270M; for a single greedy answer on PyTorch. On a CPU at
            4 and 8 bits answers stay what they are by construction, and at 16 where weights are packed for it, as far
            as is tried (`Runner.repeats`). Elsewhere a guess is taken only where the likeliest token leads clearly, a
            bound that is measured and not proved.

    Raises:
        RequestError: If ``max_tokens`` or ``chunk`` is below 1, or ``speculation`` is unknown.
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
        check_speculation(self.speculation)


def check_speculation(name: str, *, temperature: float = 0.0, backend: str = "torch") -> None:
    """Refuses a way of guessing ahead that does not exist, or could not take effect.

    Args:
        name: ``"none"``, ``"lookup"`` or ``"draft"``.
        temperature: Of the answer. backend: That computes it.

    Raises:
        RequestError: With the nearest name, or with what guessing ahead needs.
    """
    if name not in get_args(Speculation):
        raise unknown_name("speculation", name=name, known=get_args(Speculation))
    if name == "none" or (temperature == 0 and backend == "torch"):
        return
    value = f"a temperature of {temperature!r}" if temperature else f"the backend {backend!r}"
    raise RequestError(
        f"The speculation {name!r} with {value}: nothing would be guessed ahead.",
        allowed="It is for one greedy answer on PyTorch: temperature 0, backend 'torch'.",
        next_step="Leave one of the two out.",
    )


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
    speculation: str = "none",
    backend: str = "torch",
) -> Decoding:
    """Puts the options of a request together; ``None`` stands for what changes nothing.

    Raises:
        RequestError: If one of them is out of range, or ``speculation`` could not take effect on the ``backend``.
    """
    check_speculation(speculation, temperature=temperature, backend=backend)
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=1.0 if top_p is None else top_p,
        min_p=0.0 if min_p is None else min_p,
        seed=seed,
    )
    return Decoding(max_tokens=max_tokens, sampling=sampling, speculation=cast(Speculation, speculation))
