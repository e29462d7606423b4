"""Masks: which voxels of a series belong to something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """A labeled set of voxels.

    Args:
        label: What it encloses.
        series: Series identifier.
        voxels: bool, on the grid of the series: ``(slice, row, column)``, of an image ``(row, column)``.
        code: Code of the label; digits are SNOMED CT, ``RID`` and digits RadLex; may be empty.

    Raises:
        RequestError: If the array is not of bool.
    """

    label: str
    series: str
    voxels: np.ndarray
    code: str = ""

    def __post_init__(self) -> None:
        if self.voxels.dtype != np.bool_ or self.voxels.ndim not in (2, 3):
            raise RequestError(
                f"A mask of type {self.voxels.dtype} with {self.voxels.ndim} axes.",
                allowed="bool, (slice, row, column) or (row, column).",
            )
