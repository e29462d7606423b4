"""Tubes: chains of spheres, gathered over a whole canvas and then painted once or more."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np

from osler.synth.painting.library import address, native
from osler.synth.phantoms.blend import lay_voxels
from osler.synth.phantoms.canvas import Axes, Canvas
from osler.synth.phantoms.gather import Gather
from osler.synth.phantoms.shapes import Point

_RADII = (1.0, 1.6, 2.5, 4.0, 6.0, 9.0, 14.0, 22.0, 40.0, 80.0)
_LEAST_RADIUS = 0.2
_APART = 1e5
"""More than any place (mm) along a ray: keeps the rays apart in a running maximum."""


def tubes(canvas: Canvas) -> Tubes:
    """Empty tubes for a canvas: by depth in its voxels, or by the rays' ways through them."""
    return Tubes(canvas.axes, edge=canvas.edge) if canvas.rays == "none" else RayTubes(canvas)


class Tubes:
    """Chains of spheres on voxels that are about as long as wide: shares follow from depth."""

    def __init__(self, axes: Axes, *, edge: float) -> None:
        self._axes, self._edge = axes, edge
        self._chains: list[tuple[np.ndarray, np.ndarray, Point]] = []
        self._gathered: tuple[float, np.ndarray, np.ndarray] | None = None

    def add(self, points: np.ndarray, radius: np.ndarray | float, *, squash: Point = (1.0, 1.0, 1.0)) -> None:
        """Adds spheres: centers (N, 3) and radii (mm); ``squash`` scales distances along x, y, z."""
        points = np.asarray(points, dtype=np.float32)
        radius = np.broadcast_to(np.asarray(radius, dtype=np.float32), len(points))
        self._chains.append((points, radius, squash))
        self._gathered = None

    def _alike(self) -> Iterator[tuple[np.ndarray, np.ndarray, Point]]:
        """The chains of each squash as one."""
        for squash in dict.fromkeys(squash for _, _, squash in self._chains):
            alike = [(points, radius) for points, radius, other in self._chains if other == squash]
            points, radius = (np.concatenate(column) for column in zip(*alike, strict=True))
            yield points, radius, squash

    def cover(self, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Flat voxel indices and the share of each that tubes ``shift`` mm thicker fill."""
        reach = 0.5 * self._edge + shift
        if self._gathered is None or self._gathered[0] < reach:
            gather = Gather(self._axes, reach=reach)
            for points, radius, squash in self._alike():
                gather.add(points, radius, squash=squash)
            self._gathered = reach, *gather.deepest()
        _, index, depth = self._gathered
        return index, np.clip((depth + np.float32(shift)) / np.float32(self._edge) + np.float32(0.5), 0, 1)

    def paint(
        self,
        canvas: Canvas,
        *,
        tissue: str | float,
        organ: str | None,
        shift: float = 0.0,
        over: tuple[str, ...] = (),
        strength: float = 1.0,
        inside: str | float | None = None,
    ) -> None:
        """Blends the tubes into a canvas, ``shift`` mm thicker.

        Args:
            inside: What they were painted into, where they are the core of something; only a canvas with rays asks.
        """
        index, alpha = self.cover(shift=shift)
        level, core = (np.float32(canvas.palette[t] if isinstance(t, str) else t or 0) for t in (tissue, inside))
        known = inside is not None and canvas.rays != "none"
        lay_voxels(
            canvas.value.reshape(-1), canvas.label.reshape(-1), index, alpha, level=level, organ=organ, over=over,
            strength=strength, under=core if known else None,
        )  # fmt: skip


class RayTubes(Tubes):
    """Chains of spheres on a canvas with rays: each voxel's share is the ray's way through the union of spheres."""

    def __init__(self, canvas: Canvas) -> None:
        super().__init__(canvas.axes, edge=canvas.edge)
        self._rays = canvas.rays

    def cover(self, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        if (library := native()) is not None and self._chains:
            return self._compiled(library, shift=shift)
        parts = []
        for points, radius, squash in self._alike():
            wide = radius + np.float32(shift)
            lower = _LEAST_RADIUS
            for upper in _RADII:
                chosen = (wide > lower) & (wide <= upper)
                lower = upper
                if chosen.any():
                    parts.append(self._ways(points[chosen], wide[chosen], squash=squash))
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        return self._voxels(*_united(*(np.concatenate(column) for column in zip(*parts, strict=True))))

    def _compiled(self, library: ctypes.CDLL, *, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """The same by the compiled kernel."""
        axes, (_, y, x) = self._axes, self._axes.shape
        order, stride = ((2, 0, 1), (y * x, 1, x)) if self._rays == "y" else ((2, 1, 0), (y * x, x, 1))
        alike = list(self._alike())
        points = np.concatenate([points for points, _, _ in alike])[:, order]
        radius = np.concatenate([radius + np.float32(shift) for _, radius, _ in alike])
        lines = [(axes.x, axes.y, axes.z)[k] for k in order]
        dims, strides = np.array([len(line) for line in lines]), np.array(stride)
        start, step = np.array([line[0] for line in lines]), np.array([axes.spacing[k] for k in order])
        squash = np.array([squash for _, _, squash in alike], dtype=np.float32)[:, order]
        counts = np.array([len(points) for points, _, _ in alike])
        radii = np.array([_LEAST_RADIUS, *_RADII], dtype=np.float32)
        points, squash = np.ascontiguousarray(points), np.ascontiguousarray(squash)
        size = int(np.prod(axes.shape))
        index, share = axes.room("touched", size, np.int64), axes.room("shares", size, np.float32)
        numbers = (dims, strides, start, step)
        found = library.osler_ray_voxels(
            *map(address, numbers), self._edge, address(points), address(radius), address(squash), address(counts),
            len(counts), address(radii), len(radii), address(index), address(share),
        )  # fmt: skip
        return index[:found].copy(), share[:found].copy()

    def _ways(self, points: np.ndarray, radius: np.ndarray, *, squash: Point) -> tuple[np.ndarray, ...]:
        """Number of the ray, start and end (mm) along it, and share of the ray, of each sphere's pixels."""
        along, across = (1, 0) if self._rays == "y" else (0, 1)
        lines = (self._axes.x, self._axes.y, self._axes.z)
        # Thinner than a pixel: drawn wider and paler, so that the area stays.
        drawn = np.maximum(radius, np.float32(0.7 * self._edge))
        first, around, squared = [], [], []
        for k in (2, across):
            line, step = lines[k], self._axes.spacing[k]
            # A center lies at most half a voxel off its middle voxel.
            half = int((float(drawn.max()) + 0.5 * self._edge) / squash[k] / step + 0.501)
            middle = np.rint((points[:, k] - line[0]) / step).astype(np.int64)
            offset = np.arange(-half, half + 1)
            places = middle[:, None] + offset
            gap = (line[0] + places.astype(np.float32) * np.float32(step) - points[:, k, None]) * np.float32(squash[k])
            gap[(places < 0) | (places >= len(line))] = 1e6
            gap *= gap
            first.append(middle), around.append(offset), squared.append(gap)
        away = (squared[0][:, :, None] + squared[1][:, None, :]).reshape(len(points), -1)
        hit = np.flatnonzero(away < np.square(drawn + np.float32(0.5 * self._edge))[:, None])
        offset = (around[0][:, None] * len(lines[across]) + around[1]).reshape(-1)
        n = hit // len(offset)
        ray = (first[0] * len(lines[across]) + first[1])[n] + offset[hit - n * len(offset)]
        away, r = away.reshape(-1)[hit], drawn[n]
        share = np.clip((r - np.sqrt(away)) / np.float32(self._edge) + np.float32(0.5), 0, 1)
        half = np.sqrt(np.maximum(r * r - away, np.square(np.float32(0.3) * r))) / np.float32(squash[along])
        share *= np.square(radius / drawn)[n]
        middle = points[n, along]
        return ray, middle - half, middle + half, share

    def _voxels(
        self, ray: np.ndarray, start: np.ndarray, end: np.ndarray, share: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        along = 1 if self._rays == "y" else 0
        line, step = (self._axes.x, self._axes.y)[along], self._axes.spacing[along]
        first = (start - line[0]) / step + 0.5
        last = (end - line[0]) / step + 0.5
        low = np.clip(np.floor(first), 0, len(line)).astype(np.int64)
        high = np.clip(np.ceil(last), 0, len(line)).astype(np.int64)
        count = np.maximum(high - low, 0)
        _, y, x = self._axes.shape
        row, column = np.divmod(ray, x if along == 1 else y)
        base, stride = (row * y * x + column, x) if along == 1 else ((row * y + column) * x, 1)
        slab = np.arange(int(count.sum())) + np.repeat(low - np.cumsum(count) + count, count)
        filled = np.minimum(np.repeat(last, count), slab + 1) - np.maximum(np.repeat(first, count), slab)
        filled *= np.repeat(share, count)
        flat = np.repeat(base, count) + slab * stride
        # Ways come in the order of rays and of places along them: parts of one voxel stand side by side.
        first = np.flatnonzero(np.append(True, flat[1:] != flat[:-1])) if len(flat) else np.zeros(0, np.int64)
        return flat[first], np.minimum(np.add.reduceat(filled, first), 1).astype(np.float32)


def _united(
    ray: np.ndarray, start: np.ndarray, end: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unites ways on the same ray that touch; the greatest share counts."""
    if not len(ray):
        return ray, start, end, share
    apart = ray * _APART
    order = np.argsort(apart + start, kind="stable")  # the same on every processor
    ray, start, end, share = ray[order], start[order].astype(np.float64), end[order].astype(np.float64), share[order]
    apart = apart[order]
    reached = np.maximum.accumulate(end + apart) - apart
    new = np.ones(len(ray), dtype=bool)
    new[1:] = (ray[1:] != ray[:-1]) | (start[1:] > reached[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(ray)) - 1
    return ray[first], start[first], reached[last], np.maximum.reduceat(share, first)
