"""Chat: questions one after the other about studies that stay loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What to talk about, and with which weights.

    Args:
        paths: Scans of one patient; may be empty.
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        max_tokens: Longest answer.
    """

    paths: tuple[str | Path, ...] = ()
    model: str = "osler-mini"
    device: str = "auto"
    max_tokens: int = 256
