"""Hip bones, sacrum and the upper ends of the femora."""

from __future__ import annotations

import numpy as np

from osler.synth.elementary import sine
from osler.synth.phantoms.cage import paint_bone
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.shapes import around, ellipsoid, even_steps, polyline
from osler.synth.phantoms.torso import SIDES, Torso
from osler.synth.phantoms.tubes import tubes

_SACRUM = ((-1, 1.0, 0.15), (-1, 0.55, 0.05), (1, 0.0, -0.02), (1, 0.55, 0.05), (1, 1.0, 0.15))
"""Front of a slice through the sacrum: side, share of its half width, and how far back (half depths of the trunk)."""


def paint_pelvis(canvas: Canvas, torso: Torso, *, broken: tuple[str, ...] = ()) -> None:
    """Paints hip bones, sacrum and the heads of the femora."""
    w, d, t = torso.w, torso.d, torso.t
    for name, side in SIDES:
        # the wing of the ilium: a curved plate
        plate = np.concatenate(
            [
                polyline(
                    [
                        (side * (0.26 + 0.06 * s) * w, (0.58 - 0.06 * s) * d, (-0.42 - 0.10 * s) * t),
                        (side * (0.55 - 0.02 * s) * w, 0.36 * d, (-0.43 - 0.11 * s) * t),
                        (side * (0.74 - 0.14 * s) * w, (-0.05 - 0.02 * s) * d, (-0.455 - 0.12 * s) * t),
                    ],
                    count=46,
                )
                for s in np.linspace(0, 1, 24)
            ]
        )
        paint_bone(canvas, plate, radius=6.5, organ="pelvis", wall=1.9)
        cup = np.array([side * 0.53 * w, 0.02 * d, -0.648 * t])
        paint_bone(canvas, cup[None] + [side * -6, 0, 8], radius=31.0, organ="pelvis", wall=2.4)
        ball = tubes(canvas)
        ball.add(cup[None], 26.0)
        ball.paint(canvas, tissue="cartilage", organ="femora")
        neck = even_steps(
            polyline(
                [
                    cup,
                    cup + np.array([side * 30, 6, -24]),
                    cup + np.array([side * 44, 10, -60]),
                    cup + np.array([side * 42, 8, -140]),
                ]
            ),
            step=3,
        )[0]
        paint_bone(canvas, cup[None], radius=23.5, organ="femora", wall=1.6)
        paint_bone(canvas, neck, radius=15.0, organ="femora", wall=3.2, cortex="cortex")
        ramus = even_steps(
            polyline(
                [
                    cup + np.array([side * -14, -26, 4]),
                    (side * 22, -0.48 * d, -0.675 * t),
                    (side * 5, -0.5 * d, -0.68 * t),
                ]
            ),
            step=3,
        )[0]
        seat = even_steps(
            polyline([cup + np.array([side * -4, 16, -16]), (side * 0.36 * w, 0.3 * d, -0.73 * t)]), step=3
        )[0]
        paint_bone(canvas, ramus, radius=8.5, organ="pelvis"), paint_bone(canvas, seat, radius=13.0, organ="pelvis")
        if name in broken:
            crack = (cup[0] + side * 26, cup[1] + 5, cup[2] - 20)
            canvas.paint(
                ellipsoid(crack, (3.0, 22, 20), turn=side * 0.6),
                tissue="soft",
                bounds=around(crack, (24, 24, 24)),
                over=("femora",),
            )
    wedge = np.concatenate(
        [
            # its wings sweep back from the promontory
            even_steps(
                polyline(
                    [(side * share * x, y + back * d, z) for side, share, back in _SACRUM],
                    count=24,
                ),
                step=4,
            )[0]
            for x, y, z in zip(
                np.linspace(0.30 * w, 10, 14),
                d * (0.50 + 0.16 * sine(np.linspace(0, 2.6, 14))),
                np.linspace(-0.40 * t, -0.60 * t, 14),
                strict=True,
            )
        ]
    )
    paint_bone(canvas, wedge, radius=9.0, organ="pelvis", wall=1.6)
