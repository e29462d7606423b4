"""The knee: femur, tibia, fibula, patella, cartilage, menisci, ligaments, joint fluid.

Unit: the width of the condyles. A right knee, +x toward the middle of the body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Point, Surface
from osler.synth.phantoms.shapes import ellipsoid, paint_tube, tube

_GRADE = {"none": 1, "mild": 0, "moderate": 1, "severe": 2}


def _femur(canvas: Canvas) -> Surface:
    unit = canvas.unit
    parts = [
        ellipsoid((0.27, 0.04, 0.27), (0.235, 0.36, 0.27), unit=unit),
        ellipsoid((-0.27, 0.04, 0.27), (0.235, 0.38, 0.27), unit=unit),
        ellipsoid((0.0, -0.08, 0.36), (0.42, 0.30, 0.26), unit=unit),
        tube([(0.0, -0.04, 0.38), (0.0, -0.10, 0.75), (0.0, -0.12, 1.4)], radius_mm=[26, 17, 14], unit=unit),
    ]
    notch = ellipsoid((0.0, 0.30, 0.12), (0.12, 0.34, 0.24), unit=unit)

    def far(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        best = parts[0](u, v, w)
        for part in parts[1:]:
            np.minimum(best, part(u, v, w), out=best)
        return np.maximum(best, -notch(u, v, w))

    return far


def _tibia(canvas: Canvas) -> Surface:
    unit = canvas.unit
    parts = [
        ellipsoid((0.24, 0.04, -0.20), (0.255, 0.30, 0.165), unit=unit, power=3),
        ellipsoid((-0.24, 0.04, -0.20), (0.255, 0.29, 0.165), unit=unit, power=3),
        ellipsoid((0.0, 0.02, -0.08), (0.09, 0.12, 0.08), unit=unit),
        tube([(0.0, 0.0, -0.22), (0.02, 0.0, -0.55), (0.03, 0.0, -1.4)], radius_mm=[28, 18, 13], unit=unit),
        tube([(0.0, -0.20, -0.28), (0.0, -0.28, -0.46)], radius_mm=[10, 8], unit=unit),
    ]

    def far(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        best = parts[0](u, v, w)
        for part in parts[1:]:
            np.minimum(best, part(u, v, w), out=best)
        return best

    return far


def _bone(
    canvas: Canvas, surface: Surface, block: tuple[slice, slice, slice], *, organ: str, cartilage_mm: float
) -> None:
    far = surface(*canvas.at(block))
    if far.size == 0:
        return
    w = canvas.at(block)[2]
    if cartilage_mm > 0:
        joint = (w < 0.50) if organ == "femur" else (w > -0.16) if organ == "tibia" else np.ones_like(far, dtype=bool)
        gap = np.where(joint, far - np.float32(cartilage_mm), np.float32(50.0))
        canvas.paint("cartilage", gap, block, organ="cartilage")
    canvas.paint("cortex", far, block, organ=organ)
    canvas.paint("marrow", far + np.float32(1.4), block, organ=organ)


def paint_knee(canvas: Canvas, *, findings: list[FindingFact]) -> None:
    """Paints the whole knee and the findings of `STATES`."""
    unit = canvas.unit
    whole = canvas.whole()
    limb = tube(
        [(0.0, 0.10, 1.5), (0.0, 0.06, 0.5), (0.0, 0.02, -0.1), (0.0, 0.12, -1.5)],
        radius_mm=[72, 62, 57, 53],
        unit=unit,
    )
    skin = limb(*canvas.units)
    canvas.paint("skin", skin, whole, organ="body")
    canvas.paint("fat", skin + np.float32(1.8), whole, organ="fat")
    muscles: list[tuple[list[Point], list[float]]] = [
        ([(0.42, 0.30, 1.3), (0.36, 0.42, 0.3), (0.28, 0.36, -0.2)], [18, 14, 5]),
        ([(-0.45, 0.30, 1.3), (-0.46, 0.36, 0.3), (-0.48, 0.24, -0.25)], [16, 12, 4]),
        ([(0.24, 0.50, 0.45), (0.22, 0.52, -0.2), (0.22, 0.50, -1.3)], [10, 15, 22]),
        ([(-0.22, 0.50, 0.45), (-0.22, 0.52, -0.2), (-0.22, 0.48, -1.3)], [10, 15, 21]),
        ([(0.40, -0.25, 1.4), (0.36, -0.24, 0.6)], [22, 6]),
        ([(-0.36, -0.25, 1.4), (-0.34, -0.24, 0.8)], [20, 5]),
        ([(0.0, -0.40, 1.4), (0.0, -0.42, 0.85)], [18, 6]),
        ([(-0.30, -0.10, -0.4), (-0.32, -0.06, -1.4)], [8, 17]),
        ([(0.05, 0.28, -0.25), (0.05, 0.28, -1.4)], [8, 16]),
    ]
    for points, radii in muscles:
        paint_tube(canvas, "muscle", points, radius_mm=radii, organ="muscle")
    paint_tube(canvas, "vessel", [(0.04, 0.46, 1.0), (0.0, 0.46, 0.0), (0.02, 0.42, -1.0)], radius_mm=3.4)
    fluid = _fluid_mm(findings)
    paint_tube(
        canvas,
        "joint-fluid",
        [(0.0, -0.34, 0.34), (0.0, -0.40, 0.62)],
        radius_mm=[5.0 + fluid, 2.0 + fluid],
        organ="joint-space",
    )
    for s in (-1, 1):
        side: list[Point] = [(0.46 * s, -0.18, 0.30), (0.40 * s, -0.34, 0.34)]
        paint_tube(canvas, "joint-fluid", side, radius_mm=[1.0 + fluid * 0.8, 1.5 + fluid * 0.8], organ="joint-space")
    joint = ellipsoid((0.0, 0.05, 0.02), (0.50, 0.40, 0.07), unit=unit, power=3)
    canvas.paint("joint-fluid", joint, canvas.block((0.0, 0.05, 0.02), (0.5, 0.4, 0.08)), organ="joint-space")
    _bone(canvas, _femur(canvas), canvas.block((0.0, 0.0, 0.60), (0.60, 0.50, 0.90)), organ="femur", cartilage_mm=2.4)
    _bone(canvas, _tibia(canvas), canvas.block((0.0, 0.0, -0.60), (0.60, 0.45, 0.85)), organ="tibia", cartilage_mm=2.0)
    fibula = tube([(-0.44, 0.22, -0.34), (-0.42, 0.22, -0.52), (-0.36, 0.18, -1.4)], radius_mm=[9, 6, 6], unit=unit)
    _bone(canvas, fibula, canvas.block((-0.4, 0.2, -0.8), (0.16, 0.18, 0.7)), organ="fibula", cartilage_mm=0.0)
    patella = ellipsoid((0.0, -0.56, 0.30), (0.25, 0.125, 0.235), unit=unit)
    _bone(canvas, patella, canvas.block((0.0, -0.56, 0.30), (0.3, 0.2, 0.3)), organ="patella", cartilage_mm=2.0)
    _menisci(canvas)
    _ligaments(canvas)
    for finding in findings:
        if finding.key in STATES:
            STATES[finding.key](canvas, finding)


def _fluid_mm(findings: list[FindingFact]) -> float:
    for finding in findings:
        if finding.key == "joint-effusion":
            return (3.0, 6.5, 11.0)[_GRADE[finding.severity]]
    return 0.0


def _menisci(canvas: Canvas) -> None:
    """Paints two C-shaped wedges, thick at the rim."""
    for s in (-1, 1):
        center: Point = (0.27 * s, 0.06, -0.005)
        block = canvas.block(center, (0.30, 0.34, 0.10))
        u, v, w = canvas.at(block)
        if u.size == 0:
            continue
        x, y = (u - center[0]) * np.float32(canvas.unit[0]), (v - center[1]) * np.float32(canvas.unit[1] * 0.82)
        z = (w - center[2]) * np.float32(canvas.unit[2])
        ring = np.sqrt(x * x + y * y)
        outer = np.float32(0.262 * canvas.unit[0])
        width = np.float32(11.0)
        inward = (outer - ring) / width  # 0 at the rim, 1 at the free edge
        height = np.float32(3.6) * (np.float32(1.0) - inward)
        far = np.maximum(np.maximum(-inward, inward - 1) * width, np.abs(z) - height)
        middle = (np.float32(7.0) - np.float32(s) * x - np.float32(0.0)) * 1.0
        opening = np.where(np.abs(y) < 8.0, -middle - np.float32(outer * 0.2), np.float32(-50.0))
        canvas.paint("meniscus", np.maximum(far, opening), block, organ="menisci")


def _ligaments(canvas: Canvas) -> None:
    cords: list[tuple[list[Point], float]] = [
        ([(-0.10, 0.22, 0.24), (-0.02, 0.0, 0.04), (0.04, -0.14, -0.09)], 4.2),
        ([(0.10, 0.06, 0.20), (0.04, 0.26, 0.06), (0.0, 0.32, -0.10)], 5.2),
        ([(0.52, 0.02, 0.30), (0.525, 0.02, 0.0), (0.46, 0.0, -0.42)], 2.4),
        ([(-0.52, 0.06, 0.28), (-0.53, 0.14, 0.0), (-0.46, 0.22, -0.32)], 2.6),
        ([(0.0, -0.57, 0.08), (0.0, -0.50, -0.20), (0.0, -0.32, -0.42)], 4.0),
        ([(0.0, -0.56, 0.50), (0.0, -0.46, 0.80), (0.0, -0.42, 1.2)], 4.5),
    ]
    for points, radius in cords:
        paint_tube(canvas, "ligament", points, radius_mm=radius, organ="ligaments")


def _effusion(canvas: Canvas, finding: FindingFact) -> None:
    v, w = canvas.units[1], canvas.units[2]
    mask = (canvas.organs == canvas.labels["joint-space"]) & (v < -0.1) & (w > 0.1)
    canvas.lesions[mask & (canvas.lesions == 0)] = finding.lesion


def _prepatellar(canvas: Canvas, finding: FindingFact) -> None:
    center: Point = (0.0, -0.74, 0.25)
    half = (0.28, 0.04 + 0.02 * _GRADE[finding.severity], 0.30)
    block = canvas.block(center, half)
    cover = canvas.paint("edema", ellipsoid(center, half, unit=canvas.unit), block)
    if cover is not None:
        mask = cover >= 0.5
        canvas.lesions[block][mask & (canvas.lesions[block] == 0)] = finding.lesion


def _osteophytes(canvas: Canvas, finding: FindingFact) -> None:
    size = (2.5, 4.0, 6.0)[_GRADE[finding.severity]]
    for s in (-1, 1):
        for w in (0.13, -0.08):
            at: list[Point] = [(0.49 * s, 0.04, w), (0.49 * s + s * size / canvas.unit[0], 0.04, w)]
            paint_tube(canvas, "marrow", at, radius_mm=[size, size * 0.6], organ="femur" if w > 0 else "tibia")
            low = ((at[0][0] + at[1][0]) / 2, 0.04, w)
            half = (size / canvas.unit[0], size / canvas.unit[1], size / canvas.unit[2])
            block = canvas.block(low, half)
            mask = ellipsoid(low, half, unit=canvas.unit)(*canvas.at(block)) < 0
            canvas.lesions[block][mask] = finding.lesion


STATES: Mapping[str, Callable[[Canvas, FindingFact], None]] = {
    "joint-effusion": _effusion,
    "prepatellar-edema": _prepatellar,
    "osteophytes": _osteophytes,
}
"""Findings of the joint as a whole."""
