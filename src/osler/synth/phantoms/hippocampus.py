"""The inner temporal lobe: hippocampus with its curled head, temporal horn, parahippocampal gyrus, amygdala.

Positions are in units of the brain's half axes; offsets and radii in mm. The course and the size follow anatomy
textbooks: a head that turns inwards and back (the uncus), a body along the floor of the temporal horn, a tail that
tapers as it climbs behind the thalamus; fluid of the horn above and outside, the gyrus with its white core below.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from osler.synth.draws import Draws
from osler.synth.elementary import sine
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.shapes import Point, around, ellipsoid, even_steps, polyline
from osler.synth.phantoms.tubes import tubes

Place = Callable[[float, float, float], Point]

_COURSE = (
    (0.27, -0.03, -0.245),
    (0.275, -0.11, -0.25),
    (0.33, -0.155, -0.28),
    (0.39, -0.10, -0.30),
    (0.405, 0.02, -0.285),
    (0.39, 0.14, -0.25),
    (0.36, 0.26, -0.19),
    (0.29, 0.36, -0.11),
    (0.21, 0.40, -0.03),
)
_RADII = ([0, 0.08, 0.18, 0.27, 0.40, 0.60, 0.80, 1], [2.2, 3.2, 4.8, 6.0, 5.0, 4.2, 3.4, 1.8])
_HEAD_ENDS = 0.30
_WIDE: Point = (0.8, 0.9, 1.1)
"""Distances along x, y, z are scaled by this: the body is wider than high."""
_TISSUE = ("white-matter", "gray-matter", "csf", "deep-gray")


def paint_hippocampus(canvas: Canvas, at: Place, *, side: float, small: float) -> None:
    """Paints one hippocampus and what lies about it.

    Args:
        canvas: Holds the cerebrum and the ventricles.
        at: A point in units of the brain, in mm.
        side: -1 or 1, the sign of x.
        small: Factor on the thickness of the hippocampus; the horn takes what it leaves.
    """
    draws = Draws(seed=canvas.shape, patients=np.array([0 if side < 0 else 1]))
    curl, size, phase = (float(draws.uniform(f"hippocampus-{name}")[0]) for name in ("curl", "size", "folds"))
    points = [at(side * x, y + (0.03 * (curl - 0.5) if k < 3 else 0.0), z) for k, (x, y, z) in enumerate(_COURSE)]
    line, s = even_steps(polyline(points, count=80), step=1.0)
    whole = (0.93 + 0.14 * size) * np.interp(s, *_RADII)
    folds = np.where(s < _HEAD_ENDS, 0.10 * sine(s * 75 + 6.3 * phase), 0.0)  # the digitations of the head
    radius = small * whole * (1 + folds)
    _bed(canvas, at, line=line, s=s, side=side)
    _fluid(canvas, line=line, s=s, radius=whole, side=side)
    chain = tubes(canvas)
    chain.add(line, radius + 0.5, squash=_WIDE)
    chain.paint(canvas, tissue="white", organ="white-matter", over=(*_TISSUE, "ventricles", "brainstem"))
    chain = tubes(canvas)
    chain.add(line, radius, squash=_WIDE)
    over = (*_TISSUE, "ventricles", "brainstem")
    chain.paint(canvas, tissue="hippocampus", organ="hippocampus", over=over)
    _layers(canvas, line=line, s=s, radius=radius, side=side)


def _moved(line: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    return line + np.array((x, y, z))


def _bed(canvas: Canvas, at: Place, *, line: np.ndarray, s: np.ndarray, side: float) -> None:
    """White matter of the temporal lobe, the parahippocampal gyrus, the amygdala."""
    body = line[s > 0.16]
    along = np.linspace(0, 1, len(body))
    for moved, radius, tissue, organ in (
        (_moved(body, side * 5, 0, -4.5), np.interp(along, [0, 0.2, 0.7, 1], [8, 11, 9, 5]), "white", "white-matter"),
        (_moved(body, -side * 4, 0, -8.5), np.interp(along, [0, 0.8, 1], [6.5, 6.0, 3]), "gray", "gray-matter"),
        (_moved(body, -side * 2.5, 0, -8.5), np.interp(along, [0, 0.8, 1], [3.8, 3.4, 2]), "white", "white-matter"),
        (_moved(body, side * 3.5, 0, -7.5), np.interp(along, [0, 0.8, 1], [4.5, 4.0, 2]), "white", "white-matter"),
    ):
        tube = tubes(canvas)
        tube.add(moved, radius)
        tube.paint(canvas, tissue=tissue, organ=organ, over=("white-matter", "gray-matter", "csf"))
    center, half = at(side * 0.36, -0.20, -0.225), (8.0, 8.5, 7.0)
    canvas.paint(
        ellipsoid(center, half, rough=0.8, mm=9.0),
        tissue="gray",
        organ="gray-matter",
        bounds=around(center, half, margin=1),
        over=("white-matter", "gray-matter", "csf"),
    )


def _fluid(canvas: Canvas, *, line: np.ndarray, s: np.ndarray, radius: np.ndarray, side: float) -> None:
    """The temporal horn outside and above, the cleft to the cisterns inside: what the hippocampus leaves of them."""
    outer = (s > 0.20) & (s < 0.85)
    horn, cleft = tubes(canvas), tubes(canvas)
    horn.add(_moved(line[outer], side * 2.6, -0.5, 1.6), radius[outer] + 0.4, squash=_WIDE)
    horn.paint(canvas, tissue="csf", organ="ventricles", over=_TISSUE)
    inner = (s < 0.12) | (s > 0.34)
    cleft.add(_moved(line[inner], -side * 4.2, 0.0, 1.0), 0.75 * radius[inner], squash=_WIDE)
    cleft.paint(canvas, tissue="csf", organ="csf", over=_TISSUE)


def _layers(canvas: Canvas, *, line: np.ndarray, s: np.ndarray, radius: np.ndarray, side: float) -> None:
    """The pale layer (stratum radiatum) that rolls up between the horn's floor and the dentate gyrus."""
    body = s > 0.16
    rolled = tubes(canvas)
    for angle in np.linspace(-2.6, 0.6, 9):
        away = 0.50 * radius[body, None] * np.array((side * math.cos(angle) / _WIDE[0], 0, math.sin(angle) / _WIDE[2]))
        rolled.add(line[body] + away, 0.7)
    value = 0.5 * (canvas.palette["hippocampus"] + canvas.palette["white"])
    rolled.paint(canvas, tissue=value, organ="hippocampus", over=("hippocampus",))
