"""Report: findings and impression, each sentence linked to what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osler.study import Answer, Study

if TYPE_CHECKING:
    from osler.engine.session import Progress, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What to report on, and with which weights.

    Args:
        path: The scan.
        indication: Why it was taken, in words; data, never an instruction.
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        max_tokens: Longest text.
        priors: Earlier studies of the same patient.
        records: FHIR bundles, laboratory reports, letters of the same patient.
    """

    path: str | Path
    indication: str = ""
    model: str = "osler-mini"
    device: str = "auto"
    max_tokens: int = 512
    priors: tuple[str | Path, ...] = ()
    records: tuple[str | Path, ...] = ()


def report(
    session: Session,
    study: Study | str | Path,
    *,
    indication: str = "",
    max_tokens: int = 512,
    on_progress: Progress | None = None,
) -> Answer:
    """Writes a report whose sentences say what they rest on."""
    raise NotImplementedError
