"""Which voxels an exam has: field of view, spacing, and the order and direction of its axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import RequestError
from osler.study import Affine, Box3D
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms.canvas import Axes

_WORDS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
MOST_VOXELS = 400_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Voxels of a volume.

    Args:
        shape: (slices, rows, columns).
        affine: Voxel (column, row, slice) to patient LPS mm.
        axes: Where columns, rows and slices grow: for example "LPS".
    """

    shape: tuple[int, int, int]
    affine: Affine
    axes: str

    def body_axes(self, *, mirrored: bool) -> Axes:
        """Coordinates in increasing LPS order; mirrored ones are those of the body that is mirrored in x."""
        lines: list[np.ndarray] = [np.zeros(0)] * 3
        for k, word in enumerate(self.axes):
            axis, sign = _WORDS[word]
            count = self.shape[2 - k]
            step = self.affine.matrix[axis, k]
            line = self.affine.matrix[axis, 3] + step * np.arange(count)
            lines[axis] = line if sign > 0 else line[::-1]
        if mirrored:
            lines[0] = -lines[0][::-1]
        x, y, z = (line.astype(np.float32) for line in lines)
        return Axes(x=x, y=y, z=z)

    def arrange(self, array: np.ndarray, *, mirrored: bool) -> np.ndarray:
        """Brings an array of (z, y, x) into the order of the grid (slice, row, column)."""
        if mirrored:
            array = array[:, :, ::-1]
        order = [2 - _WORDS[word][0] for word in reversed(self.axes)]
        array = array.transpose(order)
        flips = tuple(slice(None, None, _WORDS[word][1]) for word in reversed(self.axes))
        return np.ascontiguousarray(array[flips])

    def voxel_box(self, low: np.ndarray, high: np.ndarray, *, mirrored: bool) -> Box3D:
        """The box (voxel frame) of first and last plus one indices (z, y, x) in the order of `body_axes`."""
        ends = []
        for k, word in enumerate(self.axes):
            axis, sign = _WORDS[word]
            start, stop, count = float(low[2 - axis]), float(high[2 - axis]), self.shape[2 - k]
            backward = (sign < 0) != (mirrored and axis == 0)
            ends.append((count - stop, count - start) if backward else (start, stop))
        return Box3D(low=tuple(e[0] for e in ends), high=tuple(e[1] for e in ends), frame="voxel")


def check_axes(axes: str) -> str:
    """Returns three axis letters, or raises what is wrong with them."""
    if len(axes) != 3 or any(a not in _WORDS for a in axes) or len({_WORDS[a][0] for a in axes}) != 3:
        raise RequestError(
            f"Axes {axes!r} are not understood.",
            allowed="Three letters, one of L or R, one of P or A, one of S or I, for columns, rows and slices.",
            next_step='Use "LPS" for axial slices.',
        )
    return axes


def field_of_view(
    patient: PatientFacts, *, exam: Exam
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Center (mm) and size (mm) of what an exam shows, along x, y, z of the body."""
    a, body = exam.acquisition, patient.anatomy
    plane = a.pixel_mm * a.columns
    depth = (a.spacing_mm or 1.0) * a.slices
    if exam.region == "head":
        front = 0.09 * body.head_mm[1]
        low = 0.10 * body.head_mm[2]
        return (0.0, -front, -low), (plane, plane, depth)
    if exam.region == "knee":
        return (0.0, 0.05 * body.knee_mm, 0.08 * body.knee_mm), (depth, plane, plane)
    t = body.trunk_mm
    if exam.protocol == "mr-liver":
        middle = -0.09 * t
    elif exam.region == "chest":
        middle = 0.345 * t - depth / 2
    else:
        middle = 0.065 * t - depth / 2
    return (0.0, 0.0, middle), (plane, plane, depth)


def default_axes(exam: Exam) -> str:
    """Sagittal slices for knees, axial ones for the rest."""
    return "PIL" if exam.region == "knee" else "LPS"


def grid_of(
    patient: PatientFacts,
    *,
    exam: Exam,
    shape: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    axes: str | None = None,
) -> Grid:
    """The voxels of an exam.

    Args:
        patient: Whose body sets the field of view.
        exam: Whose acquisition sets the matrix, unless shape or spacing is given.
        shape: (slices, rows, columns) over the exam's field of view.
        spacing_mm: mm between columns, rows, slices. With a shape, both hold and the field follows.
        axes: Where columns, rows and slices grow.

    Raises:
        RequestError: If a number is out of range or axes are not understood.
    """
    axes = check_axes(axes or default_axes(exam))
    center, size = field_of_view(patient, exam=exam)
    order = [_WORDS[word][0] for word in axes]
    extent = [size[axis] for axis in order]
    a = exam.acquisition
    if shape is None and spacing_mm is None:
        if axes == default_axes(exam):
            shape = (a.slices, a.rows, a.columns)
        else:
            spacing_mm = (max(a.pixel_mm, 1.0),) * 3
    if shape is not None and (len(shape) != 3 or min(shape) < 1):
        raise RequestError(
            f"A volume of shape {shape!r}.", allowed="Three counts of at least 1: slices, rows, columns."
        )
    if spacing_mm is not None and (len(spacing_mm) != 3 or not all(0.05 <= s <= 100 for s in spacing_mm)):
        raise RequestError(f"A spacing of {spacing_mm!r} mm.", allowed="Three numbers from 0.05 to 100 mm.")
    if spacing_mm is None:
        counts = shape[::-1]
        spacing_mm = tuple(e / n for e, n in zip(extent, counts, strict=True))
    elif shape is None:
        counts = tuple(max(1, round(e / s)) for e, s in zip(extent, spacing_mm, strict=True))
    else:
        counts = shape[::-1]
    if np.prod(counts, dtype=float) > MOST_VOXELS:
        raise RequestError(
            f"A volume of {counts[2]} x {counts[1]} x {counts[0]} voxels.",
            allowed=f"At most {MOST_VOXELS:,} voxels.",
            next_step="Use a wider spacing or a smaller shape.",
        )
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for k, word in enumerate(axes):
        axis, sign = _WORDS[word]
        matrix[axis, k] = sign * spacing_mm[k]
        matrix[axis, 3] = center[axis] - sign * spacing_mm[k] * (counts[k] - 1) / 2
    return Grid(shape=counts[::-1], affine=Affine(matrix), axes=axes)
