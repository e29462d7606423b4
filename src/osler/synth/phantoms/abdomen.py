"""Organs under the diaphragm, in the unit coordinates of the trunk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from osler.synth.phantoms.canvas import Canvas, cover_of, smooth_field
from osler.synth.phantoms.shapes import ellipsoid, paint_ellipsoid, paint_tube
from osler.synth.phantoms.thorax import dome

LIVER_RIGHT = ((-0.40, 0.00, -0.085), (0.385, 0.62, 0.125))
LIVER_LEFT = ((0.04, -0.34, -0.060), (0.36, 0.30, 0.062))
SPLEEN = ((0.60, 0.38, -0.065), (0.17, 0.28, 0.085))
KIDNEYS = {-1: (-0.42, 0.40, -0.22), 1: (0.42, 0.40, -0.20)}
KIDNEY_HALF = (0.185, 0.255, 0.100)
STOMACH = ((0.31, -0.26, -0.070), (0.235, 0.30, 0.078))
BLADDER = ((0.0, -0.32, -0.625), (0.24, 0.28, 0.058))


def paint_cavity(canvas: Canvas, *, radius: np.ndarray, fat: float, lifts: Mapping[int, float]) -> None:
    """Fills the belly inside the muscle wall with fat."""
    block = canvas.block((0.0, 0.0, -0.36), (1.05, 1.05, 0.40))
    u, v, w = canvas.at(block)
    if u.size == 0:
        return
    mm = np.float32(min(canvas.unit[0], canvas.unit[1]))
    far = (radius[block] - np.float32(1 - fat - 0.095)) * mm
    far += np.clip((np.float32(-0.42) - w) * np.float32(230.0), 0, 48)
    back = (v - np.float32(0.66 - 0.25 * 1.0) - np.float32(0.5) * (u * u)) * np.float32(canvas.unit[1])
    far = np.maximum(far, back)
    far = np.maximum(far, (w - dome(u, v, lifts=lifts) - np.float32(0.004)) * np.float32(canvas.unit[2]))
    far = np.maximum(far, (np.float32(-0.70) - w) * np.float32(canvas.unit[2]))
    cover = cover_of(far, edge_mm=canvas.grid.edge_mm)
    target = canvas.value[block]
    target += (np.float32(canvas.palette["fat"]) - target) * cover
    inside = cover >= 0.5
    canvas.organs[block][inside] = canvas.labels["fat"]


def paint_muscles(canvas: Canvas) -> None:
    """Paints psoas, the muscles of the back and the buttocks."""
    for s in (-1, 1):
        points = [(0.15 * s, 0.42, -0.14), (0.24 * s, 0.36, -0.30), (0.36 * s, 0.16, -0.46), (0.46 * s, -0.10, -0.60)]
        paint_tube(canvas, "muscle", points, radius_mm=[10, 19, 21, 15], organ="psoas")


def paint_liver(canvas: Canvas, *, size: float, lifts: Mapping[int, float], seed: int) -> None:
    """Paints the liver under the right dome, its veins and the gallbladder."""
    center = (-0.20, -0.10, -0.08)
    block = canvas.block(center, (0.62, 0.75, 0.15))
    u, v, w = canvas.at(block)
    if u.size == 0:
        return
    right = ellipsoid(LIVER_RIGHT[0], tuple(h * size for h in LIVER_RIGHT[1]), unit=canvas.unit, power=2.4)(u, v, w)  # type: ignore[arg-type]
    left = ellipsoid(LIVER_LEFT[0], tuple(h * size for h in LIVER_LEFT[1]), unit=canvas.unit)(u, v, w)  # type: ignore[arg-type]
    blend = np.clip(np.float32(0.5) + (left - right) / np.float32(2 * 14.0), 0, 1)
    far = left * (1 - blend) + right * blend - np.float32(14.0) * blend * (1 - blend)
    far = np.maximum(far, (w - dome(u, v, lifts=lifts) + np.float32(0.004)) * np.float32(canvas.unit[2]))
    patches = smooth_field(canvas.grid, seed=seed, period_mm=300.0, modes=(2, 14), reach_mm=26.0)[block]
    canvas.paint("liver", far, block, organ="liver", texture=patches * np.float32(2.5))
    veins = (
        [(-0.12, 0.16, -0.025), (-0.30, 0.05, -0.05), (-0.52, -0.02, -0.10)],
        [(-0.12, 0.14, -0.025), (-0.20, -0.20, -0.05), (-0.24, -0.40, -0.10)],
        [(-0.11, 0.14, -0.025), (0.04, -0.16, -0.045), (0.18, -0.34, -0.06)],
        [(-0.14, -0.02, -0.14), (-0.22, -0.02, -0.115), (-0.40, 0.02, -0.10), (-0.56, 0.12, -0.13)],
        [(-0.22, -0.02, -0.115), (-0.02, -0.30, -0.09)],
        [(-0.40, 0.02, -0.10), (-0.46, -0.28, -0.12)],
    )
    for points in veins:
        paint_tube(canvas, "blood", points, radius_mm=[5.0, 3.8, 2.4, 1.8][: len(points)], organ="liver")
    gallbladder = [(-0.28, -0.36, -0.130), (-0.31, -0.46, -0.152)]
    paint_tube(canvas, "muscle", gallbladder, radius_mm=[9.5, 13.5])
    paint_tube(canvas, "bile", gallbladder, radius_mm=[8.0, 12.0], organ="gallbladder")


def paint_upper_organs(canvas: Canvas, *, spleen: float) -> None:
    """Paints spleen, pancreas, adrenals, stomach with gas above fluid (the patient lies on the back)."""
    center = SPLEEN[0]
    half = (SPLEEN[1][0] * spleen**0.5, SPLEEN[1][1] * spleen**0.5, SPLEEN[1][2] * spleen)
    block = canvas.block(center, half)
    if canvas.value[block].size:
        u, v, w = canvas.at(block)
        far = ellipsoid(center, half, unit=canvas.unit, turn_deg=35)(u, v, w)
        far = np.maximum(far, -ellipsoid((0.36, 0.20, -0.08), (0.16, 0.30, 0.12), unit=canvas.unit)(u, v, w))
        canvas.paint("spleen", far, block, organ="spleen")
    pancreas = [
        (-0.14, -0.10, -0.175),
        (-0.13, -0.08, -0.145),
        (0.05, -0.14, -0.128),
        (0.22, 0.0, -0.118),
        (0.36, 0.14, -0.104),
    ]
    paint_tube(canvas, "pancreas", pancreas, radius_mm=[13, 14, 10, 10, 8], organ="pancreas")
    paint_tube(
        canvas, "blood", [(-0.12, 0.0, -0.145), (0.10, 0.02, -0.125), (0.46, 0.28, -0.085)], radius_mm=[6, 4.5, 4]
    )
    for s in (-1, 1):
        for tip in ((0.22 * s + 0.015, 0.37, -0.125), (0.25 * s + 0.03 * s, 0.36, -0.13)):
            paint_tube(canvas, "adrenal", [(0.23 * s, 0.28, -0.105), tip], radius_mm=[3.2, 2.2], organ="adrenals")
    center, half = STOMACH
    block = canvas.block(center, half)
    if canvas.value[block].size:
        u, v, w = canvas.at(block)
        far = ellipsoid(center, half, unit=canvas.unit, turn_deg=20)(u, v, w)
        canvas.paint("stomach-wall", far, block, organ="stomach")
        inside = far + np.float32(4.0)
        canvas.paint("stomach-fluid", inside, block, organ="stomach")
        gas = np.maximum(inside, (v - np.float32(-0.36)) * np.float32(canvas.unit[1]))
        canvas.paint("gas", gas, block, organ="stomach")


def paint_kidneys(canvas: Canvas, *, sizes: Mapping[int, float], dilated: Mapping[int, float]) -> None:
    """Paints kidneys: cortex, pyramids, fat of the sinus and pelvis; ``dilated`` (mm) widens a pelvis by side."""
    for side, organ in ((-1, "right-kidney"), (1, "left-kidney")):
        center = KIDNEYS[side]
        half = tuple(h * sizes.get(side, 1.0) for h in KIDNEY_HALF)
        block = canvas.block(center, (half[0] * 1.3, half[1] * 1.3, half[2]))
        if canvas.value[block].size == 0:
            continue
        u, v, w = canvas.at(block)
        far = ellipsoid(center, (half[0], half[1], half[2]), unit=canvas.unit, turn_deg=30 * side)(u, v, w)
        notch_at = (center[0] - side * half[0] * 1.12, center[1] - half[1] * 0.45, center[2])
        notch = ellipsoid(notch_at, (half[0] * 0.62, half[1] * 0.7, half[2] * 0.34), unit=canvas.unit)(u, v, w)
        bean = np.maximum(far, -notch)
        canvas.paint("kidney", bean, block, organ=organ)
        z = (w - np.float32(center[2])) * np.float32(canvas.unit[2])
        angle = np.arctan2(v - np.float32(center[1]), u - np.float32(center[0]))
        wave = np.float32(2.6) * np.sin(z * np.float32(0.42)) * np.cos(angle * np.float32(4))
        canvas.paint("medulla", np.maximum(bean + np.float32(8.0), wave), block, organ=organ)
        sinus = ellipsoid(
            (center[0] - side * half[0] * 0.25, center[1] - half[1] * 0.1, center[2]),
            (half[0] * 0.45, half[1] * 0.42, half[2] * 0.58),
            unit=canvas.unit,
        )(u, v, w)
        canvas.paint("fat", sinus, block, organ=organ)
        canvas.paint("urine", sinus + np.float32(5.5 - dilated.get(side, 0.0)), block, organ=organ)
        vessel = [(0.05, 0.26, center[2]), (center[0] - side * half[0] * 0.4, center[1] - 0.04, center[2])]
        paint_tube(canvas, "blood", vessel, radius_mm=[3.2, 2.6])


def paint_bowel(canvas: Canvas, *, seed: int) -> None:
    """Paints the colon's frame with gas and stool, and loops of small bowel."""
    colon = [
        (-0.55, -0.10, -0.46), (-0.62, 0.02, -0.36), (-0.62, 0.06, -0.24), (-0.52, -0.22, -0.19), (-0.20, -0.56, -0.22),
        (0.15, -0.58, -0.22), (0.48, -0.36, -0.16), (0.63, 0.10, -0.15), (0.63, 0.12, -0.30), (0.56, 0.10, -0.44),
        (0.36, 0.02, -0.53), (0.18, -0.12, -0.51), (0.06, 0.22, -0.55), (0.00, 0.42, -0.60), (0.00, 0.40, -0.68),
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    width = rng.uniform(13, 21, len(colon))
    width[-3:] = (13, 15, 12)
    paint_tube(canvas, "bowel-wall", colon, radius_mm=list(width + 2.0), organ="colon")
    for i in range(len(colon) - 1):
        filled = "gas" if 3 <= i <= 5 or rng.random() < 0.25 else "stool"
        radii = [max(width[i] - 0.5, 4.0), max(width[i + 1] - 0.5, 4.0)]
        if i >= 11:
            radii = [r * 0.45 for r in radii]
        paint_tube(canvas, filled, colon[i : i + 2], radius_mm=radii, organ="colon")
    block = canvas.block((0.0, -0.30, -0.385), (0.50, 0.40, 0.135))
    if canvas.value[block].size == 0:
        return
    u, v, w = canvas.at(block)
    field = smooth_field(canvas.grid, seed=seed + 7, period_mm=300.0, modes=(6, 22), reach_mm=34.0)[block]
    room = ellipsoid((0.0, -0.28, -0.385), (0.50, 0.40, 0.135), unit=canvas.unit, power=3)(u, v, w)
    free = np.isin(canvas.organs[block], [canvas.labels["fat"]])
    loops = np.maximum(np.abs(field) * np.float32(-9.0) + np.float32(2.2), room)
    loops[~free] = 20.0
    canvas.paint("bowel-wall", loops, block, organ="small-bowel")
    inner = np.maximum(np.abs(field) * np.float32(-9.0) + np.float32(5.2), room + np.float32(3))
    inner[~free] = 20.0
    canvas.paint("bowel", inner, block, organ="small-bowel")


def paint_pelvic_organs(canvas: Canvas, *, sex: str, prostate: float) -> None:
    """Paints the bladder and the organs of the sex."""
    center, half = BLADDER
    paint_ellipsoid(canvas, "muscle", center, (half[0] + 0.02, half[1] + 0.03, half[2] + 0.005))
    paint_ellipsoid(canvas, "urine", center, half, organ="bladder")
    if sex == "male":
        paint_ellipsoid(
            canvas,
            "prostate",
            (0.0, 0.0, -0.665),
            (0.15 * prostate, 0.20 * prostate, 0.034 * prostate),
            organ="prostate",
        )
        for s in (-1, 1):
            paint_tube(canvas, "prostate", [(0.03 * s, 0.14, -0.625), (0.22 * s, 0.12, -0.61)], radius_mm=[5, 4])
        return
    paint_ellipsoid(canvas, "uterus", (0.0, 0.02, -0.585), (0.17, 0.24, 0.042), organ="uterus", turn_deg=8)
    for s in (-1, 1):
        paint_ellipsoid(canvas, "ovary", (0.27 * s, 0.02, -0.57), (0.085, 0.12, 0.024), organ="ovaries")
