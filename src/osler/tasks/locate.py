"""Locate: boxes of what is named, in pixels of the file and in mm of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osler.study import Answer, Study

if TYPE_CHECKING:
    from osler.engine.session import Progress, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class LocateRequest:
    """What to locate, where, and with which weights.

    Args:
        path: The scan.
        labels: What to draw boxes around, such as ``"right lung"``.
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        slices: Slices of a volume that are asked about at most, evenly spread.
    """

    path: str | Path
    labels: tuple[str, ...]
    model: str = "osler-mini"
    device: str = "auto"
    slices: int = 24


def locate(
    session: Session,
    study: Study | str | Path,
    labels: Sequence[str],
    *,
    slices: int = 24,
    on_progress: Progress | None = None,
) -> Answer:
    """Draws boxes around what is named."""
    raise NotImplementedError
