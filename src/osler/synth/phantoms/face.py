"""The face and the base of the skull: rock bones, sinuses, orbits, throat.

Positions are in units of the brain's half axes, as in the table of sites.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.shapes import around, ellipsoid, even_steps, polyline
from osler.synth.phantoms.tubes import tubes

Place = Callable[[float, float, float], tuple[float, float, float]]


def paint_face(canvas: Canvas, *, half: tuple[float, float, float]) -> None:
    """Paints both sides and the midline; ``half`` are the half axes of the brain (mm)."""
    hx, hy, hz = half

    def at(x: float, y: float, z: float) -> tuple[float, float, float]:
        return (x * hx, y * hy, z * hz)

    for side in (-1.0, 1.0):
        _rock_bone(canvas, at, side=side)
        _antrum(canvas, at, side=side)
        _orbit(canvas, at, side=side)
        _nose(canvas, at, side=side)
    for y, size in ((-0.62, 8), (-0.42, 11)):
        middle = at(0, y, -0.56)
        canvas.paint(
            lambda p, c=middle, s=size: np.minimum(ellipsoid(c, (s, s, s))(p), np.abs(p.x) - 0.5),
            tissue="gas",
            organ="sinuses",
            bounds=around(at(0, y, -0.56), (size,) * 3),
        )
    throat = at(0, -0.28, -1.1)
    canvas.paint(ellipsoid(throat, (13, 9, 26)), tissue="gas", organ="sinuses", bounds=around(throat, (14, 10, 27)))


def _rock_bone(canvas: Canvas, at: Place, *, side: float) -> None:
    """The petrous bone with its air cells."""
    line, _ = even_steps(np.array([at(side * 0.88, 0.36, -0.62), at(side * 0.22, 0.02, -0.56)]), step=3)
    wedge = tubes(canvas)
    wedge.add(line, np.linspace(15, 6, len(line)))
    wedge.paint(canvas, tissue="cortex", organ="skull")
    cells = at(side * 0.80, 0.30, -0.60)
    canvas.paint(
        lambda p, c=cells: np.minimum(ellipsoid(c, (11, 13, 14))(p), (p.wave(6, key="cells") + 0.35) * 4),
        tissue="gas",
        organ="sinuses",
        bounds=around(cells, (12, 14, 15)),
    )


def _antrum(canvas: Canvas, at: Place, *, side: float) -> None:
    """The sinus of the upper jaw."""
    antrum = at(side * 0.35, -0.85, -0.78)
    canvas.paint(ellipsoid(antrum, (17, 19, 21)), tissue="cortex", organ="skull", bounds=around(antrum, (19, 21, 23)))
    canvas.paint(
        ellipsoid(antrum, (15, 17, 19), rough=1.0, mm=14.0),
        tissue="gas",
        organ="sinuses",
        bounds=around(antrum, (18, 20, 22)),
    )


def _orbit(canvas: Canvas, at: Place, *, side: float) -> None:
    """The eye in its socket, with its muscles and nerve."""
    socket, eye = at(side * 0.46, -0.74, -0.46), at(side * 0.46, -0.87, -0.46)
    canvas.paint(
        ellipsoid(socket, (20, 27, 18)),
        tissue="cortex",
        organ="skull",
        bounds=around(socket, (22, 29, 20)),
        over=("skull", "face", "scalp"),
    )
    canvas.paint(
        ellipsoid(socket, (17.5, 26, 16)),
        tissue="fat",
        organ="orbits",
        bounds=around(socket, (20, 28, 18)),
        over=("skull", "face", "scalp", "sinuses"),
    )
    canvas.paint(ellipsoid(eye, (12.5, 12.5, 12.5)), tissue="muscle", organ="orbits", bounds=around(eye, (14, 14, 14)))
    canvas.paint(
        ellipsoid(eye, (11.3, 11.3, 11.3)), tissue="vitreous", organ="orbits", bounds=around(eye, (14, 14, 14))
    )
    lens = (eye[0], eye[1] - 8.5, eye[2])
    canvas.paint(
        ellipsoid(lens, (4.5, 2.2, 4.5)),
        tissue=90.0 if canvas.palette["fat"] < 0 else "cartilage",
        bounds=around(lens, (5, 3, 5)),
    )
    muscles = tubes(canvas)
    apex = at(side * 0.24, -0.50, -0.44)
    for dx, dz in ((-11, 0), (11, 0), (0, 10), (0, -10)):
        muscles.add(
            even_steps(
                polyline(
                    [
                        apex,
                        (0.5 * (apex[0] + eye[0]) + dx, 0.5 * (apex[1] + eye[1]), eye[2] + dz),
                        (eye[0] + dx, eye[1] + 3, eye[2] + dz),
                    ]
                ),
                step=1.5,
            )[0],
            2.0,
        )
    muscles.add(even_steps(np.array([apex, (eye[0], eye[1] + 11, eye[2])]), step=1.5)[0], 2.0)
    muscles.paint(canvas, tissue="muscle", organ="orbits", over=("orbits",))


def _nose(canvas: Canvas, at: Place, *, side: float) -> None:
    """Half of the nose and of the frontal sinus."""
    nose = at(side * 0.09, -0.80, -0.80)
    canvas.paint(
        ellipsoid(nose, (5.5, 26, 24), rough=3.0, mm=9.0),
        tissue="gas",
        organ="sinuses",
        bounds=around(nose, (9, 29, 27)),
    )
    frontal = at(side * 0.16, -1.06, -0.18)
    canvas.paint(
        ellipsoid(frontal, (11, 4.5, 12)),
        tissue="gas",
        organ="sinuses",
        bounds=around(frontal, (12, 6, 13)),
        over=("skull",),
    )
