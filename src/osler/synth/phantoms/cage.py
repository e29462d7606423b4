"""Bones of the chest: ribs, breastbone, collarbones, shoulder blades, upper arms.

Each bone is a line with a thickness; a CT paints it into voxels, a film adds its fine edges from the same line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from osler.synth.elementary import sine
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.lines import rib_line
from osler.synth.phantoms.shapes import Point, even_steps, polyline
from osler.synth.phantoms.torso import SIDES, Torso, lifted_arm
from osler.synth.phantoms.tubes import tubes

_BREAK_MM = 16.0
_RIB_MM = (3.7, 6.0, 1.2)
"""Half thickness and half height of a rib, and its cortex: Mohr et al., "Geometry of human ribs pertinent to orthopedic
chest-wall reconstruction", Journal of Biomechanics 2007, about."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bone:
    """A chain of spheres: a cortex around marrow.

    Args:
        organ: Its label. line: Centers (N, 3), mm. radius: mm. wall: Thickness of the cortex (mm); 0 for a plate
            that is all cortex. squash: Scales distances along x, y, z. cortex: Its tissue: that of ribs is thin and
            porous, that of collarbones and arms is solid.
    """

    organ: str
    line: np.ndarray
    radius: float
    wall: float
    squash: Point = (1.0, 1.0, 1.0)
    cortex: str = "rib-cortex"


def ribs(torso: Torso, *, broken: list[np.ndarray]) -> tuple[list[Bone], list[Bone]]:
    """Ribs, and their cartilage.

    Args:
        broken: Centers (mm) of rib fractures: the nearest rib has a gap and a step there.
    """
    size = 0.9 if torso.female else 1.0
    lines = {
        (side, number): even_steps(rib_line(torso.thorax, number=number, side=side), step=2.5)
        for _, side in SIDES
        for number in range(1, 13)
    }
    gaps = {key: np.ones(len(line), dtype=bool) for key, (line, _) in lines.items()}
    for point in broken:
        away = {key: np.linalg.norm(line - point, axis=1) for key, (line, _) in lines.items()}
        key = min(away, key=lambda name: float(away[name].min()))
        at = int(away[key].argmin())
        if away[key][at] < _BREAK_MM:
            gaps[key][at] = False
            lines[key][0][at:, 2] -= 4.0
    bones, gristle = [], []
    for (side, number), (line, reached) in lines.items():
        bony = reached < (0.84 if number < 11 else 1.1)
        bones.append(
            Bone(organ="ribs", line=line[bony & gaps[side, number]], radius=_RIB_MM[0] * size,
                 wall=_RIB_MM[2] * size, squash=(1, 1, _RIB_MM[0] / _RIB_MM[1]))
        )  # fmt: skip
        gristle.append(Bone(organ="ribs", line=line[~bony], radius=4.0 * size, wall=0.0))
    return bones, gristle


@lru_cache(maxsize=2)
def girdle(torso: Torso) -> tuple[Bone, ...]:
    """Breastbone, collarbones, shoulder blades and upper arms."""
    w, d, t = torso.w, torso.d, torso.t
    board = even_steps(
        polyline([(0, -0.68 * d, 0.245 * t), (0, -0.80 * d, 0.18 * t), (0, -0.84 * d, 0.03 * t)]), step=2.5
    )[0]
    bones = [Bone(organ="sternum", line=board, radius=6.0, wall=1.2, squash=(0.36, 1, 1))]
    for _, side in SIDES:
        collar = polyline(
            [
                (side * 15, -0.64 * d, 0.240 * t),
                (side * 0.28 * w, -0.66 * d, 0.254 * t),
                (side * 0.60 * w, -0.42 * d, 0.276 * t),
                (side * 0.93 * w, -0.05 * d, 0.284 * t),
            ]
        )
        line = even_steps(collar, step=2.5)[0]
        bones.append(Bone(organ="clavicles", line=line, radius=6.2, wall=2.2, cortex="cortex"))
        bones += _upper_arm(torso, side=side) + _blade(torso, side=side)
    return tuple(bones)


def _upper_arm(torso: Torso, *, side: float) -> list[Bone]:
    w, d, t = torso.w, torso.d, torso.t
    head = np.array([side * 1.0 * w, 0.05 * d, 0.235 * t])
    if torso.pose.arms == "forward":
        shoulder, elbow = lifted_arm(torso, side=side)
        return [
            Bone(organ="humeri", line=shoulder[None], radius=21.0, wall=1.6),
            Bone(
                organ="humeri",
                line=even_steps(np.stack([shoulder, elbow]), step=3)[0],
                radius=11.0,
                wall=3.6,
                cortex="cortex",
            ),
        ]
    if torso.pose.arms == "raised":
        line = even_steps(np.stack([head, [side * (w + 26), 0.0, 0.245 * t]]), step=4)[0]
        return [Bone(organ="humeri", line=line, radius=21.0, wall=1.6)]
    shaft = head + np.array([[side * 18, 4, -8], [side * 86, 8, -190]])
    return [
        Bone(organ="humeri", line=head[None] + [side * 6, 0, 0], radius=22.0, wall=1.6),
        Bone(organ="humeri", line=even_steps(shaft, step=3)[0], radius=11.5, wall=4.0, cortex="cortex"),
    ]


def _blade(torso: Torso, *, side: float) -> list[Bone]:
    w, d, t = torso.w, torso.d, torso.t
    out = np.array([side * torso.pose.blades_mm, 0.0, 0.0])
    upper = np.array([side * 0.62 * w, 0.70 * d, 0.27 * t]) + out
    lower = np.array([side * 0.74 * w, 0.80 * d, 0.10 * t]) + 1.2 * out
    socket = np.array([side * 0.84 * w, 0.22 * d, 0.235 * t]) + 0.3 * out
    rows = [
        np.array([upper + s * (lower - upper), socket + s * (lower - socket) + [0, 8 * sine(np.pi * s), 0]])
        for s in np.linspace(0, 0.97, 44)
    ]
    plate = np.concatenate([even_steps(row, step=2.6)[0] for row in rows])
    borders = [even_steps(np.array([row[number] for row in rows]), step=2)[0] for number in (0, 1)]
    crest = even_steps(np.array([upper * 0.7 + lower * 0.3, socket + np.array([0, 16, 14])]), step=2.5)[0] + [0, 9, 0]
    return [
        Bone(organ="scapulae", line=plate, radius=1.8, wall=0.0),
        *(Bone(organ="scapulae", line=border, radius=2.8, wall=0.0) for border in borders),
        Bone(organ="scapulae", line=crest, radius=4.2, wall=1.6),
        Bone(organ="scapulae", line=socket[None], radius=10.0, wall=2.0),
    ]


def paint_cage(canvas: Canvas, torso: Torso, *, broken: list[np.ndarray], bone: float = 1.0) -> None:
    """Paints the chest's bones.

    Args:
        broken: Centers (mm) of rib fractures.
        bone: Factor on the density of marrow.
    """
    shell, marrow, gristle = (tubes(canvas) for _ in range(3))
    rods, front = ribs(torso, broken=broken)
    for rod in rods:
        shell.add(rod.line, rod.radius, squash=rod.squash)
        marrow.add(rod.line, rod.radius - rod.wall, squash=rod.squash)
    for rod in front:
        gristle.add(rod.line, rod.radius)
    gristle.paint(canvas, tissue="cartilage", organ="ribs")
    shell.paint(canvas, tissue="rib-cortex", organ="ribs")
    marrow.paint(canvas, tissue=bone * canvas.palette["marrow"], organ="ribs", inside="rib-cortex")
    for rod in girdle(torso):
        paint_bone(
            canvas, rod.line, radius=rod.radius, organ=rod.organ, squash=rod.squash, wall=rod.wall, cortex=rod.cortex
        )


def paint_bone(
    canvas: Canvas,
    line: np.ndarray,
    *,
    radius: float,
    organ: str,
    squash: tuple[float, float, float] = (1.0, 1.0, 1.0),
    wall: float = 1.5,
    cortex: str = "rib-cortex",
) -> None:
    """Paints a bone along a line: a cortex ``wall`` mm thick around marrow; all cortex where ``wall`` is 0."""
    tube = tubes(canvas)
    tube.add(line, radius, squash=squash)
    tube.paint(canvas, tissue=cortex, organ=organ)
    if wall:
        tube.paint(canvas, tissue="marrow", organ=organ, shift=-wall, inside=cortex)
