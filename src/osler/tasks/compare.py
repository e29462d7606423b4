"""Compare: what became of each finding between two or more dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osler.study import Answer, Study

if TYPE_CHECKING:
    from osler.engine.session import Progress, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """Which studies to compare, and what was measured in them.

    Args:
        now: The study of today.
        priors: Earlier ones, one at least.
        records: FHIR bundles, laboratory reports, letters of the same patient.
        boxes: One file of boxes (`osler locate --json`) or label map (NIfTI) for each study, the study of
            today first; empty without.
        findings: Names to follow; empty for what is measured.
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
    """

    now: str | Path
    priors: tuple[str | Path, ...]
    records: tuple[str | Path, ...] = ()
    boxes: tuple[str | Path, ...] = ()
    findings: tuple[str, ...] = ()
    model: str = "osler-mini"
    device: str = "auto"


def compare(
    session: Session | None,
    study: Study,
    *,
    findings: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> Answer:
    """Compares the last time point of a study with each earlier one."""
    raise NotImplementedError
