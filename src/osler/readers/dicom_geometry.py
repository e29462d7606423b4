"""Where a stack of DICOM frames lies, and what it takes to make a straight grid of it.

An evenly spaced, straight stack keeps its pixels; its affine is exact. A
stack with a few missing or unevenly spaced slices is resampled linearly along
the normal, a stack sheared by a gantry tilt is straightened by shifting its
slices in their plane. Either is said in the problems of the volume.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median  # numpy's imports its masked arrays at the first call

import numpy as np

from osler.readers.dicom_header import FrameHeader
from osler.study import Affine

# Slices may lie this far from an even grid: a part of the step, or rounding of the header.
_EVEN_PART, _EVEN_MM = 0.05, 0.11
# In-plane drift over the whole stack that is worth a resampling, in pixels.
_DRIFT_PX = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampling:
    """How output slices are made of source slices.

    Args:
        below: For each output slice, the source slice at or below it.
        above: For each output slice, the source slice at or above it.
        weight: For each output slice, the weight of `above`, 0 to 1.
        shift: For each source slice ``(column, row)``: file pixel = output pixel + shift.
        rows: Rows of the output.
        columns: Columns of the output.
    """

    below: np.ndarray
    above: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    rows: int
    columns: int

    def share(self, index: int) -> float:
        """How much of output slice ``index`` is from that source slice, 0.5 to 1."""
        return float(max(self.weight[index], 1 - self.weight[index]))

    def nearest(self, index: int) -> int:
        """The source slice that contributes most to output slice ``index``."""
        return int(self.above[index] if self.weight[index] > 0.5 else self.below[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A straight, even grid for a stack of frames.

    Args:
        affine: Voxel ``(column, row, slice)`` to patient LPS mm.
        shape: ``(slices, rows, columns)``.
        resampling: What has to be done to the pixels; ``None`` for nothing.
        problems: What was noticed.
    """

    affine: Affine
    shape: tuple[int, int, int]
    resampling: Resampling | None
    problems: tuple[str, ...]


def axes_of(frame: FrameHeader) -> np.ndarray:
    """Returns unit directions of rising column index, row index and the normal, as rows."""
    assert frame.orientation is not None
    column_axis, row_axis = np.asarray(frame.orientation[:3]), np.asarray(frame.orientation[3:])
    column_axis = column_axis / np.linalg.norm(column_axis)
    row_axis = row_axis / np.linalg.norm(row_axis)
    return np.stack([column_axis, row_axis, np.cross(column_axis, row_axis)])


def places_of(frames: Sequence[FrameHeader], *, axes: np.ndarray) -> np.ndarray:
    """Returns the first pixel's center of each frame along the three axes, in mm, shape (n, 3)."""
    return np.asarray([frame.position for frame in frames], dtype=np.float64) @ axes.T


def is_even(levels: np.ndarray) -> bool:
    """Whether sorted positions along the normal (mm) lie on an even grid, within rounding."""
    if len(levels) < 3:
        return True
    step = (levels[-1] - levels[0]) / (len(levels) - 1)
    residual = np.abs(levels - (levels[0] + step * np.arange(len(levels)))).max()
    return bool(residual <= max(_EVEN_PART * step, min(_EVEN_MM, 0.25 * step)))


def missing_after(levels: np.ndarray) -> np.ndarray | None:
    """Counts the slices that are missing after each slice, if the gaps are multiples of one step.

    Args:
        levels: Sorted positions along the normal, mm.

    Returns:
        Counts, one fewer than slices; ``None`` if the gaps are not multiples of one step.
    """
    gaps = np.diff(levels)
    base = gaps[gaps < 1.5 * gaps.min()].mean()
    counts = np.rint(gaps / base)
    if np.abs(gaps - counts * base).max() > 0.15 * base:
        return None
    return counts.astype(int) - 1


def split_at_gaps(levels: np.ndarray) -> list[slice]:
    """Cuts a stack where so much is missing that filling it would invent anatomy."""
    if len(levels) < 3 or is_even(levels):
        return [slice(0, len(levels))]
    gaps = np.diff(levels)
    usual = float(median(gaps.tolist()))
    wide = (gaps > 20.0) & (gaps > max(3.5, 0.1 * len(levels)) * usual)
    edges = [0, *(np.flatnonzero(wide) + 1).tolist(), len(levels)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def fit_grid(frames: Sequence[FrameHeader]) -> Grid:
    """Fits a grid to at least two parallel frames sorted along their normal.

    Args:
        frames: Frames of one orientation, pixel spacing and size, at distinct positions.
    """
    first = frames[0]
    axes = axes_of(first)
    places = places_of(frames, axes=axes)
    row_mm, column_mm = first.spacing or (1.0, 1.0)
    levels = places[:, 2]
    pixel_mm = np.array([column_mm, row_mm])
    even, drift = is_even(levels), _drift_px(places, pixel_mm=pixel_mm)
    problems = list(_thickness_problems(first, levels=levels)) if even else []
    rows, columns = first.file.rows, first.file.columns
    if even and drift <= _DRIFT_PX:
        step = (places[-1] - places[0]) / (len(frames) - 1)
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = axes[0] * column_mm, axes[1] * row_mm, step @ axes
        matrix[:3, 3] = first.position
        return Grid(
            affine=Affine(matrix),
            shape=(len(frames), rows, columns),
            resampling=None,
            problems=tuple(problems),
        )
    below, above, weight, step_mm = _along_normal(levels, even=even)
    if drift > _DRIFT_PX:
        problems.append(_tilt_problem(first, places=places, drift=drift))
    if not even:
        problems.append(_spacing_problem(levels, count=len(below)))
    low = places[:, :2].min(axis=0) if drift > _DRIFT_PX else places[0, :2]
    shift = (low - places[:, :2]) / pixel_mm if drift > _DRIFT_PX else np.zeros((len(frames), 2))
    grow = np.ceil(-shift.min(axis=0) - 1e-6).astype(int)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = axes[0] * column_mm, axes[1] * row_mm, axes[2] * step_mm
    matrix[:3, 3] = np.array([low[0], low[1], levels[0]]) @ axes
    size = (rows + int(grow[1]), columns + int(grow[0]))
    resampling = Resampling(below=below, above=above, weight=weight, shift=shift, rows=size[0], columns=size[1])
    return Grid(affine=Affine(matrix), shape=(len(below), *size), resampling=resampling, problems=tuple(problems))


def _drift_px(places: np.ndarray, *, pixel_mm: np.ndarray) -> float:
    """How far slices shift in their plane over the stack, in pixels."""
    return float((np.ptp(places[:, :2], axis=0) / pixel_mm).max())


def _along_normal(levels: np.ndarray, *, even: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Where output slices lie between source slices, and their distance in mm."""
    count = len(levels)
    extent = float(levels[-1] - levels[0])
    if even:
        indices = np.arange(count)
        return indices, indices, np.zeros(count), extent / (count - 1)
    gaps = np.diff(levels)
    missing = missing_after(levels)
    if missing is not None and missing.sum() > count:
        # More is missing than is there: as many slices as files, instead of mostly invented ones.
        fine = extent / (count - 1)
    else:
        # Fine enough for the closely spaced part, not for one odd pair of slices.
        fine = max(float(np.percentile(gaps, 10, method="lower")), extent / (4 * (count - 1)))
    steps = max(round(extent / fine), 1)
    targets = levels[0] + np.arange(steps + 1) * (extent / steps)
    below = np.clip(np.searchsorted(levels, targets + 1e-6, side="right") - 1, 0, count - 2)
    weight = np.clip((targets - levels[below]) / gaps[below], 0.0, 1.0)
    # Within rounding of a real slice, take that slice as it is.
    weight[weight * gaps[below] < 0.02 * fine] = 0.0
    weight[(1 - weight) * gaps[below] < 0.02 * fine] = 1.0
    return below, below + 1, weight, extent / steps


def _tilt_problem(first: FrameHeader, *, places: np.ndarray, drift: float) -> str:
    run = places[-1] - places[0]
    angle = float(np.degrees(np.arctan2(np.linalg.norm(run[:2]), abs(run[2]))))
    named = f" (the header says {first.file.tilt:g} degrees)" if first.file.tilt else ""
    return (
        f"The slices are stacked at {angle:.1f} degrees to their normal, as with a tilted gantry{named}: "
        f"they were shifted in their plane by up to {drift:.1f} pixels into a straight grid."
    )


def _spacing_problem(levels: np.ndarray, *, count: int) -> str:
    gaps = np.diff(levels)
    missing = missing_after(levels)
    if missing is not None and missing.any():
        holes = np.flatnonzero(missing)
        places = ", ".join(f"{levels[index]:.1f} to {levels[index + 1]:.1f}" for index in holes[:3])
        more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
        total = int(missing.sum())
        return (
            f"{total} {'slice is' if total == 1 else 'slices are'} missing among {len(levels)} "
            f"(from {places} mm along the normal{more}): resampled linearly to {count} even slices."
        )
    return (
        f"Uneven slice spacing, {gaps.min():.3g} to {gaps.max():.3g} mm: "
        f"resampled linearly to {count} even slices along the normal."
    )


def _thickness_problems(first: FrameHeader, *, levels: np.ndarray) -> tuple[str, ...]:
    thickness = first.file.thickness
    usual = float(median(np.diff(levels).tolist()))
    if thickness is not None and thickness > 0 and usual > 1.5 * thickness:
        return (
            f"Slices are {usual:.3g} mm apart and {thickness:.3g} mm thick by the header: "
            "the positions are used, and what lies between was not imaged.",
        )
    return ()
