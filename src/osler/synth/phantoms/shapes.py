"""Implicit functions: distance to a surface in mm, negative inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.synth.phantoms.canvas import Canvas, Point, Surface


def ellipsoid(center: Point, half: Point, *, unit: Point, turn_deg: float = 0.0, power: float = 2.0) -> Surface:
    """An ellipsoid, or a box with round corners for a higher power.

    Args:
        center: Units. half: Half axes, units.
        unit: Millimeters of a unit.
        turn_deg: Turned about z, from x toward y.
        power: Exponent of the norm, 2 for an ellipsoid.
    """
    halves_mm = [h * s for h, s in zip(half, unit, strict=True)]
    least = np.float32(min(halves_mm))
    cos, sin = np.float32(np.cos(np.radians(turn_deg))), np.float32(np.sin(np.radians(turn_deg)))

    def far(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        x, y = (u - np.float32(center[0])) * np.float32(unit[0]), (v - np.float32(center[1])) * np.float32(unit[1])
        if turn_deg:
            x, y = x * cos + y * sin, y * cos - x * sin
        x = x * np.float32(1 / halves_mm[0])
        y = y * np.float32(1 / halves_mm[1])
        z = (w - np.float32(center[2])) * np.float32(1 / half[2])
        if power == 2.0:
            total = x * x
            total += y * y
            total += z * z
            np.sqrt(total, out=total)
        else:
            total = (np.abs(x) ** power + np.abs(y) ** power + np.abs(z) ** power) ** np.float32(1 / power)
        total -= 1
        total *= least
        return total

    return far


def tube(points: Sequence[Point], *, radius_mm: float | Sequence[float], unit: Point) -> Surface:
    """A bent tube through points (units), with one radius or one at each point (mm)."""
    radii = [float(radius_mm)] * len(points) if isinstance(radius_mm, int | float) else list(radius_mm)
    nodes = np.array(points) * np.array(unit)

    def far(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        x, y, z = (c * np.float32(s) for c, s in zip((u, v, w), unit, strict=True))
        best: np.ndarray | None = None
        for start, end, r0, r1 in zip(nodes[:-1], nodes[1:], radii[:-1], radii[1:], strict=True):
            d = (end - start).astype(np.float32)
            px, py, pz = x - np.float32(start[0]), y - np.float32(start[1]), z - np.float32(start[2])
            share = np.clip((px * d[0] + py * d[1] + pz * d[2]) / np.float32(max(float(d @ d), 1e-6)), 0, 1)
            px, py, pz = px - share * d[0], py - share * d[1], pz - share * d[2]
            distance = np.sqrt(px * px + py * py + pz * pz) - (np.float32(r0) + share * np.float32(r1 - r0))
            best = distance if best is None else np.minimum(best, distance, out=best)
        assert best is not None
        return best

    return far


def paint_ellipsoid(
    canvas: Canvas,
    tissue: str,
    center: Point,
    half: Point,
    *,
    organ: str = "",
    turn_deg: float = 0.0,
    power: float = 2.0,
) -> np.ndarray | None:
    """Paints an ellipsoid in its own block."""
    reach = half
    if turn_deg:
        longest = max(half[0] * canvas.unit[0], half[1] * canvas.unit[1])
        reach = (longest / canvas.unit[0], longest / canvas.unit[1], half[2])
    shape = ellipsoid(center, half, unit=canvas.unit, turn_deg=turn_deg, power=power)
    return canvas.paint(tissue, shape, canvas.block(center, reach), organ=organ)


def paint_tube(
    canvas: Canvas, tissue: str, points: Sequence[Point], *, radius_mm: float | Sequence[float], organ: str = ""
) -> None:
    """Paints a tube, one segment after the other, each in its own block."""
    radii = [float(radius_mm)] * len(points) if isinstance(radius_mm, int | float) else list(radius_mm)
    for i in range(len(points) - 1):
        pair, widths = points[i : i + 2], radii[i : i + 2]
        low = np.min(pair, axis=0) - max(widths) / np.array(canvas.unit)
        high = np.max(pair, axis=0) + max(widths) / np.array(canvas.unit)
        center, half = (low + high) / 2, (high - low) / 2
        block = canvas.block((center[0], center[1], center[2]), (half[0], half[1], half[2]), margin_mm=8.0)
        canvas.paint(tissue, tube(pair, radius_mm=widths, unit=canvas.unit), block, organ=organ)
