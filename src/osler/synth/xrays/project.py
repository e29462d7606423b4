"""Sums of a body's voxels along the rays of a beam: a point source, a flat detector, a turned patient.

The voxels lie in slabs across the rays' main axis. Where each ray crosses a slab's middle plane follows from
similar triangles; there the slab is interpolated, and the slabs' values add up.
"""

from __future__ import annotations

import ctypes
from typing import Literal

import numpy as np

from osler.synth.painting.library import address, native
from osler.synth.phantoms.canvas import Axes, Box, Rays
from osler.synth.xrays.beam import Beam

_GROUP_MM = 13.0
"""Slabs are added in groups this thick before they are interpolated: within one, shadows shift by under half a mm."""
Sum = Literal["sum", "greatest"]
_Three = ctypes.c_int64 * 3


class Projector:
    """Rays through one grid of voxels.

    Args:
        axes: Voxel centers (mm). rays: Their long axis. beam: Of the film.
        step: Film pixels between rays.
    """

    def __init__(self, axes: Axes, *, rays: Rays, beam: Beam, step: int) -> None:
        self._axes, self._rays, self._step = axes, rays, step
        self._shape = beam.rows, beam.columns
        source_x, source_y, source_z = (float(c.flat[0]) for c in beam.plane(beam.source_mm, step=step))
        x, y, z = (c.reshape(-1).astype(np.float64) for c in beam.plane(beam.detector_mm, step=step))
        self._source = (source_y, source_x) if rays == "y" else (source_x, source_y)
        self._far = (y, x) if rays == "y" else (x, y)
        self._source_z, self._far_z = source_z, z
        along, across = self._far[0] - self._source[0], self._far[1] - self._source[1]
        length = np.sqrt(along**2 + across**2 + (z[:, None] - source_z) ** 2)
        self._longer = (length / np.abs(along)).astype(np.float32)

    def lengths(self, voxels: np.ndarray, *, box: Box | None = None, mode: Sum = "sum") -> np.ndarray:
        """Adds up voxels along each ray.

        Args:
            voxels: (Z, Y, X), of the whole grid or of a box of it.
            box: Indices (z, y, x) of the voxels.
            mode: "sum" gives value times mm of the way, "greatest" the greatest value on the way.

        Returns:
            (rows, columns) float32 at the film's full size.
        """
        z, y, x = box or tuple(slice(0, count) for count in self._axes.shape)
        along, lines, order = (
            (self._axes.y[y], (self._axes.z[z], self._axes.x[x]), 1)
            if self._rays == "y"
            else (self._axes.x[x], (self._axes.z[z], self._axes.y[y]), 2)
        )
        thick = self._axes.spacing[1 if self._rays == "y" else 0]
        group = max(1, int(_GROUP_MM / thick)) if mode == "sum" else 1
        rows, columns = self._window((float(along[0]), float(along[-1])), lines)
        total = np.zeros(self._longer.shape, np.float32)
        for start in range(0, len(along) if total[rows, columns].size else 0, group):
            stop = min(start + group, len(along))
            slab, held = _slab(voxels, start, stop, axis=order)
            if held[0].stop == 0:
                continue
            place = float(along[start:stop].mean())
            near = self._window((place,), (lines[0][held[0]], lines[1][held[1]]))
            if total[near].size:
                self._add(total, slab, place, lines, near=near, mode=mode)
        if mode == "sum":
            part = total[rows, columns]
            part *= self._longer[rows, columns] * np.float32(thick)
        return enlarged(total, step=self._step, shape=self._shape)

    def _window(self, places: tuple[float, ...], lines: tuple[np.ndarray, np.ndarray]) -> tuple[slice, slice]:
        """Rays that may meet voxels on some lines (up, across), at places along the rays and between them."""
        rows, columns = np.zeros(len(self._far_z), bool), np.zeros(len(self._far[0]), bool)
        for place in places:
            share = (place - self._source[0]) / (self._far[0] - self._source[0])
            across = self._source[1] + share * (self._far[1] - self._source[1])
            columns |= _near(across, lines[1])
            for s in (share.min(), share.max()):
                rows |= _near(self._source_z + s * (self._far_z - self._source_z), lines[0])
        return _span(rows), _span(columns)

    def _add(
        self,
        total: np.ndarray,
        slab: np.ndarray,
        place: float,
        lines: tuple[np.ndarray, np.ndarray],
        *,
        near: tuple[slice, slice],
        mode: Sum,
    ) -> None:
        """Adds a slab (Z, across) at a place along the rays, as the rays meet it, to some rays of the total."""
        (i, f), (up, share, start) = self._met(place, lines, rows=near[0], columns=near[1])
        part = total[near]
        if (library := native()) is not None:
            sides = np.empty((slab.shape[0] + 3, part.shape[1]), np.float32)
            library.osler_seen(
                address(slab), *slab.shape, address(i), address(f), address(up), address(share), start, address(sides),
                address(part), total.shape[1], *part.shape, mode == "greatest",
            )  # fmt: skip
            return
        at = up[:, None] * share
        at += start
        np.clip(at, 0, np.float32(len(lines[0]) + 1), out=at)
        j = at.astype(np.int32)
        at -= j
        flat = j.astype(np.intp)
        flat *= len(share)
        flat += np.arange(len(share))
        padded = np.zeros((slab.shape[0] + 3, slab.shape[1] + 3), np.float32)
        padded[1:-2, 1:-2] = slab
        sides = padded.take(i, axis=1)
        after = padded.take(i + 1, axis=1)
        after -= sides
        after *= f
        sides += after
        seen, high = sides.reshape(-1).take(flat), sides[1:].reshape(-1).take(flat)
        high -= seen
        high *= at
        seen += high
        (np.add if mode == "sum" else np.maximum)(part, seen, out=part)

    def _met(
        self, place: float, lines: tuple[np.ndarray, np.ndarray], *, rows: slice, columns: slice
    ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.float32]]:
        """Where the rays meet a plane: first voxel across and the weight of the next; factors and start of the row."""
        far, far_across, far_z = self._far[0][columns], self._far[1][columns], self._far_z[rows]
        share = (place - self._source[0]) / (far - self._source[0])
        across = self._source[1] + share * (far_across - self._source[1])
        step = float(lines[0][1] - lines[0][0]) if len(lines[0]) > 1 else 2.0
        start = np.float32((self._source_z - float(lines[0][0])) / step + 1)
        up = ((far_z - self._source_z) / step).astype(np.float32)
        return _places(across, lines[1]), (up, share.astype(np.float32), start)


def _slab(voxels: np.ndarray, start: int, stop: int, *, axis: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The sum (Z, across), float32, of some voxels along an axis, and the rows and columns that are not empty."""
    kind = {"float32": "f32", "bool": "u8", "uint8": "u8"}.get(voxels.dtype.name)
    if (library := native()) is not None and kind is not None:
        dims, strides = _Three(*voxels.shape), _Three(*(step // voxels.itemsize for step in voxels.strides))
        slab = np.empty((voxels.shape[0], voxels.shape[3 - axis]), np.float32)
        rows, columns = (np.empty(count, bool) for count in slab.shape)
        call = library.osler_slab_f32 if kind == "f32" else library.osler_slab_u8
        call(address(voxels), dims, axis, start, stop, strides, *map(address, (slab, rows, columns)))
        return slab, (_span(rows), _span(columns))
    slab = np.take(voxels, start, axis=axis).astype(np.float32, copy=False)
    for further in range(start + 1, stop):
        slab += np.take(voxels, further, axis=axis)
    used = slab != 0
    return slab, (_span(used.any(axis=1)), _span(used.any(axis=0)))


def _near(values: np.ndarray, line: np.ndarray) -> np.ndarray:
    step = float(line[1] - line[0]) if len(line) > 1 else 8.0
    return (values > line[0] - 2 * step) & (values < line[-1] + 2 * step)


def _span(used: np.ndarray) -> slice:
    where = np.flatnonzero(used)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def _places(values: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First of the two padded voxels about each value, and the weight of the second."""
    step = float(line[1] - line[0]) if len(line) > 1 else 2.0
    at = np.clip((values - float(line[0])) / step + 1, 0, len(line) + 1)
    first = at.astype(np.intp)
    return first, (at - first).astype(np.float32)


def enlarged(small: np.ndarray, *, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Enlarges by cubic interpolation (Catmull-Rom); sample k stands for pixels k step to (k + 1) step."""
    if step == 1:
        return small[: shape[0], : shape[1]]
    for axis, length in enumerate(shape):
        at = (np.arange(length) + 0.5) / step - 0.5
        base = np.floor(at).astype(np.intp)
        f = (at - base).astype(np.float32)
        weights = (
            ((2 - f) * f - 1) * f / 2, ((3 * f - 5) * f * f + 2) / 2, ((4 - 3 * f) * f + 1) * f / 2, (f - 1) * f * f / 2
        )  # fmt: skip
        index = [np.clip(base + k - 1, 0, small.shape[axis] - 1) for k in range(4)]
        if (library := native()) is not None:
            small, about, four = np.ascontiguousarray(small), np.stack(index), np.stack(weights)
            out = np.empty((length, small.shape[1]) if axis == 0 else (small.shape[0], length), np.float32)
            library.osler_cubic(
                address(small), *small.shape, axis, address(about), address(four), length, address(out)
            )  # fmt: skip
            small = out
            continue
        column = [-1, 1] if axis == 0 else [1, -1]
        parts = (small.take(i, axis=axis) * weight.reshape(column) for i, weight in zip(index, weights, strict=True))
        small = sum(parts)  # type: ignore[assignment]
    return small
