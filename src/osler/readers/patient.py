"""One patient from several places: a study, its priors and the record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from osler.study import Study

Mixing = Literal["refuse", "allow"]


def open_patient(
    path: str | Path | None,
    *,
    priors: Sequence[str | Path] = (),
    records: Sequence[str | Path] = (),
    mixing: Mixing = "refuse",
) -> Study:
    """Opens a study together with its priors and the patient's record.

    Args:
        path: The study that is asked about, or ``None`` for the record alone.
        priors: Earlier studies of the patient.
        records: FHIR files or folders, and whatever else `open_study` reads of a record.
        mixing: ``"allow"`` puts files of different patients together and says so in ``problems``.

    Raises:
        PatientMixError: If the paths belong to different patients.
    """
    raise NotImplementedError
