"""The chest: wall, lungs with vessels, heart, great vessels, airways.

Unit coordinates u, v, w: half widths to the patient's left, half depths to the back, trunk
lengths to the head; 0 is the lower end of the breastbone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from osler.synth.phantoms.canvas import Canvas, cover_of, smooth_field
from osler.synth.phantoms.shapes import ellipsoid, paint_ellipsoid, paint_tube

Array = np.ndarray

# Width and depth of the trunk's outline by height, in parts of the chest's.
_HEIGHTS = np.array([-0.80, -0.70, -0.60, -0.48, -0.34, -0.22, -0.08, 0.05, 0.16, 0.23, 0.27, 0.305, 0.34, 0.5])
_WIDTHS = np.array([0.80, 1.06, 1.10, 1.04, 0.96, 0.95, 0.98, 1.00, 1.04, 1.16, 1.14, 0.80, 0.42, 0.40])
_DEPTHS = np.array([0.80, 0.98, 1.00, 0.97, 0.95, 0.97, 1.00, 1.00, 0.97, 0.90, 0.84, 0.74, 0.62, 0.60])
INNER_U, INNER_V = 0.84, 0.80


def outline(w: Array) -> tuple[Array, Array]:
    """Half width and half depth of the trunk (units) at heights ``w``."""
    return (
        np.interp(w, _HEIGHTS, _WIDTHS).astype(np.float32),
        np.interp(w, _HEIGHTS, _DEPTHS).astype(np.float32),
    )


def trunk_radius(canvas: Canvas) -> Array:
    """1 on the skin, less inside: (Z, Y, X), the norm that all layers of the wall share."""
    u, v, w = canvas.units
    wide, deep = outline(w[:, :1, :1])
    x, y = np.abs(u) / wide, np.abs(v) / deep
    total = x ** np.float32(2.4)
    total += y ** np.float32(2.4)
    return total ** np.float32(1 / 2.4)


def dome(u: Array, v: Array, *, lifts: Mapping[int, float]) -> Array:
    """Height (units) of the diaphragm: two domes around a flat middle, falling off to the wall and the back."""
    right = lifts[-1] - 0.008 - 0.10 * (((u + 0.42) / 0.42) ** 2 + ((v + 0.12) / 0.95) ** 2) ** np.float32(1.2)
    left = lifts[1] - 0.026 - 0.10 * (((u - 0.42) / 0.42) ** 2 + ((v + 0.10) / 0.95) ** 2) ** np.float32(1.2)
    middle = np.float32(-0.036) - 0.09 * ((u / 0.34) ** 2 + ((v + 0.30) / 0.62) ** 2) ** np.float32(1.3)
    return np.maximum(np.maximum(right, left), middle).astype(np.float32, copy=False)


def chest_inside(u: Array, v: Array, w: Array, *, canvas: Canvas) -> Array:
    """Distance (mm) to the inside of the rib cage, which narrows to the apex and is notched by the spine."""
    narrow = np.sqrt(np.clip((np.float32(0.305) - w) / np.float32(0.20), 0.0, 1.0)) * np.float32(0.86) + np.float32(
        0.14
    )
    low = np.clip((w + 0.2) * 6, 0.92, 1.0)
    scale = np.minimum(narrow, low)
    x, y = np.abs(u) / (INNER_U * scale), np.abs(v - 0.02) / (INNER_V * (0.35 + 0.65 * scale))
    radius = np.sqrt(x * x + y * y)
    return (radius - 1) * np.float32(min(INNER_U * canvas.unit[0], INNER_V * canvas.unit[1]))


def paint_wall(canvas: Canvas, *, radius: Array, fat: float) -> None:
    """Paints skin, fat and the muscle under it; ``fat`` (units) is the thickness of the fat."""
    block = canvas.whole()
    mm = np.float32(min(canvas.unit[0], canvas.unit[1]))
    canvas.paint("skin", (radius - 1) * mm, block, organ="body")
    canvas.paint("fat", (radius - np.float32(1 - 2.2 / mm)) * mm, block, organ="fat")
    canvas.paint("muscle", (radius - np.float32(1 - fat)) * mm, block, organ="muscle")


def lung_surface(canvas: Canvas, *, side: int, lifts: Mapping[int, float]) -> Array:
    """Distance (mm) to the right (``side`` -1) or left (+1) lung, (Z, Y, X) of its block."""
    block = canvas.block((0.44 * side, 0.0, 0.08), (0.44, 0.85, 0.26))
    u, v, w = canvas.at(block)
    far = chest_inside(u, v, w, canvas=canvas)
    far += np.float32(2.0)
    under = (dome(u, v, lifts=lifts) - w) * np.float32(canvas.unit[2] * 0.8)
    np.maximum(far, under, out=far)
    # The mediastinum: narrow in front, wide around hilum and spine.
    middle = np.float32(0.115) + np.float32(0.10) * np.exp(-(((v - 0.62) / 0.22) ** 2))
    middle = middle + np.float32(0.05) * np.exp(-(((v - 0.02) / 0.28) ** 2)) * np.exp(-(((w - 0.13) / 0.07) ** 2))
    inner = (middle - side * u) * np.float32(canvas.unit[0])
    return np.maximum(far, inner, out=far)


def paint_lungs(canvas: Canvas, *, lifts: Mapping[int, float], vessel_seed: int) -> dict[int, Array]:
    """Paints both lungs with their vessels; returns their coverage in their blocks by side (-1, +1)."""
    covers = {}
    first = smooth_field(canvas.grid, seed=vessel_seed, period_mm=300.0, modes=(8, 34), reach_mm=19.0)
    second = smooth_field(canvas.grid, seed=vessel_seed + 1, period_mm=300.0, modes=(8, 34), reach_mm=19.0)
    for side, organ in ((-1, "right-lung"), (1, "left-lung")):
        block = canvas.block((0.44 * side, 0.0, 0.08), (0.44, 0.85, 0.26))
        if canvas.value[block].size == 0:
            continue
        far = lung_surface(canvas, side=side, lifts=lifts)
        u, v, w = canvas.at(block)
        hilum = np.sqrt(((u - 0.2 * side) * 1.2) ** 2 + ((v - 0.05) * 0.8) ** 2 + ((w - 0.12) * 3.5) ** 2)
        width = np.clip(np.float32(0.34) - np.float32(0.24) * hilum, 0.10, 0.34)
        vessels = (first[block] ** 2 + second[block] ** 2) / (width * width)
        vessels = np.exp(-vessels, out=vessels)
        vessels *= np.float32(1.0 * (canvas.palette["vessel"] - canvas.palette["lung"]))
        gravity = (v * np.float32(45.0)) + first[block] * np.float32(8.0)
        texture = vessels
        texture += gravity
        texture *= np.clip(-far * np.float32(0.25), 0.0, 1.0)
        cover = canvas.paint("lung", far, block, organ=organ, texture=texture)
        if cover is not None:
            covers[side] = cover
    return covers


def paint_airways(canvas: Canvas) -> None:
    """Paints trachea and main bronchi with their walls."""
    trachea = [(0.0, -0.08, 0.36), (0.0, 0.02, 0.25), (0.0, 0.10, 0.165)]
    right = [(0.0, 0.10, 0.165), (-0.13, 0.10, 0.138), (-0.26, 0.08, 0.115)]
    left = [(0.0, 0.10, 0.165), (0.16, 0.12, 0.135), (0.30, 0.14, 0.115)]
    for points, radius in ((trachea, [9, 9, 8.5]), (right, [8, 6.5, 4.5]), (left, [7.5, 6, 4.0])):
        paint_tube(canvas, "muscle", points, radius_mm=[r + 1.8 for r in radius])
        paint_tube(canvas, "airway", points, radius_mm=radius, organ="trachea")
    for side in (-1, 1):
        root = (0.26 * side if side < 0 else 0.30, 0.08 if side < 0 else 0.14, 0.115)
        for end in ((0.42 * side, 0.38, 0.03), (0.44 * side, -0.25, 0.09), (0.36 * side, 0.02, 0.20)):
            middle = tuple((a + b) / 2 for a, b in zip(root, end, strict=True))
            points = [root, (middle[0], middle[1], middle[2]), end]
            paint_tube(canvas, "muscle", points, radius_mm=[4.6, 3.4, 2.0])
            paint_tube(canvas, "airway", points, radius_mm=[3.4, 2.2, 0.8])


def paint_heart(canvas: Canvas, *, size: float) -> None:
    """Paints heart with fat around it, chambers, aorta, pulmonary arteries, caval veins.

    Args:
        size: 1 is a heart of half the width of the chest's inside.
    """
    center, half = (0.12, -0.24, 0.045), (0.36 * size, 0.40 * size, 0.092 * size)
    outer = (half[0] * 1.05, half[1] * 1.06, half[2] * 1.06)
    paint_ellipsoid(canvas, "fat", center, outer, organ="mediastinum", turn_deg=-24)
    paint_ellipsoid(canvas, "muscle", center, half, organ="heart", turn_deg=-24)
    unit = canvas.unit
    chambers = (
        ((0.26, -0.20, 0.030), (0.17, 0.21, 0.050)),
        ((0.05, -0.42, 0.030), (0.16, 0.15, 0.050)),
        ((-0.12, -0.18, 0.050), (0.11, 0.20, 0.045)),
        ((0.06, 0.02, 0.080), (0.16, 0.13, 0.030)),
    )
    for middle, reach in chambers:
        scaled = (reach[0] * size, reach[1] * size, reach[2] * size)
        block = canvas.block(middle, (0.3, 0.4, 0.07))
        canvas.paint("heart", ellipsoid(middle, scaled, unit=unit, turn_deg=-24), block, organ="heart")


def paint_vessels(canvas: Canvas, *, aorta_mm: float) -> None:
    """Paints the aorta from the valve to the fork, the pulmonary arteries and the caval veins."""
    ascending = [(0.02, -0.15, 0.085), (-0.07, -0.20, 0.14), (-0.06, -0.16, 0.18)]
    arch = [(-0.06, -0.16, 0.18), (-0.01, -0.06, 0.205), (0.06, 0.10, 0.205), (0.11, 0.30, 0.175)]
    descending = [(0.11, 0.30, 0.175), (0.12, 0.38, 0.12), (0.11, 0.40, 0.04), (0.07, 0.34, -0.08), (0.04, 0.28, -0.18)]
    abdominal = [(0.04, 0.28, -0.18), (0.04, 0.24, -0.30), (0.03, 0.24, -0.385)]
    forks = [[(0.03, 0.24, -0.385), (0.18 * s, 0.20, -0.48), (0.34 * s, -0.12, -0.60)] for s in (-1, 1)]
    lumen = aorta_mm / 2
    for points, factor in ((ascending, 1.15), (arch, 1.0), (descending, 0.88), (abdominal, 0.72)):
        paint_tube(canvas, "muscle", points, radius_mm=lumen * factor + 1.5, organ="aorta")
        paint_tube(canvas, "blood", points, radius_mm=lumen * factor, organ="aorta")
    for points in forks:
        paint_tube(canvas, "blood", points, radius_mm=[6.0, 5.0, 4.0], organ="aorta")
    trunk = [(0.10, -0.34, 0.10), (0.10, -0.20, 0.135), (0.10, -0.08, 0.150)]
    paint_tube(canvas, "vessel", trunk, radius_mm=13.0, organ="pulmonary-artery")
    right = [(0.08, -0.06, 0.148), (-0.06, 0.0, 0.142), (-0.22, 0.04, 0.125), (-0.36, 0.12, 0.09)]
    left = [(0.10, -0.06, 0.150), (0.18, 0.06, 0.152), (0.28, 0.14, 0.13), (0.38, 0.24, 0.09)]
    for points in (right, left):
        paint_tube(canvas, "vessel", points, radius_mm=[11, 10, 7, 3.5], organ="pulmonary-artery")
    for side in (-1, 1):
        paint_tube(canvas, "vessel", [(0.06, 0.05, 0.08), (0.30 * side, 0.12, 0.075)], radius_mm=[6, 4.5])
    superior = [(-0.14, -0.14, 0.10), (-0.16, -0.12, 0.20), (-0.12, -0.14, 0.26)]
    inferior = [(-0.12, -0.05, 0.02), (-0.12, 0.18, -0.06), (-0.09, 0.26, -0.20), (-0.07, 0.26, -0.39)]
    paint_tube(canvas, "blood", superior, radius_mm=8.5, organ="vena-cava")
    paint_tube(canvas, "blood", inferior, radius_mm=9.5, organ="vena-cava")
    for s in (-1, 1):
        paint_tube(canvas, "blood", [(0.06 * s, -0.06, 0.205), (0.12 * s, -0.12, 0.30)], radius_mm=4.0, organ="aorta")
        paint_tube(canvas, "blood", [(-0.15, -0.14, 0.245), (0.5 * s, -0.2, 0.285)], radius_mm=4.5, organ="vena-cava")
    paint_tube(
        canvas,
        "esophagus",
        [(0.02, 0.20, 0.30), (0.04, 0.26, 0.10), (0.10, 0.16, -0.03)],
        radius_mm=6.5,
        organ="esophagus",
    )
    for s in (-1, 1):
        paint_ellipsoid(canvas, "thyroid", (0.10 * s, -0.20, 0.30), (0.06, 0.09, 0.035), organ="thyroid")


def paint_mediastinum(canvas: Canvas, *, lifts: Mapping[int, float]) -> None:
    """Fills the chest's inside with fat, before the lungs are laid over it."""
    block = canvas.block((0.0, 0.0, 0.06), (0.85, 0.85, 0.28))
    u, v, w = canvas.at(block)
    if u.size == 0:
        return
    far = chest_inside(u, v, w, canvas=canvas)
    np.maximum(far, (dome(u, v, lifts=lifts) - w) * np.float32(canvas.unit[2] * 0.8), out=far)
    cover = cover_of(far, edge_mm=canvas.grid.edge_mm)
    target = canvas.value[block]
    target += (np.float32(canvas.palette["mediastinum"]) - target) * cover
    canvas.organs[block][cover >= 0.5] = canvas.labels["mediastinum"]
