"""Shadows of lesions: ellipsoids cut by rays, and hazy regions of lung."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.extras import import_extra
from osler.synth.draws import Draws
from osler.synth.xrays.beam import Beam

_WAVES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """An ellipsoid along the body's axes, mm."""

    center: tuple[float, float, float]
    half: tuple[float, float, float]


def ellipsoid_chord(
    shape: Ellipsoid, *, beam: Beam, lobed: float = 0.0, seed: int = 0
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """How far each ray runs through an ellipsoid.

    Args:
        shape: Center and half axes.
        beam: Of the image.
        lobed: How far the outline is drawn in, 0 to 0.5 of the radius; it never leaves the ellipsoid.
        seed: Of the outline.

    Returns:
        Rows and columns of the patch (may be empty), the lengths in mm there, and how central each ray
        is: 0 at the outline, 1 through the middle.
    """
    column, row, magnified = beam.project(np.array([shape.center]))
    reach = max(shape.half) * float(magnified[0]) * 1.15 + 3
    rows = slice(max(0, int(row[0] - reach)), min(beam.rows, int(row[0] + reach) + 2))
    columns = slice(max(0, int(column[0] - reach)), min(beam.columns, int(column[0] + reach) + 2))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        empty = np.zeros((0, 0), np.float32)
        return slice(0, 0), slice(0, 0), empty, empty
    source, points = beam.rays(rows=rows, columns=columns)
    half = np.array(shape.half)
    start, way = (source - shape.center) / half, (points - source) / half
    a, b, c = (way * way).sum(-1), way @ start, float(start @ start) - 1
    inside = np.clip(b * b / a - c, 0, 1)  # 1 - squared distance of the ray from the center, in half axes
    if lobed > 0:
        away = np.sqrt(1 - inside)
        angle = np.arctan2(points[..., 2] - points[..., 2].mean(), _across(points, beam=beam))
        inside = np.clip(1 - (away / (1 - lobed * _outline(angle, seed=seed))) ** 2, 0, 1)
    length = 2 * np.sqrt(inside / a) * np.linalg.norm(points - source, axis=-1)
    return rows, columns, length.astype(np.float32), inside.astype(np.float32)


def _across(points: np.ndarray, *, beam: Beam) -> np.ndarray:
    values = points[..., 1] if beam.view == "lateral" else points[..., 0]
    return values - values.mean()


def _outline(angle: np.ndarray, *, seed: int) -> np.ndarray:
    """A wavy function of the angle in [0, 1]."""
    draws = Draws(seed=abs(int(seed)), patients=np.arange(_WAVES))
    strength, phase = draws.uniform("lobe-strength"), draws.uniform("lobe-phase") * 2 * np.pi
    waves = sum(strength[k] * np.cos((k + 2) * angle + phase[k]) / (k + 1.5) for k in range(_WAVES))
    return np.clip(0.5 + 0.6 * waves, 0, 1)


def clouds(*, rows: int, columns: int, pixel_mm: float, seed: int, size_mm: float) -> np.ndarray:
    """Cloudy texture in [0, 1], mean about a half: a corner of a fixed field, turned by the seed."""
    field = _cloud_field()
    step = max(1e-3, 18.0 / size_mm * pixel_mm)
    i = (np.arange(rows) * step + seed % 311).astype(np.float32)
    j = (np.arange(columns) * step + seed // 7 % 293).astype(np.float32)
    i0, j0 = i.astype(np.intp), j.astype(np.intp)
    s, t = (i - i0)[:, None], (j - j0)[None, :]
    side = field.shape[0]
    a, b, c, d = i0 % side, (i0 + 1) % side, j0 % side, (j0 + 1) % side
    top = field[np.ix_(a, c)] * (1 - t) + field[np.ix_(a, d)] * t
    low = field[np.ix_(b, c)] * (1 - t) + field[np.ix_(b, d)] * t
    return top * (1 - s) + low * s


@cache
def _cloud_field() -> np.ndarray:
    gaussian_filter = import_extra("scipy.ndimage", extra="synth").gaussian_filter

    side = 512
    white = Draws(seed=0, patients=np.arange(side * side)).uniform("clouds").reshape(side, side)
    total = np.zeros((side, side))
    for sigma, weight in ((9, 1.0), (4, 0.55), (1.8, 0.3)):
        smooth = gaussian_filter(white, sigma, mode="wrap")
        total += weight * (smooth - 0.5) / smooth.std()
    total /= total.std()
    return (1 / (1 + np.exp(-1.6 * total))).astype(np.float32)
