"""Head: scalp, skull, folded cortex, white matter, deep nuclei, ventricles, cerebellum, face.

Positions are in units of the brain's half axes, as in the table of sites.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from osler.synth.elementary import cosine, exp, sine
from osler.synth.facts import PatientFacts
from osler.synth.phantoms.canvas import Canvas, Patch
from osler.synth.phantoms.face import paint_face
from osler.synth.phantoms.hippocampus import paint_hippocampus
from osler.synth.phantoms.shapes import around, ellipsoid, even_steps, once, polyline, smooth_least
from osler.synth.phantoms.skull_base import base_of_skull, rise, tent
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.tubes import tubes

PAIR = (-1.0, 1.0)
BRAIN = ("gray-matter", "white-matter", "deep-gray", "thalamus", "hippocampus", "cerebellum", "brainstem")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """Lengths (mm) of one head.

    Args:
        half: Half axes of the brain. wide: Factor on the ventricles. gap: Widening of the sulci (mm).
        shift: How far the midline is pushed to the left (mm). small: Factors on the hippocampi, right and left.
    """

    half: tuple[float, float, float]
    wide: float
    gap: float
    shift: float
    small: tuple[float, float]

    def at(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A point in units of the brain, in mm, with the midline pushed aside."""
        hx, hy, hz = self.half
        push = self.shift * math.exp(-((x / 0.55) ** 2) - (y / 0.7) ** 2 - ((z - 0.1) / 0.7) ** 2)
        return x * hx + push, y * hy, z * hz

    def unit(self, p: Patch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates in units of the brain, the push of the midline taken off."""
        hx, hy, hz = (np.float32(h) for h in self.half)
        x, y, z = p.x / hx, p.y / hy, p.z / hz
        if self.shift:
            push = exp(-((x / 0.55) ** 2)) * exp(-((y / 0.7) ** 2)) * exp(-(((z - 0.1) / 0.7) ** 2))
            x = x - np.float32(self.shift) / hx * push
        return x, y, z


def head_of(patient: PatientFacts, *, state: Shown) -> Head:
    """Derives the head from the patient's anatomy and the exam's findings."""
    atrophy = state.grade("cerebral-atrophy")
    shift = sum((f.size_mm or 5) * (1.0 if f.side == "right" else -1.0) for f in state.of("midline-shift"))
    old = max(0.0, patient.age - 40)
    return Head(
        half=patient.anatomy.head_mm,
        wide=0.82 + 0.006 * old + 0.18 * atrophy + 0.5 * state.grade("hydrocephalus"),
        gap=0.010 * old + 0.42 * atrophy - 0.2 * state.grade("hydrocephalus", "mass-effect"),
        shift=float(shift),
        small=tuple(1 - 0.13 * state.grade("hippocampal-atrophy", side=name) for name in ("right", "left")),
    )


def vault(head: Head, p: Patch) -> np.ndarray:
    """Depth (mm) in the space inside the skull."""
    hx, hy, hz = head.half
    round_ = np.sqrt(
        (p.x / np.float32(hx + 2.5)) ** 2 + (p.y / np.float32(hy + 2.5)) ** 2 + (p.z / np.float32(hz + 2.5)) ** 2
    )
    above = (p.z / np.float32(hz) - base_of_skull(p.x / np.float32(hx), p.y / np.float32(hy))) * np.float32(0.8 * hz)
    above += np.float32(0.8) * p.wave(22, key="base")
    return smooth_least((1 - round_) * np.float32(hx), above, mm=14.0)


def paint_outside(canvas: Canvas, head: Head) -> None:
    """Paints scalp, face, skull, orbits and sinuses."""
    hx, hy, hz = head.half

    def skin(p: Patch) -> np.ndarray:
        dome = 1 - np.sqrt(
            (p.x / np.float32(hx + 16)) ** 2 + ((p.y) / np.float32(hy + 17)) ** 2 + (p.z / np.float32(hz + 17)) ** 2
        )
        face = 1 - np.sqrt((p.x / np.float32(0.86 * hx)) ** 2 + ((p.y + 0.30 * hy) / np.float32(0.84 * hy)) ** 2)
        neck = 1 - np.sqrt((p.x / np.float32(0.86 * hx)) ** 2 + ((p.y - 0.12 * hy) / np.float32(0.72 * hy)) ** 2)
        low = np.minimum(
            np.maximum(face * np.float32(hy * 0.7), neck * np.float32(hy * 0.6)), (0.05 * hz - p.z) * np.float32(0.7)
        )
        nose = ellipsoid((0, -1.12 * hy, -0.85 * hz), (10, 14, 17))(p)
        return np.maximum(-smooth_least(-dome * np.float32(hx), -low, mm=16.0), nose)

    skin = once(skin)
    canvas.paint(skin, tissue="skin", organ="skin")
    canvas.paint(lambda p: skin(p) - np.float32(1.8), tissue="scalp", organ="scalp")
    low = ((-2 * hx, 2 * hx), (-2 * hy, 2 * hy), (-3 * hz, 0.1 * hz))
    canvas.paint(
        lambda p: np.minimum(skin(p) - 8, -0.25 * hz - p.z) + 3 * p.wave(22, key="face"),
        tissue="muscle",
        organ="face",
        bounds=low,
    )
    canvas.paint(
        lambda p: np.float32(1.6) - np.abs(p.wave(14, key="planes")) * 13,
        tissue="scalp",
        bounds=low,
        over=("face",),
        strength=0.8,
    )
    bone = ((-1.3 * hx, 1.3 * hx), (-1.2 * hy, 1.2 * hy), (-1.15 * hz, 1.25 * hz))

    def thick(p: Patch) -> np.ndarray:
        return 7.0 + 1.2 * p.wave(60, key="skull") + np.clip(np.abs(p.y) / np.float32(hy) - 0.8, 0, 0.3) * 9

    inside = once(lambda p: vault(head, p))
    canvas.paint(lambda p: inside(p) + thick(p), tissue="cortex", organ="skull", bounds=bone)
    canvas.paint(
        lambda p: np.minimum(inside(p) + thick(p) - 2.0, -2.0 - inside(p)),
        tissue="marrow",
        organ="skull",
        bounds=bone,
    )
    paint_face(canvas, half=head.half)
    canvas.paint(inside, tissue="dura", organ="csf", bounds=bone)
    canvas.paint(lambda p: inside(p) - np.float32(0.7), tissue="csf", organ="csf", bounds=bone)


def pial(head: Head, p: Patch) -> np.ndarray:
    """Depth (mm) below the folded surface of the cerebrum."""
    hx, _hy, hz = head.half
    x, y, z = head.unit(p)
    side = np.abs(x)
    crooked = np.abs(x + np.float32(0.022) * p.wave(22, key="fissure"))
    round_ = np.sqrt(x**2 + y**2 + z**2)
    temporal = exp(-(((side - 0.58) / 0.42) ** 2)) * exp(-((((y + 0.06) / 0.50) ** 2) ** 2))
    base = -0.30 - 0.28 * temporal
    base = base + rise((y - 0.38) / np.float32(0.09)) * (tent(x, y) - np.float32(0.035) - base)
    floor = base_of_skull(x, y) + np.float32(0.045)
    frontal = rise((-0.34 - y) / np.float32(0.05))
    base = np.maximum(base + frontal * (floor - base), floor)  # the frontal lobes rest on the roofs of the orbits
    hull = smooth_least((1 - round_) * np.float32(hx), (z - base) * np.float32(0.8 * hz), mm=8.0)
    hull += np.float32(1.0) * p.wave(22, key="gyri")
    inner = np.clip(hull - 17, 0, None) * np.float32(0.55)
    out = np.minimum(hull, np.abs(p.wave(11, key="sulci")) * np.float32(7.5) + inner)
    np.minimum(out, np.abs(p.wave(14, key="sulci-b")) * np.float32(9.5) + np.float32(0.3) + inner, out=out)
    bridge = (1 - np.sqrt(((y - 0.0) / 0.54) ** 2 + ((z + 0.10) / 0.42) ** 2)) * np.float32(0.5 * hz)
    np.minimum(out, np.maximum(crooked * np.float32(hx) - 0.8, bridge), out=out)
    sylvian = (
        np.abs(z + 0.13 - 0.30 * y - 0.45 * (side - 0.72) + 0.04 * p.wave(22, key="fissure")) * np.float32(hz)
        + np.clip(0.50 - side, 0, 1) * 60
        + np.clip(np.abs(y + 0.12) - 0.36, 0, 1) * 70
    )
    np.minimum(out, sylvian - np.float32(0.6), out=out)
    return out - np.float32(head.gap)


def paint_brain(canvas: Canvas, head: Head) -> None:
    """Paints cerebrum, deep nuclei, ventricles, cerebellum, brainstem, falx and arteries."""
    hx, hy, hz = head.half
    box = ((-1.05 * hx, 1.05 * hx), (-1.05 * hy, 1.05 * hy), (-0.62 * hz, 1.05 * hz))
    depth = once(lambda p: pial(head, p))
    canvas.paint(lambda p: depth(p) - np.float32(0.6), tissue="gray", organ="gray-matter", bounds=box, over=("csf",))
    canvas.paint(
        lambda p: depth(p) - np.float32(3.7), tissue="white", organ="white-matter", bounds=box, over=("gray-matter",)
    )

    def falx(p: Patch) -> np.ndarray:
        rim = (
            np.sqrt((p.y / np.float32(0.62 * hy)) ** 2 + ((p.z + 0.06 * hz) / np.float32(0.50 * hz)) ** 2) - 1
        ) * np.float32(0.5 * hz)
        low = np.interp(p.y / np.float32(hy), [-0.9, -0.55, -0.2, 0.3, 0.9], [-0.40, -0.36, -0.10, -0.10, -0.30])
        return np.minimum(np.minimum(0.7 - np.abs(p.x), rim), p.z - low.astype(np.float32) * np.float32(hz))

    canvas.paint(falx, tissue="dura", bounds=((-3, 3), box[1], box[2]), over=("csf",))
    _hindbrain(canvas, head)
    _nuclei(canvas, head)
    _ventricles(canvas, head)
    for side, small in zip(PAIR, head.small, strict=True):
        paint_hippocampus(canvas, head.at, side=side, small=small)
    _arteries(canvas, head)


def _nuclei(canvas: Canvas, head: Head) -> None:
    caudate = tubes(canvas)
    inner = ("white-matter", "gray-matter", "csf")
    for side in PAIR:
        putamen, pallidum, thalamus = (
            head.at(side * x, y, z) for x, y, z in ((0.41, -0.12, 0.02), (0.29, -0.06, 0.0), (0.17, 0.12, 0.04))
        )
        canvas.paint(
            ellipsoid(putamen, (6.0, 18, 12), turn=-side * 0.25, rough=0.8, mm=14.0),
            tissue="deep-gray",
            organ="deep-gray",
            bounds=around(putamen, (14, 20, 13)),
            over=inner,
        )
        pale = 0.93 * canvas.palette["deep-gray"] + 0.07 * canvas.palette["white"]
        canvas.paint(
            ellipsoid(pallidum, (5.0, 10, 8), turn=-side * 0.5),
            tissue=pale,
            organ="deep-gray",
            bounds=around(pallidum, (10, 11, 9)),
            over=inner,
        )
        canvas.paint(
            ellipsoid(thalamus, (9.5, 16, 11), turn=-side * 0.4, rough=0.8, mm=14.0),
            tissue="deep-gray",
            organ="thalamus",
            bounds=around(thalamus, (15, 18, 13)),
            over=(*inner, "brainstem"),
        )
        curve = polyline(
            [
                head.at(side * 0.19, -0.42, 0.02),
                head.at(side * 0.21, -0.34, 0.14),
                head.at(side * 0.25, -0.05, 0.27),
                head.at(side * 0.30, 0.22, 0.25),
            ]
        )
        line, s = even_steps(curve, step=1.5)
        caudate.add(line, np.interp(s, [0, 0.3, 1], [6.5, 6.0, 2.5]))
    caudate.paint(canvas, tissue="deep-gray", organ="deep-gray", over=inner)


def _ventricles(canvas: Canvas, head: Head) -> None:
    tube = tubes(canvas)
    r = head.wide
    for side in PAIR:
        horn, s = even_steps(
            polyline(
                [
                    head.at(side * 0.11, -0.46, 0.02),
                    head.at(side * 0.12, -0.30, 0.14),
                    head.at(side * 0.13, 0.0, 0.24),
                    head.at(side * 0.18, 0.24, 0.21),
                    head.at(side * 0.34, 0.44, 0.04),
                    head.at(side * 0.45, 0.28, -0.16),
                    head.at(side * 0.48, 0.06, -0.22),
                ],
                count=120,
            ),
            step=1.5,
        )
        tube.add(
            horn,
            r * np.interp(s, [0, 0.15, 0.4, 0.6, 0.75, 0.9, 1], [3.5, 5.2, 5.6, 6.6, 4.0, 1.8, 1.2]),
            squash=(1.15, 1, 0.9),
        )
        back, _ = even_steps(np.array([head.at(side * 0.34, 0.44, 0.04), head.at(side * 0.28, 0.64, 0.04)]), step=1.5)
        tube.add(back, np.linspace(5, 1.8, len(back)) * r)
    over = (*BRAIN, "csf")
    tube.paint(canvas, tissue="csf", organ="ventricles", over=over)
    for center, half in ((head.at(0, 0.03, -0.04), (2.0 * r, 15, 11)), (head.at(0, 0.43, -0.50), (7.5 * r, 5.5, 10))):
        canvas.paint(ellipsoid(center, half), tissue="csf", organ="ventricles", bounds=around(center, half), over=over)


def _hindbrain(canvas: Canvas, head: Head) -> None:
    hx, hy, hz = head.half
    lobes = [
        ellipsoid(head.at(side * 0.30, 0.55, -0.54), (0.52 * hx, 0.43 * hy, 0.48 * hz), rough=1.2, mm=22.0)
        for side in PAIR
    ]
    worm = ellipsoid(head.at(0, 0.56, -0.50), (0.22 * hx, 0.34 * hy, 0.44 * hz))

    def lobe(p: Patch) -> np.ndarray:
        out = np.maximum(np.maximum(lobes[0](p), lobes[1](p)), worm(p))
        under = tent(p.x / np.float32(hx), p.y / np.float32(hy)) * np.float32(hz) - p.z - np.float32(1.5)
        return np.minimum(smooth_least(out, under, mm=6.0), vault(head, p) - 1.5)

    lobe = once(lobe)
    box = ((-0.85 * hx, 0.85 * hx), (0.1 * hy, 1.0 * hy), (-1.0 * hz, -0.05 * hz))
    canvas.paint(lobe, tissue="cerebellar", organ="cerebellum", bounds=box, over=("csf", "gray-matter", "white-matter"))

    # folia: thin leaves of fluid from the surface; the white "tree of life" in the middle
    def folia(p):
        return np.minimum(
            np.minimum(lobe(p), 11 - lobe(p)),
            0.38 - np.abs(sine(p.z * 0.95 + 2.2 * p.wave(14, key="folia") + 0.12 * p.y)) * 1.5,
        )

    canvas.paint(folia, tissue="csf", bounds=box, over=("cerebellum",), strength=0.55)

    def tree(p):
        return np.minimum(lobe(p) - 9 + 3.2 * p.wave(9, key="arbor"), 30)

    canvas.paint(tree, tissue="white", bounds=box, over=("cerebellum",))
    stem = tubes(canvas)
    line, s = even_steps(
        polyline(
            [
                head.at(0, 0.12, -0.14),
                head.at(0, 0.20, -0.30),
                head.at(0, 0.26, -0.50),
                head.at(0, 0.32, -0.78),
                head.at(0, 0.36, -1.1),
                head.at(0, 0.38, -2.0),
            ]
        ),
        step=2,
    )
    stem.add(line, np.interp(s, [0, 0.1, 0.2, 0.3, 0.45, 1], [9, 13, 15, 12, 7.5, 6.5]), squash=(0.85, 1.1, 0.9))
    stem.paint(
        canvas,
        tissue="brainstem",
        organ="brainstem",
        over=("csf", "white-matter", "gray-matter", "skull", "face", "cerebellum"),
    )
    for side in PAIR:
        arm, _ = even_steps(np.array([head.at(side * 0.10, 0.24, -0.50), head.at(side * 0.27, 0.40, -0.52)]), step=2)
        tube = tubes(canvas)
        tube.add(arm, 7.5)
        tube.paint(canvas, tissue="brainstem", organ="brainstem", over=("csf", "cerebellum"))
    gland = head.at(0, -0.25, -0.43)
    canvas.paint(ellipsoid(gland, (6.5, 5, 3.8)), tissue="lymph", organ="sella", bounds=around(gland, (7, 6, 5)))


def _arteries(canvas: Canvas, head: Head) -> None:
    tube, sinus = tubes(canvas), tubes(canvas)
    for side in PAIR:
        for points, radius in (
            ([(0.16, -0.22, -0.50), (0.14, -0.24, -0.30), (0.38, -0.18, -0.20), (0.58, -0.12, -0.14)], 1.6),
            ([(0.14, -0.24, -0.30), (0.03, -0.36, -0.18), (0.02, -0.55, 0.05), (0.02, -0.40, 0.36)], 1.2),
            ([(0.02, 0.06, -0.33), (0.16, 0.12, -0.28), (0.22, 0.30, -0.20)], 1.2),
        ):
            tube.add(even_steps(polyline([head.at(side * x, y, z) for x, y, z in points]), step=1)[0], radius)
        wing = [(0.0, 0.98, -0.12), (0.45, 0.84, -0.22), (0.72, 0.55, -0.32), (0.70, 0.40, -0.50)]
        sinus.add(
            even_steps(polyline([tuple(np.array((side * x, y, z)) * head.half) for x, y, z in wing]), step=2)[0], 4.0
        )
    tube.add(
        even_steps(np.array([head.at(0, 0.05, -0.33), head.at(0, 0.06, -0.52), head.at(0.02, 0.12, -0.72)]), step=1)[0],
        1.6,
    )
    angle = np.linspace(-0.25, np.pi + 0.1, 80)
    arc = np.stack([0 * angle, -cosine(angle) * head.half[1] * 1.0, sine(angle) * head.half[2] * 1.0], axis=1)
    sinus.add(arc[arc[:, 2] > -8], np.linspace(2.2, 4.2, int((arc[:, 2] > -8).sum())))
    tube.paint(canvas, tissue="blood", organ="arteries", over=("csf", "gray-matter", "white-matter"))
    sinus.paint(canvas, tissue="venous-blood", organ="veins", over=("csf", "gray-matter", "skull"))
