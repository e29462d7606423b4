"""Bones of the trunk: spine, ribs, breastbone, shoulder girdle, pelvis."""

from __future__ import annotations

import itertools

import numpy as np

from osler.synth.anatomy import sites
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.shapes import paint_ellipsoid, paint_tube
from osler.synth.phantoms.thorax import INNER_U, INNER_V

RIB_STEP = 0.042  # distance of ribs (trunk lengths)
_NECK = ((0.36, 0.36), (0.335, 0.40), (0.31, 0.45), (0.285, 0.49), (0.26, 0.52), (0.235, 0.54))


def vertebrae() -> list[tuple[float, float, float]]:
    """(v, w, size) of the vertebral bodies from neck to L5 (units; size 1 is a lumbar body)."""
    named = [(s.center[1], s.center[2]) for s in sites() if s.key.startswith("vertebra-")]
    rows = [(v, w, 0.62) for w, v in _NECK]
    return rows + [(v, w, 0.78 if w > 0.0 else 0.95) for v, w in sorted(named, key=lambda n: -n[1])]


def paint_spine(canvas: Canvas) -> None:
    """Paints bodies, discs, canal and arches from the neck to the sacrum."""
    unit = canvas.unit
    rows = vertebrae()
    for (v0, w0, size), (v1, w1, _) in itertools.pairwise(rows):
        wide = 21.0 * size / unit[0]
        deep = 15.5 * size / unit[1]
        disc = ((v0 + v1) / 2, (w0 + w1) / 2)
        paint_ellipsoid(canvas, "disc", (0.0, disc[0], disc[1]), (wide * 1.02, deep * 1.02, (w0 - w1) * 0.30), power=3)
    for index, (v, w, size) in enumerate(rows):
        below = rows[index + 1][1] if index + 1 < len(rows) else w - 0.055
        tall = (w - below) * 0.40
        wide, deep = 20.5 * size / unit[0], 15.0 * size / unit[1]
        center = (0.0, v, w)
        paint_ellipsoid(canvas, "cortex", center, (wide, deep, tall), organ="spine", power=4)
        thin = 1.3
        inner = (wide - thin / unit[0], deep - thin / unit[1], tall - thin / unit[2])
        paint_ellipsoid(canvas, "marrow", center, inner, organ="spine", power=4)
        back = v + deep + 11.0 * size / unit[1]
        arch = 14.0 / unit[0]
        paint_ellipsoid(canvas, "cortex", (0.0, back, w), (arch, 12.0 / unit[1], tall * 0.8), organ="spine", power=3)
        for side in (-1, 1):
            tip = (side * 36.0 * size / unit[0], back + 2.0 / unit[1], w)
            root = (side * 9.0 / unit[0], back, w)
            paint_tube(canvas, "cortex", [root, tip], radius_mm=[6.0 * size, 3.0], organ="spine")
        spine = [(0.0, back + 8.0 / unit[1], w), (0.0, back + 30.0 * size / unit[1], w - 0.022)]
        paint_tube(canvas, "cortex", spine, radius_mm=[4.0, 3.0], organ="spine")
    low = [(0.0, v + (15.0 * s + 10.0) / unit[1], w) for v, w, s in rows]
    for start, end in itertools.pairwise(low):
        paint_tube(canvas, "canal", [start, end], radius_mm=7.5, organ="spine")
    for share, (v, w) in enumerate(((0.50, -0.41), (0.58, -0.45), (0.66, -0.50), (0.68, -0.55))):
        size = (0.20 - 0.035 * share, 0.13 - 0.015 * share, 0.028)
        paint_ellipsoid(canvas, "cortex", (0.0, v, w), size, organ="spine", power=3)
        paint_ellipsoid(canvas, "marrow", (0.0, v, w), (size[0] - 0.015, size[1] - 0.02, 0.026), organ="spine", power=3)


def paint_ribs(canvas: Canvas) -> None:
    """Paints twelve pairs of ribs as slanted rings in the chest wall, open in front into cartilage."""
    block = canvas.block((0.0, 0.0, 0.08), (1.0, 1.0, 0.28))
    u, v, w = canvas.at(block)
    if u.size == 0:
        return
    narrow = np.sqrt(np.clip((np.float32(0.325) - w) / np.float32(0.20), 0.0, 1.0)) * np.float32(0.84) + np.float32(
        0.16
    )
    scale = np.minimum(narrow, np.clip((w + 0.2) * 6, 0.92, 1.0))
    mm = np.float32(min(canvas.unit[0], canvas.unit[1]))
    x, y = np.abs(u) / (INNER_U * scale), np.abs(v - 0.02) / (INNER_V * (0.35 + 0.65 * scale))
    radial = (np.sqrt(x * x + y * y) - 1) * np.float32(mm * 0.8) - np.float32(5.0)
    height = w + np.float32(0.075) * (np.float32(0.75) - v)  # ribs fall toward the front
    phase = (height / np.float32(RIB_STEP)) % 1.0
    along = (phase - 0.5) * np.float32(RIB_STEP * canvas.unit[2])
    body = np.sqrt((radial / 4.2) ** 2 + (along / 7.0) ** 2)
    limits = np.maximum(np.abs(height - np.float32(0.165)) - np.float32(0.195), -(np.abs(u) - np.float32(0.10)))
    front = (v + np.float32(0.60)) * np.float32(-canvas.unit[1])
    outer = np.maximum((body - 1) * np.float32(4.2), limits * np.float32(200.0))
    bone = np.maximum(outer, front)
    canvas.paint("cortex", bone, block, organ="ribs")
    inner = np.maximum((body - np.float32(0.70)) * np.float32(4.2), np.maximum(limits * 200, front))
    canvas.paint("marrow", inner, block, organ="ribs")
    cartilage = np.maximum(outer, -front)
    cartilage = np.maximum(cartilage, (np.float32(-0.02) - w) * np.float32(canvas.unit[2]))
    canvas.paint("cartilage", cartilage, block, organ="ribs")


def paint_sternum(canvas: Canvas) -> None:
    """Paints the breastbone along the front of the cage."""
    for w, v, half in ((0.205, -0.62, 0.028), (0.155, -0.70, 0.036), (0.09, -0.76, 0.040), (0.03, -0.79, 0.030)):
        wide = 0.14 if w > 0.2 else 0.105
        center = (0.0, v, w)
        paint_ellipsoid(canvas, "cortex", center, (wide, 0.062, half), organ="sternum", power=3)
        paint_ellipsoid(canvas, "marrow", center, (wide - 0.012, 0.042, half - 0.003), organ="sternum", power=3)


def paint_shoulders(canvas: Canvas) -> None:
    """Paints collar bones, shoulder blades and heads of the upper arms."""
    for s in (-1, 1):
        clavicle = [
            (0.12 * s, -0.60, 0.232),
            (0.45 * s, -0.58, 0.268),
            (0.80 * s, -0.25, 0.285),
            (0.95 * s, -0.02, 0.278),
        ]
        paint_tube(canvas, "cortex", clavicle, radius_mm=[8, 6, 6, 7], organ="clavicles")
        paint_tube(canvas, "marrow", clavicle, radius_mm=[5.5, 3.5, 3.5, 4.5], organ="clavicles")
        blade = [(0.90 * s, 0.32, 0.26), (0.72 * s, 0.66, 0.20), (0.62 * s, 0.74, 0.10)]
        paint_tube(canvas, "cortex", blade, radius_mm=[8, 4.5, 4], organ="scapulae")
        paint_tube(
            canvas,
            "cortex",
            [(0.78 * s, 0.60, 0.255), (0.40 * s, 0.80, 0.22), (0.50 * s, 0.78, 0.12)],
            radius_mm=[4, 3, 3],
            organ="scapulae",
        )
        head = (1.00 * s, 0.05, 0.24)
        paint_ellipsoid(
            canvas, "cortex", head, (24 / canvas.unit[0], 24 / canvas.unit[1], 24 / canvas.unit[2]), organ="humeri"
        )
        paint_ellipsoid(
            canvas,
            "marrow",
            head,
            (21.5 / canvas.unit[0], 21.5 / canvas.unit[1], 21.5 / canvas.unit[2]),
            organ="humeri",
        )


def paint_pelvis(canvas: Canvas) -> None:
    """Paints the wings, sockets and heads of the hips, and the pubic bones."""
    unit = canvas.unit
    for s in (-1, 1):
        for radius, tissue in ((7.0, "cortex"), (4.0, "marrow")):
            wings = (
                [(0.30 * s, 0.58, -0.42), (0.55 * s, 0.36, -0.42), (0.74 * s, -0.02, -0.435), (0.70 * s, -0.24, -0.47)],
                [(0.28 * s, 0.58, -0.47), (0.55 * s, 0.36, -0.49), (0.68 * s, 0.02, -0.51)],
                [(0.32 * s, 0.50, -0.52), (0.52 * s, 0.28, -0.55), (0.58 * s, 0.05, -0.59)],
                [(0.52 * s, 0.20, -0.60), (0.50 * s, 0.28, -0.68), (0.36 * s, 0.14, -0.735), (0.12 * s, -0.22, -0.70)],
                [(0.50 * s, -0.08, -0.64), (0.28 * s, -0.28, -0.67), (0.06 * s, -0.34, -0.69)],
            )
            for points in wings:
                paint_tube(
                    canvas, tissue, points, radius_mm=radius if tissue == "marrow" else radius + 1, organ="pelvis"
                )
        head = (0.58 * s, 0.00, -0.66)
        for radius, tissue in ((32.0, "cortex"), (28.0, "cartilage"), (25.0, "cortex"), (23.0, "marrow")):
            reach = (radius / unit[0], radius / unit[1], radius / unit[2])
            paint_ellipsoid(canvas, tissue, head, reach, organ="pelvis")
        paint_tube(
            canvas,
            "cortex",
            [head, (0.84 * s, 0.04, -0.71), (0.80 * s, 0.02, -0.80)],
            radius_mm=[16, 18, 16],
            organ="femur",
        )
        paint_tube(
            canvas,
            "marrow",
            [head, (0.84 * s, 0.04, -0.71), (0.80 * s, 0.02, -0.80)],
            radius_mm=[13, 14, 11],
            organ="femur",
        )
