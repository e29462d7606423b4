"""Findings: a probability for each finding of a list, with an explicit "cannot tell"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from osler.study import Answer, Study

if TYPE_CHECKING:
    from osler.engine.session import Progress, Session

Source = Literal["head", "answers"]
"""``head``: the trained findings head. ``answers``: yes against no of the language model, uncalibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsRequest:
    """Which findings of which scan, and from where the probabilities come.

    Args:
        path: The scan.
        findings: Names of `osler.tasks.finding_names`; empty for all that fit the modality and region.
        source: See `Source`.
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
    """

    path: str | Path
    findings: tuple[str, ...] = ()
    source: Source = "head"
    model: str = "osler-mini"
    device: str = "auto"


def findings(
    session: Session,
    study: Study | str | Path,
    *,
    names: Sequence[str] = (),
    source: Source = "head",
    on_progress: Progress | None = None,
) -> Answer:
    """Gives a probability for each finding."""
    raise NotImplementedError
