"""Implicit shapes: depth in mm, positive inside, about right near the surface."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from osler.synth.painting.library import address, native
from osler.synth.phantoms.canvas import Bounds, Box, Depth, Patch

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
    cosine, sine = np.float32(math.cos(turn)), np.float32(math.sin(turn))

    def depth(p: Patch) -> np.ndarray:
        dx, dy = p.x - np.float32(center[0]), p.y - np.float32(center[1])
        if turn:
            dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
        flat = (dx * hx) ** 2 + (dy * hy) ** 2
        up = ((p.z - np.float32(center[2])) * hz) ** 2
        if (library := native()) is not None:
            wave, out = p.wave(mm) if rough else None, np.empty(p.shape, dtype=np.float32)
            library.osler_ellipsoid(
                address(flat), address(up), scale, rough, None if wave is None else address(wave), address(out),
                len(out), flat.size,
            )  # fmt: skip
            return out
        out = flat + up
        np.sqrt(out, out=out)
        np.subtract(np.float32(1), out, out=out)
        out *= scale
        if rough:
            out += np.float32(rough) * p.wave(mm)
        return out

    return depth


def along_axes(steps: Point, axes: np.ndarray) -> np.ndarray:
    """A way (mm) of some steps along the rows of ``axes``."""
    return (np.array(steps)[:, None] * axes).sum(axis=0)


def squared(axes: np.ndarray) -> np.ndarray:
    """Rows made unit vectors at right angles to each other, the first keeping its direction (Gram and Schmidt)."""
    out: list[np.ndarray] = []
    for row in np.asarray(axes, dtype=np.float64):
        for known in out:
            row = row - (row * known).sum() * known
        out.append(row / np.sqrt(np.square(row).sum()))
    return np.stack(out)


def once(depth: Depth) -> Depth:
    """Keeps the values of a shape of one canvas that is painted in passes, so that each voxel is computed once.

    What it returns is not to be changed. Voxels that are cut along rays stand at other places and are not kept.
    """
    known: list[tuple[Box, np.ndarray]] = []

    def cached(p: Patch) -> np.ndarray:
        if p.parts != 1:
            return depth(p)
        found = list(_pieces(known, p.box))
        if found and sum(map(len, found)) == p.shape[0]:
            return found[0] if len(found) == 1 else np.concatenate(found)
        values = np.broadcast_to(depth(p), p.shape)
        known.append((p.box, values))
        return values

    return cached


def _pieces(known: list[tuple[Box, np.ndarray]], box: Box) -> Iterator[np.ndarray]:
    """What is known of a box, slice after slice from its first on."""
    first, last = box[0].start, box[0].stop
    for (z, y, x), values in known:
        if first < last and z.start <= first < z.stop and _encloses(y, box[1]) and _encloses(x, box[2]):
            stop = min(z.stop, last)
            inner = (slice(low - whole.start, high - whole.start) for whole, low, high in (
                (z, first, stop), (y, box[1].start, box[1].stop), (x, box[2].start, box[2].stop)
            ))  # fmt: skip
            yield values[tuple(inner)]
            first = stop


def _encloses(outer: slice, inner: slice) -> bool:
    return outer.start <= inner.start and inner.stop <= outer.stop


def smooth_least(first: np.ndarray, second: np.ndarray, *, mm: float) -> np.ndarray:
    """The lesser of two depths with a round edge where both are alike, as an organ's has.

    The polynomial smooth minimum (Quilez, "Smooth minimum"): lower by a quarter of ``mm`` at most, where depths are
    equal, and not at all where they differ by ``mm``.
    """
    library, kind = native(), np.float32
    if library is not None and first.shape == second.shape and first.dtype == second.dtype == kind:
        first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
        out = np.empty_like(first)
        library.osler_smooth_least(address(first), address(second), mm, -1 / (4 * mm), address(out), out.size)
        return out
    gap = np.subtract(first, second, dtype=np.float32)
    np.abs(gap, out=gap)
    np.subtract(np.float32(mm), gap, out=gap)
    np.maximum(gap, 0, out=gap)
    gap *= gap
    gap *= np.float32(-1 / (4 * mm))
    gap += np.minimum(first, second)
    return gap


def around(center: Point, half: Point, *, margin: float = 0.0) -> Bounds:
    """The box about an ellipsoid."""
    (a, b), (c, d), (e, f) = ((m - h - margin, m + h + margin) for m, h in zip(center, half, strict=True))
    return (a, b), (c, d), (e, f)


def tilted(center: Point, axes: np.ndarray, half: Point, *, rough: float = 0.0, mm: float = 30.0) -> Depth:
    """An ellipsoid with half axes along the rows of ``axes``."""
    m = np.asarray(axes) / np.asarray(half)[:, None]
    # The squared distance in half axes is a polynomial of z: its terms need no row for each z.
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = (m[:, :, None] * m[:, None]).sum(axis=0).astype(np.float32)
    scale = np.float32(min(half))

    def depth(p: Patch) -> np.ndarray:
        dx, dy, dz = (a - np.float32(c) for a, c in zip((p.x, p.y, p.z), center, strict=True))
        square, linear = zz * dz, np.float32(2) * (xz * dx + yz * dy)
        constant = xx * dx * dx + dy * (np.float32(2) * xy * dx + yy * dy)
        if (library := native()) is not None:
            wave, out = p.wave(mm) if rough else None, np.empty(p.shape, dtype=np.float32)
            library.osler_tilted(
                address(linear), address(constant), address(dz), address(square), scale, rough,
                None if wave is None else address(wave), address(out), len(out), linear.size,
            )  # fmt: skip
            return out
        total = square + linear
        total *= dz
        total += constant
        np.maximum(total, 0, out=total)
        np.sqrt(total, out=total)
        np.subtract(np.float32(1), total, out=total)
        total *= scale
        if rough:
            total += np.float32(rough) * p.wave(mm)
        return total

    return depth


def box_about(center: Point, axes: np.ndarray, half: Point, *, margin: float = 0.0) -> Bounds:
    """The box about a `tilted` ellipsoid."""
    reach = np.linalg.norm(np.asarray(axes) * np.asarray(half)[:, None], axis=0) + margin
    (a, b), (c, d), (e, f) = ((float(m - r), float(m + r)) for m, r in zip(center, reach, strict=True))
    return (a, b), (c, d), (e, f)


def polyline(points: list[Point] | np.ndarray, *, count: int = 40) -> np.ndarray:
    """A smooth curve through points (Catmull-Rom), (count, 3)."""
    p = np.asarray(points, dtype=np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    i, f, f2, f3 = _places(len(p), count)
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f2 + (3 * b - a - 3 * c + d) * f3)


@lru_cache(maxsize=64)
def _places(points: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Number of the piece at even steps of a curve, how far along it each step lies (count, 1), its square and cube."""
    t = np.linspace(0, points - 3 - 1e-9, count)
    i = t.astype(int)
    f = (t - i)[:, None]
    return i, f, f * f, f * f * f


def even_steps(line: np.ndarray, *, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points at even steps (mm) of a polyline, and how far along each lies (0 to 1)."""
    ways = line[1:] - line[:-1]
    ways *= ways
    reached = np.zeros(len(line))
    np.cumsum(np.sqrt(ways.sum(axis=1)), out=reached[1:])
    mm = float(reached[-1])
    count = max(2, int(np.ceil(mm / step)) + 1)
    at = np.arange(count) * (mm / (count - 1))
    at[-1] = mm
    points = np.empty((count, 3))
    for k in range(3):
        points[:, k] = np.interp(at, reached, line[:, k])
    return points, at / max(mm, 1e-6)
