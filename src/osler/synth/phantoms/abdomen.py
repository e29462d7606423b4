"""Organs of the belly and pelvis."""

from __future__ import annotations

import numpy as np

from osler.synth.elementary import sine
from osler.synth.phantoms.canvas import Canvas, Patch
from osler.synth.phantoms.shapes import around, ellipsoid, even_steps, once, polyline
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.torso import SIDES, Torso
from osler.synth.phantoms.tubes import tubes

SOFT = ("peritoneum", "fat", "muscle")


def paint_cavity(canvas: Canvas, torso: Torso) -> None:
    """Paints the fat of the belly below the diaphragm, psoas and its vessels."""
    w, d, t = torso.w, torso.d, torso.t
    box = ((-w, w), (-d, d), (-0.80 * t, 0.06 * t))

    def cavity(p: Patch) -> np.ndarray:
        behind = torso.spine_y(p.z) + 12 + np.clip(np.abs(p.x) - 32, 0, 60) * np.float32(0.75) - p.y
        out = np.minimum(torso.wall(p), behind)
        return np.minimum(np.minimum(out, torso.roof(p) - np.float32(2.2) - p.z), p.z + np.float32(0.70 * t))

    def diaphragm(p: Patch) -> np.ndarray:
        return np.minimum(torso.wall(p), torso.roof(p) - p.z)

    upper = (box[0], box[1], (-0.16 * t, 0.06 * t))
    canvas.paint(
        diaphragm,
        tissue="muscle",
        organ="muscle",
        bounds=upper,
        over=("right-lung", "left-lung", "mediastinum", "muscle"),
    )
    canvas.paint(cavity, tissue="fat", organ="peritoneum", bounds=box)
    for _, side in SIDES:
        psoas, _ = even_steps(
            polyline(
                [
                    torso.at(side * 0.16, 0.40, -0.12),
                    torso.at(side * 0.24, 0.40, -0.25),
                    torso.at(side * 0.31, 0.34, -0.38),
                    torso.at(side * 0.40, 0.0, -0.54),
                ]
            ),
            step=5,
        )
        tube = tubes(canvas)
        tube.add(psoas, np.interp(np.linspace(0, 1, len(psoas)), [0, 0.5, 1], [9, 21, 17]))
        tube.paint(canvas, tissue="muscle", organ="muscle")
        back = (side * 38.0, float(torso.spine_y(np.array([-0.25 * t]))[0]) + 48, -0.25 * t)
        canvas.paint(
            ellipsoid(back, (30, 25, 0.34 * t)),
            tissue="muscle",
            organ="muscle",
            bounds=around(back, (30, 25, 0.34 * t)),
            over=("fat",),
        )
        glute = torso.at(side * 0.5, 0.72, -0.60)
        half = (0.36 * w, 0.24 * d, 0.11 * t)
        canvas.paint(
            ellipsoid(glute, half, turn=side * 0.5),
            tissue="muscle",
            organ="muscle",
            bounds=around(glute, half, margin=20),
            over=("fat", "peritoneum"),
        )


def paint_spleen_pancreas(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints spleen, pancreas and adrenals."""
    w, d, t = torso.w, torso.d, torso.t
    size = 1 + 0.13 * state.grade("splenomegaly")
    center, half = torso.at(0.60, 0.40, -0.075), (0.17 * w * size, 0.34 * d * size, 0.083 * t * size)
    body = ellipsoid(center, half, rough=1.5, turn=-0.45)

    def spleen(p: Patch) -> np.ndarray:
        return np.minimum(np.minimum(body(p), torso.wall(p) - 2), torso.roof(p) - 3 - p.z)

    level = np.float32(canvas.palette["spleen"])
    canvas.paint(
        spleen,
        tissue=lambda p: level * (1 + np.float32(0.02) * p.wave(9, key="parenchyma")),
        organ="spleen",
        bounds=around(center, half, margin=25),
    )
    gland = tubes(canvas)
    line, s = even_steps(
        polyline(
            [
                torso.at(-0.13, -0.04, -0.185),
                torso.at(-0.14, -0.10, -0.155),
                torso.at(0.0, -0.17, -0.135),
                torso.at(0.15, -0.10, -0.125),
                torso.at(0.38, 0.12, -0.10),
            ]
        ),
        step=2,
    )
    radius = (
        np.interp(s, [0, 0.2, 0.45, 0.8, 1], [13, 16, 10.5, 10, 8])
        * (1 - 0.07 * max(0, torso.age - 50) / 20)
        * (1 + 0.12 * state.grade("acute-pancreatitis"))
    )
    gland.add(line, radius * (1 + 0.10 * sine(np.arange(len(line)) * 1.7)), squash=(1, 1, 0.9))
    gland.paint(canvas, tissue="pancreas", organ="pancreas", over=("peritoneum", "stomach", "liver"))
    canvas.paint(
        lambda p: np.float32(0.7) - np.abs(p.wave(7, key="lobes")) * 6, tissue="fat", over=("pancreas",), strength=0.5
    )
    vein = tubes(canvas)
    vein.add(
        even_steps(
            polyline([torso.at(0.02, -0.10, -0.15), torso.at(0.18, -0.02, -0.12), torso.at(0.45, 0.25, -0.08)]), step=2
        )[0],
        3.8,
    )
    vein.paint(canvas, tissue="venous-blood", organ="portal-vein", over=("peritoneum", "pancreas"))
    limbs = tubes(canvas)
    for _, side in SIDES:
        top = np.array(torso.at(side * 0.23, 0.26, -0.105))
        for turn in (0.25, 0.75):
            sheet = [
                even_steps(
                    np.array(
                        [top + np.array([0, 0, z]), top + np.array([side * 22 * turn, 22 * (1 - 0.3 * turn), z - 6])]
                    ),
                    step=2,
                )[0]
                for z in np.linspace(-10, 10, 9)
            ]
            limbs.add(np.concatenate(sheet), 2.4)
    limbs.paint(canvas, tissue="adrenal", organ="adrenals", over=("peritoneum", "liver"))


def kidney_frame(torso: Torso, side: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Center and half axes (mm) of a kidney."""
    return torso.at(side * 0.42, 0.40, -0.22 if side < 0 else -0.20), (0.205 * torso.w, 0.27 * torso.d, 0.092 * torso.t)


def paint_kidneys(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints kidneys (cortex, pyramids, sinus) and ureters."""
    phase = canvas.palette["blood"] > 100
    for name, side in SIDES:
        center, half = kidney_frame(torso, side)
        shrunk = 1 - 0.11 * state.grade("renal-atrophy", side=name)
        half = tuple(shrunk * h for h in half)
        swollen = state.grade("hydronephrosis", side=name)
        bounds = around(center, half, margin=14)
        turn = side * 0.55
        outer = once(ellipsoid(center, half, rough=1.6, mm=24, turn=turn))
        hilum = (center[0] - side * 0.62 * half[0], center[1] - 0.62 * half[1] * 0.6, center[2])
        notch = ellipsoid(hilum, (0.55 * half[0], 0.40 * half[1], 0.34 * half[2]), turn=turn)

        def kidney(p, f=outer, g=notch):
            return np.minimum(f(p), np.float32(2.5) - g(p))

        organ = f"{name}-kidney"
        over = (
            "peritoneum",
            "muscle",
            "liver",
            "spleen",
            "colon",
            "small-bowel",
            "fat",
            "stomach",
            "pancreas",
            "adrenals",
        )
        canvas.paint(kidney, tissue="kidney-cortex", organ=organ, bounds=bounds, over=over)
        middle = (center[0] - side * 0.22 * half[0], center[1] - 0.1 * half[1], center[2])
        size = (0.42 * half[0], 0.34 * half[1], 0.55 * half[2])
        sinus = once(ellipsoid(middle, size, rough=2.0, mm=12, turn=turn))
        canvas.paint(
            lambda p, f=outer: np.minimum(
                np.minimum(f(p) - 7.5, np.float32(13)), (p.wave(14, key="pyramids") + np.float32(0.12)) * 9
            ),
            tissue="kidney-medulla",
            bounds=bounds,
            over=(organ,),
            strength=0.9 if phase else 0.5,
        )
        canvas.paint(sinus, tissue="fat", organ=organ, bounds=bounds, over=(organ,))
        canvas.paint(
            lambda p, s=sinus, k=swollen: s(p) - np.float32(6.0 - 3.4 * k) + 2 * p.wave(12, key="calyx"),
            tissue="urine",
            organ=organ,
            bounds=bounds,
            over=(organ,),
        )
        _kidney_ducts(canvas, torso, side=side, hilum=hilum, swollen=swollen)


def _kidney_ducts(
    canvas: Canvas, torso: Torso, *, side: float, hilum: tuple[float, float, float], swollen: float
) -> None:
    """The ureter with its pelvis, the artery and the vein of one kidney."""
    pelvis = (hilum[0] - side * 4, hilum[1] - 3, hilum[2] - 6)
    ureter, _ = even_steps(
        polyline(
            [
                pelvis,
                torso.at(side * 0.22, 0.22, -0.32),
                torso.at(side * 0.22, 0.22, -0.44),
                torso.at(side * 0.26, 0.30, -0.54),
                torso.at(side * 0.09, -0.10, -0.625),
            ]
        ),
        step=2,
    )
    tube, artery, vein = (tubes(canvas) for _ in range(3))
    tube.add(ureter, 1.8 + 1.1 * swollen), tube.add(np.array([pelvis]), 4.5 + 3.2 * swollen)
    tube.paint(canvas, tissue="urine", organ="ureters", over=("peritoneum", "muscle"))
    root = torso.at(0.05, 0.16, -0.19)
    artery.add(
        even_steps(polyline([root, (0.5 * (root[0] + hilum[0]), hilum[1] - 4, hilum[2] + 2), hilum]), step=2)[0],
        2.6,
    )
    vein.add(
        even_steps(
            polyline(
                [
                    torso.at(-0.1, 0.12, -0.195),
                    (0.5 * hilum[0], hilum[1] - 14, hilum[2] + 4),
                    (hilum[0], hilum[1] - 4, hilum[2] + 3),
                ]
            ),
            step=2,
        )[0],
        4.0,
    )
    vein.paint(canvas, tissue="venous-blood", organ="veins", over=("peritoneum",))
    artery.paint(canvas, tissue="blood", organ="aorta", over=("peritoneum", "muscle"))


def paint_great_vessels(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints abdominal aorta, vena cava and iliac vessels."""
    _d, _t, r = torso.d, torso.t, torso.thorax.aorta
    wide = max((f.size_mm / 2 for f in state.of("abdominal-aortic-aneurysm") if f.size_mm), default=0.0)
    at = [f.center_mm for f in state.of("abdominal-aortic-aneurysm") if f.center_mm]
    line, _ = even_steps(
        polyline(
            [
                torso.at(0.07, 0.34, -0.03),
                torso.at(0.06, 0.22, -0.12),
                torso.at(0.06, 0.16, -0.22),
                torso.at(0.05, 0.15, -0.345),
            ]
        ),
        step=2.5,
    )
    radius = np.full(len(line), r - 2.5)
    aorta, wall, cava = (tubes(canvas) for _ in range(3))
    aorta.add(line, radius), wall.add(line, radius + 1.4)
    soft = ("peritoneum", "muscle", "liver", "pancreas", "mediastinum", "stomach")
    vein, s = even_steps(
        polyline(
            [
                torso.at(-0.13, 0.14, 0.02),
                torso.at(-0.13, 0.20, -0.03),
                torso.at(-0.12, 0.20, -0.12),
                torso.at(-0.11, 0.16, -0.24),
                torso.at(-0.08, 0.18, -0.355),
            ]
        ),
        step=2.5,
    )
    cava.add(vein, np.interp(s, [0, 0.3, 1], [13, 12.5, 10]), squash=(0.9, 1.15, 0.7))
    for _, side in SIDES:
        for tube, start, r0 in ((aorta, line[-1], 5.5), (cava, vein[-1], 6.8)):
            path, _ = even_steps(
                polyline(
                    [
                        start,
                        torso.at(side * 0.22, 0.20, -0.43),
                        torso.at(side * 0.36, -0.10, -0.53),
                        torso.at(side * 0.40, -0.48, -0.64),
                        torso.at(side * 0.42, -0.5, -0.72),
                    ]
                ),
                step=2.5,
            )
            tube.add(path + ([side * -9, 5, 0] if tube is cava else [0, 0, 0]), r0)
    cava.paint(canvas, tissue="venous-blood", organ="veins", over=(*soft, "fat"))
    (
        wall.paint(canvas, tissue="soft", organ="aorta", over=soft),
        aorta.paint(canvas, tissue="blood", organ="aorta", over=(*soft, "aorta", "fat")),
    )
    if wide and at:
        sac, lumen = tubes(canvas), tubes(canvas)
        near = line[np.abs(line[:, 2] - at[0][2]) < 2.2 * wide] + [0, min(0.0, 6 - wide), 0]
        taper = np.sqrt(np.clip(1 - ((near[:, 2] - at[0][2]) / (2.3 * wide)) ** 2, 0.05, 1))
        sac.add(near, wide * taper), lumen.add(near, np.maximum(r - 2.5, 0.6 * wide * taper))
        sac.paint(canvas, tissue="soft", organ="aorta"), lumen.paint(canvas, tissue="blood", organ="aorta")


def paint_pelvic_organs(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints bladder, uterus and ovaries or prostate."""
    w, d, t = torso.w, torso.d, torso.t
    center, half = torso.at(0, -0.30, -0.615), (0.27 * w, 0.30 * d, 0.052 * t)
    wall = 2.5 + 2.5 * state.grade("bladder-wall-thickening")
    sac = ellipsoid(center, half, rough=1.5)
    bounds = around(center, half, margin=12)
    soft = ("peritoneum", "small-bowel", "colon", "muscle", "fat", "veins", "aorta")
    if torso.female:
        womb, size = torso.at(0, 0.02, -0.585), (0.19 * w, 0.26 * d, 0.055 * t)
        canvas.paint(
            ellipsoid(womb, size, rough=1.5),
            tissue="uterus",
            organ="uterus",
            bounds=around(womb, size, margin=5),
            over=soft,
        )
        canvas.paint(ellipsoid(womb, (9, 4.5, 18)), tissue="edema", organ="uterus", bounds=around(womb, (9, 5, 18)))
        for _, side in SIDES:
            egg = torso.at(side * 0.27, 0.0, -0.57)
            canvas.paint(
                ellipsoid(egg, (13, 11, 15), rough=1.0),
                tissue="soft",
                organ="ovaries",
                bounds=around(egg, (16, 14, 18)),
                over=(*soft, "uterus"),
            )
    canvas.paint(
        lambda p: sac(p) + np.float32(wall), tissue="bowel-wall", organ="bladder", bounds=bounds, over=(*soft, "uterus")
    )
    canvas.paint(sac, tissue="urine", organ="bladder", bounds=bounds)
    if not torso.female:
        grown = 1 + 0.16 * state.grade("prostate-enlargement")
        gland, size = torso.at(0, 0.0, -0.672), (24 * grown, 17 * grown, 18 * grown)
        canvas.paint(
            ellipsoid(gland, size),
            tissue="prostate",
            organ="prostate",
            bounds=around(gland, size, margin=2),
            over=(*soft, "bladder"),
        )
