"""Text from tokens while they come: whole characters, without stop strings and thinking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

_HALF = "\ufffd"

THINK_START = 100
"""``<unused94>``, which opens the thinking of MedGemma 1.5."""
THINK_END = 101
"""``<unused95>``, which closes it."""


class Decodes(Protocol):
    """What is asked of a tokenizer here."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        ...


class TextStream:
    """Turns tokens into text that is safe to show.

    A character whose bytes are not all there is held back; so is text that may
    be the start of a stop string, and everything between the thinking tokens.

    Example:
        >>> stream = TextStream(tokenizer, stop=("END",))
        >>> shown = "".join(stream.push(token) for token in ids) + stream.finish()

    Args:
        tokenizer: Turns ids into text.
        stop: Texts that end the answer; they and what follows are not part of it.
    """

    def __init__(self, tokenizer: Decodes, *, stop: Iterable[str] = ()) -> None:
        self._decode = tokenizer.decode
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._anchor = 0
        self._read = 0
        self._held = ""
        self._shown: list[str] = []
        self._trim_start = False
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
        if token == THINK_START:
            self.thinking = True
            self.thinking_tokens += 1
            return ""
        if token == THINK_END:
            self._drop_thinking()
            return ""
        if self.thinking:
            self.thinking_tokens += 1
            return ""
        self._ids.append(token)
        return self._show(self._whole_characters())

    def finish(self) -> str:
        """Ends the answer and returns what was held back and is part of it."""
        if self.stopped or self.thinking:
            return ""
        rest = self._new_text()
        self._anchor = self._read = len(self._ids)
        shown = self._show(rest)
        if not self.stopped and self._held:
            shown += self._held
            self._shown.append(self._held)
            self._held = ""
        return shown

    def _drop_thinking(self) -> None:
        """Everything before the closing token was thinking, also where no opening token came."""
        self.thinking = False
        self.thinking_tokens += 1 + len(self._ids)
        self._ids.clear()
        self._shown.clear()
        self._anchor = self._read = 0
        self._held = ""
        self._trim_start = True

    def _new_text(self) -> str:
        before = self._decode(self._ids[self._anchor : self._read])
        return self._decode(self._ids[self._anchor :])[len(before) :]

    def _whole_characters(self) -> str:
        """Text that the last tokens added, or nothing while its last character is incomplete."""
        fresh = self._new_text()
        if not fresh or fresh.endswith(_HALF):
            return ""
        self._anchor, self._read = self._read, len(self._ids)
        return fresh

    def _show(self, fresh: str) -> str:
        if self._trim_start:
            fresh = fresh.lstrip()
            self._trim_start = not fresh
        pending = self._held + fresh
        cut = min((at for at in (pending.find(stop) for stop in self._stop) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            safe, self._held = pending[:cut], ""
        else:
            keep = max((_overlap(pending, stop) for stop in self._stop), default=0)
            safe, self._held = pending[: len(pending) - keep], pending[len(pending) - keep :]
        if safe:
            self._shown.append(safe)
        return safe


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of a text begin the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
