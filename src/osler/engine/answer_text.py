"""The text of an answer while its tokens come, without stop strings and thinking."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from osler.engine.options import check_stop

THINK_START = 100
"""``<unused94>``, which opens the thinking of MedGemma 1.5."""
THINK_END = 101
"""``<unused95>``, which closes it."""


class TokenText(Protocol):
    """Decodes ids one at a time, whole characters only."""

    def push(self, token: int) -> str: ...

    def finish(self) -> str: ...


class StreamingTokenizer(Protocol):
    """A tokenizer that decodes as tokens come."""

    def stream(self, *, specials: Literal["skip", "text"] = "skip") -> TokenText:
        """Starts a text."""
        ...


class AnswerText:
    """Turns tokens into text that is safe to show.

    Held back are: a character whose bytes are not all there, text that may be
    the start of a stop string, and all thinking.

    Example:
        >>> answer = AnswerText(tokenizer, stop=("END",))  # doctest: +SKIP
        >>> shown = "".join(answer.push(token) for token in ids) + answer.finish()  # doctest: +SKIP

    Args:
        tokenizer: Turns ids into text.
        stop: Texts that end the answer; they and what follows are not part of it.

    Raises:
        RequestError: If a stop string is empty.
    """

    def __init__(self, tokenizer: StreamingTokenizer, *, stop: Iterable[str] = ()) -> None:
        self._stop = check_stop(stop)
        self._tokenizer = tokenizer
        self._stream = tokenizer.stream()
        self._held = ""
        self._shown: list[str] = []
        self._tokens = 0
        self._at_start = True
        self.stopped = False
        self.thinking = False
        self.thinking_tokens = 0

    @property
    def text(self) -> str:
        """The answer so far, without what is held back."""
        return "".join(self._shown)

    def push(self, token: int) -> str:
        """Takes a token and returns the text that became safe to show."""
        if self.stopped:
            return ""
        self._tokens += 1
        if token == THINK_END:
            self._drop_thinking()
        elif token == THINK_START or self.thinking:
            self.thinking = True
        else:
            return self._show(self._stream.push(token))
        self.thinking_tokens = self._tokens
        return ""

    def finish(self) -> str:
        """Ends the answer and returns what was held back and belongs to it."""
        if self.stopped or self.thinking:
            return ""
        shown = self._show(self._stream.finish())
        if not self.stopped and self._held:
            self._shown.append(self._held)
            shown, self._held = shown + self._held, ""
        return shown

    def _drop_thinking(self) -> None:
        """What came before the closing token was thinking, with or without an opening one."""
        self.thinking = False
        self._stream = self._tokenizer.stream()
        self._held = ""
        self._shown.clear()
        self._at_start = True

    def _show(self, fresh: str) -> str:
        if self._at_start:
            fresh = fresh.lstrip()
            self._at_start = not fresh
        pending = self._held + fresh
        places = [place for place in (pending.find(stop) for stop in self._stop) if place >= 0]
        if places:
            self.stopped = True
            safe, self._held = pending[: min(places)], ""
        else:
            safe_length = len(pending) - max((_overlap(pending, stop) for stop in self._stop), default=0)
            safe, self._held = pending[:safe_length], pending[safe_length:]
        if safe:
            self._shown.append(safe)
        return safe


def _overlap(text: str, stop: str) -> int:
    """Counts the last characters of a text that begin the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
