"""The greatest depth of many spheres at each voxel that they reach.

Dimensions: N spheres; K voxels of the box about one; Z, Y, X of the grid.
"""

from __future__ import annotations

import numpy as np

from osler.synth.painting.library import address, native
from osler.synth.phantoms.canvas import Axes
from osler.synth.phantoms.shapes import Point

_LARGE_BOX = 1200
"""Voxels about a sphere from which it is written by itself; smaller ones are gathered many at a time."""
_AT_ONCE = 100_000
_OUTSIDE = 1e12
_NOTHING = -1e9
_ROUNDING_MM = 1e-3


class Gather:
    """Collects spheres on a grid, until their depths are asked for.

    Args:
        axes: Of the grid, with a depth for each voxel as memory that all share and leave as they found it.
        reach: How far (mm) out of a sphere voxels still count.
    """

    def __init__(self, axes: Axes, *, reach: float) -> None:
        self._shape, self._reach = axes.shape, np.float32(reach + _ROUNDING_MM)
        if axes.scratch.get("depth") is None:
            axes.scratch["depth"] = np.full(axes.shape, _NOTHING, dtype=np.float32)
        self._depths = axes.scratch["depth"]
        lines = (axes.x, axes.y, axes.z)
        self._steps = [np.float32(line[1] - line[0]) if len(line) > 1 else np.float32(1) for line in lines]
        self._starts = [line[0] for line in lines]
        if native() is not None:
            self._touched, self._count = axes.room("touched", self._depths.size, np.int64), 0
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._low, self._high = list(reversed(axes.shape)), [0, 0, 0]

    def add(self, points: np.ndarray, radius: np.ndarray, *, squash: Point) -> None:
        """Adds spheres: centers (N, 3) and radii (N), float32 mm; ``squash`` scales distances along x, y, z."""
        if native() is not None:
            self._count = self._spheres(points, radius, squash=squash)
            return
        middle, half = [], []
        for k, (start, step) in enumerate(zip(self._starts, self._steps, strict=True)):
            middle.append(np.rint((points[:, k] - start) / step).astype(np.int64))
            # A center lies at most half a voxel off its middle voxel.
            half.append(
                np.floor((radius + self._reach) / np.float32(squash[k]) / step + np.float32(0.5)).astype(np.int64)
            )
        seen = half[0] >= 0
        for count, center, reached in zip(reversed(self._shape), middle, half, strict=True):
            seen &= (center + reached >= 0) & (center - reached < count)
        large = seen & ((2 * half[0] + 1) * (2 * half[1] + 1) * (2 * half[2] + 1) >= _LARGE_BOX)
        boxes = np.stack([*middle, *half], axis=1)
        for n in np.flatnonzero(large):
            self._write(points[n], radius[n], squash=squash, box=boxes[n].tolist())
        small = seen & ~large
        longest = np.maximum(np.maximum(half[0], half[1]), half[2])
        for reached in np.unique(longest[small]):
            chosen = np.flatnonzero(small & (longest == reached))
            self._gather(points[chosen], radius[chosen], squash=squash, boxes=boxes[chosen])

    def _spheres(self, points: np.ndarray, radius: np.ndarray, *, squash: Point) -> int:
        """Writes spheres into the depths by the compiled kernel; returns how many voxels they touch by now."""
        points, radius = np.ascontiguousarray(points), np.ascontiguousarray(radius)
        numbers = (self._starts, self._steps, squash)
        start, step, squashed = (np.array(three, dtype=np.float32) for three in numbers)
        dims = np.array(self._shape[::-1], dtype=np.int64)
        return native().osler_spheres(
            address(self._depths), address(dims), address(start), address(step), address(squashed), address(points),
            address(radius), len(points), self._reach, _NOTHING, address(self._touched), self._count,
        )  # fmt: skip

    def _write(self, point: np.ndarray, radius: np.float32, *, squash: Point, box: list[int]) -> None:
        """Writes one sphere into the depths."""
        gaps, where = [], []
        for k in range(3):
            start, stop = max(box[k] - box[3 + k], 0), min(box[k] + box[3 + k] + 1, self._shape[2 - k])
            gap = self._starts[k] + np.arange(start, stop, dtype=np.float32) * self._steps[k]
            gap -= point[k]
            gap *= squash[k]
            gap *= gap
            gaps.append(gap), where.append(slice(start, stop))
            self._low[k], self._high[k] = min(self._low[k], start), max(self._high[k], stop)
        deep = (gaps[2][:, None] + gaps[1])[:, :, None] + gaps[0]
        np.sqrt(deep, out=deep)
        np.subtract(radius, deep, out=deep)
        part = self._depths[where[2], where[1], where[0]]
        np.maximum(part, deep, out=part)

    def _gather(self, points: np.ndarray, radius: np.ndarray, *, squash: Point, boxes: np.ndarray) -> None:
        """Notes the voxels of spheres with boxes alike: loops run along the spheres, which are many."""
        _, rows, columns = self._shape
        around = [np.arange(-reached, reached + 1) for reached in boxes[:, 3:].max(axis=0)]
        gaps = []
        for k in range(3):
            index = around[k][:, None] + boxes[:, k]
            gap = self._starts[k] + index.astype(np.float32) * self._steps[k]
            gap -= points[:, k]
            gap *= squash[k]
            gap *= gap
            gap[(index < 0) | (index >= self._shape[2 - k])] = _OUTSIDE
            gaps.append(gap)
        offset = ((around[2][:, None, None] * rows + around[1][:, None]) * columns + around[0]).reshape(-1, 1)
        base = (boxes[:, 2] * rows + boxes[:, 1]) * columns + boxes[:, 0]
        count = max(1, _AT_ONCE // len(offset))
        for start in range(0, len(points), count):
            s = slice(start, start + count)
            deep = (gaps[2][:, None, s] + gaps[1][:, s])[:, :, None] + gaps[0][:, s]
            np.sqrt(deep, out=deep)
            np.subtract(radius[s], deep, out=deep)
            deep = deep.reshape(-1)
            hit = np.flatnonzero(deep > -self._reach)
            self._parts.append(((offset + base[s]).reshape(-1)[hit], deep[hit]))

    def deepest(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of the voxels that are reached, and the greatest depth (mm) at each.

        Their order means nothing; a voxel that two spheres fill alike may come twice, with the same depth.
        """
        if native() is not None:
            index = self._touched[: self._count].copy()
            depth = np.empty(len(index), dtype=np.float32)
            native().osler_take_depths(address(self._depths), address(index), len(index), _NOTHING, address(depth))
            self._count = 0
            return index, depth
        depths = self._depths.reshape(-1)
        found = [(np.zeros(0, np.int64), np.zeros(0, np.float32))]
        if self._parts:
            index, depth = (np.concatenate(column) for column in zip(*self._parts, strict=True))
            np.maximum.at(depths, index, depth)
            keep = np.flatnonzero(depth == depths[index])
            found.append((index[keep], depth[keep]))
        if self._high[0]:
            x, y, z = (slice(*ends) for ends in zip(self._low, self._high, strict=True))
            part = self._depths[z, y, x]
            hit = np.flatnonzero(part > -self._reach)
            _, rows, columns = self._shape
            place = (np.arange(z.start, z.stop)[:, None] * rows + np.arange(y.start, y.stop)) * columns
            place = place[:, :, None] + np.arange(x.start, x.stop)
            found.append((place.reshape(-1)[hit], part.reshape(-1)[hit]))
            part[:] = _NOTHING
        if self._parts:
            depths[index] = _NOTHING
        self._parts, self._low, self._high = [], list(reversed(self._shape)), [0, 0, 0]
        if len(found) == 1:
            return found[0]
        return tuple(np.concatenate(column) for column in zip(*found[1:], strict=True))
