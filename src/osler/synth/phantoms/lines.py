"""Courses of ribs, great vessels and airways: lines with a thickness, in mm of the body frame."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from osler.synth.elementary import cosine, power, sine
from osler.synth.phantoms.thorax import Thorax

Line = tuple[tuple[float, float, float], tuple[float, float, float], float]
"""Two ends and a radius."""


@lru_cache(maxsize=64)
def rib_line(thorax: Thorax, *, number: int, side: float) -> np.ndarray:
    """The course of a rib (1 to 12) from its vertebra to its front end, (N, 3) mm."""
    t, gap = thorax.trunk, thorax.rib_gap
    start = 0.302 * t - (number - 1) * gap
    end_angle = np.interp(number, [1, 2, 7, 8, 10, 11, 12], [150, 146, 138, 132, 118, 82, 62])
    angle = np.radians(np.linspace(9, end_angle, 48))
    drop = (34 + 11.5 * min(number, 9)) * thorax.slope
    forward, aside = cosine(angle), sine(angle)
    fall = drop * (1 - forward) / 2 + 5 * aside * (number > 2)
    z = start + 3 - fall
    taper = np.maximum(thorax.taper(z), 0.30)
    across = np.maximum(thorax.lung_middle(z) + thorax.lung_a * taper + 5, 46)
    deep = thorax.lung_b * np.maximum(taper, 0.5) + 4
    x = across * power(aside, 0.86)
    y = thorax.lung_y + deep * forward * np.where(forward > 0, 0.92, 1.0)
    return np.stack([side * np.maximum(x, 18), y, z], axis=1)


def vessels(thorax: Thorax) -> tuple[Line, ...]:
    """The great vessels as thick lines: two ends and a radius each."""
    w, d, t, r = thorax.width, thorax.depth, thorax.trunk, thorax.aorta
    knob = r + 1.0
    return (
        ((-22, -0.2 * d, 0.10 * t), (-23, -0.12 * d, 0.225 * t), 10.5),
        ((-23, -0.12 * d, 0.225 * t), (-30, -0.2 * d, 0.29 * t), 8.5),
        ((-0.06 * w - 4, -0.2 * d, 0.10 * t), (-0.05 * w - 4, -0.14 * d, 0.18 * t), r + 2.5),
        ((-0.05 * w - 4, -0.14 * d, 0.18 * t), (0.04 * w, -0.02 * d, 0.203 * t), r + 1.0),
        ((0.04 * w, -0.02 * d, 0.203 * t), (0.14 * w, 0.26 * d, 0.192 * t), knob),
        ((0.14 * w, 0.26 * d, 0.192 * t), (0.12 * w, 0.42 * d, 0.10 * t), r),
        ((0.12 * w, 0.42 * d, 0.10 * t), (0.04 * w, 0.46 * d, -0.10 * t), r - 1.5),
        ((0.10 * w, -0.2 * d, 0.13 * t), (0.15 * w, 0.02 * d, 0.155 * t), 14.0),
        ((0.15 * w, 0.02 * d, 0.155 * t), (0.29 * w, 0.14 * d, 0.142 * t), 9.5),
        ((0.29 * w, 0.14 * d, 0.142 * t), (0.315 * w, 0.2 * d, 0.085 * t), 7.0),
        ((0.05 * w, -0.08 * d, 0.14 * t), (-0.17 * w, 0.0, 0.135 * t), 10.0),
        ((-0.17 * w, 0.0, 0.135 * t), (-0.27 * w, 0.08 * d, 0.118 * t), 9.0),
        ((-0.27 * w, 0.08 * d, 0.118 * t), (-0.315 * w, 0.14 * d, 0.062 * t), 7.0),
        ((-26, -0.25 * d, 0.29 * t), (-38, -0.2 * d, 0.33 * t), 9.0),
        ((24, -0.2 * d, 0.23 * t), (38, -0.1 * d, 0.33 * t), 8.0),
    )


def airways(thorax: Thorax) -> tuple[Line, ...]:
    """Trachea and main bronchi as lines: two ends and a radius each."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    carina = (2.0, 0.12 * d, 0.172 * t)
    return (
        ((0.0, -0.12 * d, 0.40 * t), carina, 9.5),
        (carina, (-0.17 * w, 0.16 * d, 0.135 * t), 6.5),
        (carina, (0.2 * w, 0.18 * d, 0.130 * t), 6.0),
        ((-0.17 * w, 0.16 * d, 0.135 * t), (-0.24 * w, 0.22 * d, 0.095 * t), 4.5),
        ((0.2 * w, 0.18 * d, 0.130 * t), (0.24 * w, 0.24 * d, 0.095 * t), 4.0),
    )
