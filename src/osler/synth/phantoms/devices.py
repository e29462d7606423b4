"""Tubes, lines and wires: their course through the same anatomy."""

from __future__ import annotations

import math

import numpy as np

from osler.synth.elementary import cosine, sine
from osler.synth.facts import FindingFact
from osler.synth.phantoms.shapes import polyline
from osler.synth.phantoms.thorax import LEFT, RIGHT, Thorax

Piece = tuple[np.ndarray, float, float]
"""Points (N, 3), radius in mm, and attenuation at its middle."""
FLAT_MM = 5.0
"""Half thickness front to back of what is wider: cases and chambers are flat."""


def device_pieces(fact: FindingFact, *, thorax: Thorax) -> list[Piece]:
    """The parts of a device; empty for a device that an X-ray does not draw."""
    draw = _DEVICES.get(fact.key)
    return [] if draw is None else draw(thorax, LEFT if fact.side == "left" else RIGHT)


def _tracheal_tube(thorax: Thorax, side: float) -> list[Piece]:
    d, t = thorax.depth, thorax.trunk
    line = polyline([(1, -0.3 * d, 0.46 * t), (1, -0.08 * d, 0.36 * t), (2, 0.04 * d, 0.262 * t)])
    wall = [line + np.array([shift, 0, 0]) for shift in (-4.5, 4.5)]
    return [(wall[0], 0.7, 0.10), (wall[1], 0.7, 0.10), (line + np.array([1.5, 0, 0]), 0.6, 0.38)]


def _feeding_tube(thorax: Thorax, side: float) -> list[Piece]:
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    line = polyline([
        (6, -0.1 * d, 0.46 * t), (4, 0.2 * d, 0.33 * t), (7, 0.32 * d, 0.20 * t), (4, 0.30 * d, 0.10 * t),
        (12, 0.2 * d, 0.02 * t), (0.2 * w, 0.05 * d, -0.03 * t), (0.42 * w, 0, -0.075 * t),
        (0.3 * w, -0.05 * d, -0.12 * t),
    ], count=120)  # fmt: skip
    return [(line, 1.2, 0.16), (line + np.array([1.2, 0, 0]), 0.5, 0.3)]


def _central_line(thorax: Thorax, side: float) -> list[Piece]:
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    if side > 0:
        start = [(0.34 * w, -0.5 * d, 0.33 * t), (0.16 * w, -0.35 * d, 0.265 * t), (-6, -0.3 * d, 0.225 * t)]
    else:
        start = [(-0.30 * w, -0.45 * d, 0.40 * t), (-0.22 * w, -0.3 * d, 0.33 * t), (-0.17 * w, -0.25 * d, 0.26 * t)]
    line = polyline([*start, (-24, -0.14 * d, 0.19 * t), (-23, -0.18 * d, 0.135 * t)], count=90)
    return [(line, 0.95, 0.26)]


def _pacemaker(thorax: Thorax, side: float) -> list[Piece]:
    return _generator(thorax, side, coil=0.0)


def _defibrillator(thorax: Thorax, side: float) -> list[Piece]:
    return _generator(thorax, side, coil=2.0)


def _generator(thorax: Thorax, side: float, *, coil: float) -> list[Piece]:
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    case = np.array([side * 0.60 * w, -0.84 * d, 0.215 * t])
    angle = np.linspace(0, 2 * np.pi, 40)
    rim = case + np.stack([17 * cosine(angle), 0 * angle, 14 * sine(angle)], axis=1)
    filled = [case + np.array([[x, 0.0, z]]) for x in (-6, 0, 6) for z in (-4, 4)]
    vein = [(side * 0.55 * w, -0.8 * d, 0.25 * t), (side * 0.30 * w, -0.55 * d, 0.265 * t), (-18, -0.3 * d, 0.23 * t)]
    cava = [(-25, -0.14 * d, 0.19 * t), (-24, -0.16 * d, 0.13 * t)]
    atrium = polyline(
        [tuple(case + np.array([0, 0, 14])), *vein, *cava, (-34, -0.3 * d, 0.075 * t), (-22, -0.5 * d, 0.10 * t)],
        count=120,
    )
    chamber = polyline([
        tuple(case + np.array([3, 0, 14])), *vein, *cava, (-26, -0.25 * d, 0.05 * t), (5, -0.42 * d, 0.008 * t),
        (34 + thorax.heart_x, -0.55 * d, -0.002 * t),
    ], count=140)  # fmt: skip
    pieces: list[Piece] = [(rim, 2.6, 1.5), *((part, 9.0, 1.5) for part in filled)]
    pieces += [
        (atrium, 0.75, 0.75),
        (chamber, 0.75 if coil == 0 else 0.9, 0.75),
        (chamber[-1:], 1.5, 1.3),
        (atrium[-1:], 1.4, 1.2),
    ]
    if coil > 0:
        pieces += [(chamber[-34:-6], coil, 1.2), (chamber[58:84], coil, 1.2)]
    return pieces


def _chest_tube(thorax: Thorax, side: float) -> list[Piece]:
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    line = polyline([
        (side * (w + 30), 0.0, -0.02 * t), (side * 0.93 * w, 0.1 * d, 0.03 * t), (side * 0.80 * w, 0.25 * d, 0.10 * t),
        (side * 0.66 * w, 0.3 * d, 0.20 * t), (side * 0.48 * w, 0.25 * d, 0.265 * t),
    ], count=90)  # fmt: skip
    return [
        (line, 3.6, 0.10),
        (line + np.array([side * 2.6, 0, 1.0]), 0.8, 0.55),
        (line - np.array([side * 2.8, 0, 1.0]), 0.5, 0.16),
    ]


def _wires(thorax: Thorax, side: float) -> list[Piece]:
    d, t = thorax.depth, thorax.trunk
    pieces: list[Piece] = []
    angle = np.linspace(0, 2 * np.pi, 30)
    for number, height in enumerate((0.235, 0.20, 0.165, 0.13, 0.095, 0.06)):
        turn = 0.3 * math.sin(number * 2.4)
        ring = np.stack([9.5 * cosine(angle), 0 * angle, 4.2 * sine(angle) + turn * 6 * cosine(angle)], axis=1)
        center = np.array([1.5 * math.sin(number * 1.7), -0.83 * d, height * t])
        pieces.append((center + ring, 0.55, 0.9))
        twist = center + np.array([[0.0, 0.0, 1.0], [2.5, 0.0, 5.0], [-0.5, 0.0, 7.0]])
        pieces.append((twist, 0.7, 0.9))
    return pieces


def _port(thorax: Thorax, side: float) -> list[Piece]:
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    chamber = np.array([side * 0.52 * w, -0.87 * d, 0.20 * t])
    angle = np.linspace(0, 2 * np.pi, 40)
    ring = chamber + np.stack([10 * cosine(angle), 0 * angle, 10 * sine(angle)], axis=1)
    line = polyline([
        tuple(chamber), (side * 0.42 * w, -0.85 * d, 0.27 * t), (side * 0.22 * w, -0.5 * d, 0.285 * t),
        (-22, -0.3 * d, 0.23 * t), (-24, -0.16 * d, 0.14 * t),
    ], count=90)  # fmt: skip
    return [(ring, 1.6, 0.9), (chamber[None], 8.0, 0.35), (line, 0.9, 0.3)]


def _recorder(thorax: Thorax, side: float) -> list[Piece]:
    """A loop recorder under the skin, left of the breastbone."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    ends = np.array([(0.20 * w, -0.90 * d, 0.115 * t), (0.33 * w, -0.86 * d, 0.065 * t)])
    case = ends[0] + np.linspace(0, 1, 40)[:, None] * (ends[1] - ends[0])
    return [(case, 3.4, 0.55), (case[4:16], 2.4, 1.1), (case[-2:], 3.0, 1.0)]


def _shunt(thorax: Thorax, side: float) -> list[Piece]:
    """A ventriculoperitoneal shunt: a catheter under the skin from the neck to the belly."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    line = polyline([
        (-0.20 * w, -0.30 * d, 0.46 * t), (-0.24 * w, -0.52 * d, 0.33 * t), (-0.36 * w, -0.80 * d, 0.24 * t),
        (-0.40 * w, -0.90 * d, 0.12 * t), (-0.36 * w, -0.94 * d, 0.0), (-0.25 * w, -0.94 * d, -0.12 * t),
        (-0.15 * w, -0.70 * d, -0.20 * t),
    ], count=160)  # fmt: skip
    return [(line, 1.25, 0.34)]


def _some_device(thorax: Thorax, side: float) -> list[Piece]:
    """A device that the report does not name: always the same one in a patient."""
    return (_port, _port, _recorder, _shunt)[int(4 * thorax.chance[52])](thorax, side)


_DEVICES = {
    "endotracheal-tube": _tracheal_tube, "nasogastric-tube": _feeding_tube, "central-venous-catheter": _central_line,
    "cardiac-pacemaker": _pacemaker, "icd": _defibrillator, "chest-tube": _chest_tube, "sternotomy-wires": _wires,
    "port-catheter": _port, "support-device": _some_device,
}  # fmt: skip
DEVICES = tuple(_DEVICES)
