"""Implicit shapes: depth in mm, positive inside, about right near the surface."""

from __future__ import annotations

import numpy as np

from osler.synth.phantoms.canvas import Axes, Bounds, Canvas, Depth, Patch
from osler.synth.phantoms.organs import ORGAN_CODES

Point = tuple[float, float, float]


def ellipsoid(center: Point, half: Point, *, rough: float = 0.0, mm: float = 30.0, turn: float = 0.0) -> Depth:
    """An ellipsoid.

    Args:
        center: mm. half: Half axes (mm).
        rough: Greatest displacement (mm) of the surface by a smooth random field that varies over ``mm``.
        turn: Radians about z.
    """
    hx, hy, hz = (np.float32(1 / h) for h in half)
    scale = np.float32(min(half))
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))

    def depth(p: Patch) -> np.ndarray:
        dx, dy = p.x - np.float32(center[0]), p.y - np.float32(center[1])
        if turn:
            dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
        flat = (dx * hx) ** 2 + (dy * hy) ** 2
        out = flat + ((p.z - np.float32(center[2])) * hz) ** 2
        np.sqrt(out, out=out)
        np.subtract(np.float32(1), out, out=out)
        out *= scale
        if rough:
            out += np.float32(rough) * p.wave(mm)
        return out

    return depth


def around(center: Point, half: Point, *, margin: float = 0.0) -> Bounds:
    """The box about an ellipsoid."""
    (a, b), (c, d), (e, f) = ((m - h - margin, m + h + margin) for m, h in zip(center, half, strict=True))
    return (a, b), (c, d), (e, f)


def tilted(center: Point, axes: np.ndarray, half: Point, *, rough: float = 0.0, mm: float = 30.0) -> Depth:
    """An ellipsoid with half axes along the rows of ``axes``."""
    m = (np.asarray(axes) / np.asarray(half)[:, None]).astype(np.float32)
    scale = np.float32(min(half))

    def depth(p: Patch) -> np.ndarray:
        dx, dy, dz = (np.float32(1) * (a - np.float32(c)) for a, c in zip((p.x, p.y, p.z), center, strict=True))
        total = None
        for row in m:
            part = (dx * row[0] + dy * row[1]) + dz * row[2]
            part *= part
            total = part if total is None else np.add(total, part, out=total)
        np.sqrt(total, out=total)
        np.subtract(np.float32(1), total, out=total)
        total *= scale
        if rough:
            total += np.float32(rough) * p.wave(mm)
        return total

    return depth


def polyline(points: list[Point] | np.ndarray, *, count: int = 40) -> np.ndarray:
    """A smooth curve through points (Catmull-Rom), (count, 3)."""
    p = np.asarray(points, dtype=np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, len(p) - 3 - 1e-9, count)
    i = t.astype(int)
    f = (t - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)


def even_steps(line: np.ndarray, *, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points at even steps (mm) of a polyline, and how far along each lies (0 to 1)."""
    reached = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    count = max(2, int(np.ceil(reached[-1] / step)) + 1)
    at = np.linspace(0, reached[-1], count)
    return np.stack([np.interp(at, reached, line[:, k]) for k in range(3)], axis=1), at / max(reached[-1], 1e-6)


class Tubes:
    """Depth in chains of spheres, gathered over a whole canvas and then painted once or more."""

    def __init__(self, axes: Axes, *, edge: float) -> None:
        self._axes, self._edge = axes, edge
        self._index: list[np.ndarray] = []
        self._merged: tuple[np.ndarray, np.ndarray] | None = None
        self._depth: list[np.ndarray] = []

    def add(self, points: np.ndarray, radius: np.ndarray | float, *, squash: Point = (1.0, 1.0, 1.0)) -> None:
        """Adds spheres: centers (N, 3) and radii (mm); ``squash`` scales distances along x, y, z."""
        self._merged = None
        points = np.asarray(points, dtype=np.float32)
        radius = np.broadcast_to(np.asarray(radius, dtype=np.float32), len(points))
        lower = 0.0
        for upper in (1.0, 1.6, 2.5, 4.0, 6.0, 9.0, 14.0, 22.0, 40.0, 80.0):
            chosen = (radius > lower) & (radius <= upper)
            lower = upper
            if chosen.any():
                self._stamp(points[chosen], radius[chosen], squash=squash)

    def _stamp(self, points: np.ndarray, radius: np.ndarray, *, squash: Point) -> None:
        reach = float(radius.max()) + self._edge
        near, gaps, valid = [], [], []
        for k, axis in enumerate((self._axes.x, self._axes.y, self._axes.z)):
            spacing = float(axis[1] - axis[0]) if len(axis) > 1 else 1.0
            half = int(np.ceil(reach / squash[k] / spacing))
            middle = np.rint((points[:, k] - axis[0]) / spacing).astype(np.int64)
            index = middle[:, None] + np.arange(-half, half + 1)
            inside = (index >= 0) & (index < len(axis))
            away = (axis[0] + index.astype(np.float32) * np.float32(spacing) - points[:, k, None]) * squash[k]
            near.append(index), gaps.append((away * away).astype(np.float32)), valid.append(inside)
        keep = valid[0].any(axis=1) & valid[1].any(axis=1) & valid[2].any(axis=1)
        x, y, z = (part[keep] for part in near)
        a, b, c = (part[keep] for part in gaps)
        u, v, w = (part[keep] for part in valid)
        for start in range(0, len(x), max(1, 400_000 // (x.shape[1] * y.shape[1] * z.shape[1]))):
            stop = start + max(1, 400_000 // (x.shape[1] * y.shape[1] * z.shape[1]))
            s = slice(start, stop)
            squared = c[s, :, None, None] + b[s, None, :, None] + a[s, None, None, :]
            r = radius[keep][s, None, None, None]
            hit = squared < (r + self._edge) ** 2
            hit &= w[s, :, None, None] & v[s, None, :, None] & u[s, None, None, :]
            n, i, j, k = np.nonzero(hit)
            flat = (z[s][n, i] * len(self._axes.y) + y[s][n, j]) * len(self._axes.x) + x[s][n, k]
            self._index.append(flat)
            self._depth.append(radius[keep][s][n] - np.sqrt(squared[hit]))

    def gathered(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat voxel indices (each once) and the greatest depth at each."""
        if self._merged is not None:
            return self._merged
        if not self._index:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        index, depth = np.concatenate(self._index), np.concatenate(self._depth)
        deepest = self._scratch(np.float32, fill=-1e9)
        np.maximum.at(deepest, index, depth)
        last = self._scratch(np.int32, fill=0)
        number = np.arange(len(index), dtype=np.int32)
        last[index] = number
        index = index[last[index] == number]
        self._merged = index, deepest[index]
        deepest[index] = -1e9  # the scratch array is shared: leave it as it was
        return self._merged

    def _scratch(self, kind: type, *, fill: float) -> np.ndarray:
        known = self._axes.scratch.get(kind)
        if known is None:
            known = self._axes.scratch[kind] = np.full(int(np.prod(self._axes.shape)), fill, dtype=kind)
        return known

    def paint(
        self,
        canvas: Canvas,
        *,
        tissue: str | float,
        organ: str | None,
        shift: float = 0.0,
        over: tuple[str, ...] = (),
        strength: float = 1.0,
    ) -> None:
        """Blends the tubes into a canvas, ``shift`` mm thicker."""
        index, depth = self.gathered()
        alpha = np.clip((depth + np.float32(shift)) / np.float32(canvas.edge) + np.float32(0.5), 0, 1)
        label, value = canvas.label.reshape(-1), canvas.value.reshape(-1)
        if over:
            alpha = alpha * np.isin(label[index], [ORGAN_CODES[name] for name in over])
        if organ is not None:
            label[index[alpha >= 0.5]] = ORGAN_CODES[organ]
        level = np.float32(canvas.palette[tissue] if isinstance(tissue, str) else tissue)
        value[index] += (level - value[index]) * alpha * np.float32(strength)
