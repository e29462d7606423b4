"""Knee: bones with cartilage, menisci, ligaments, tendons, fat pad, muscles and vessels.

Positions are in units of the condyles' width, of a right knee: +x is medial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.elementary import cosine, exp, sine
from osler.synth.facts import FindingFact, PatientFacts
from osler.synth.phantoms.canvas import Canvas, Depth, Patch
from osler.synth.phantoms.findings import paint_lesions
from osler.synth.phantoms.overlays import overlay
from osler.synth.phantoms.shapes import around, ellipsoid, even_steps, once, polyline, smooth_least
from osler.synth.phantoms.state import GRADES, Shown
from osler.synth.phantoms.tubes import tubes

PAIR = (-1.0, 1.0)
_SHAFT_Z = (0.30, 0.38, 0.45, 0.52, 0.60, 0.70, 0.85, 1.2, 2.0)
_TIBIA_Z = (0.05, 0.12, 0.20, 0.32, 0.45, 0.60, 0.80, 1.1, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Knee:
    """Lengths (mm): width of the condyles, and thickness of the fat under the skin."""

    unit: float
    fat: float

    def at(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A point given in widths of the condyles, in mm."""
        return x * self.unit, y * self.unit, z * self.unit

    def line(self, *points: tuple[float, float, float], step: float = 1.5) -> np.ndarray:
        """A smooth curve through points (units), in mm."""
        return even_steps(polyline([self.at(*p) for p in points]), step=step)[0]


def knee_of(patient: PatientFacts) -> Knee:
    """Derives the knee from the patient's anatomy."""
    a = patient.anatomy
    index = a.weight_kg / (a.height_cm / 100) ** 2
    return Knee(unit=a.knee_mm, fat=float(np.clip(0.8 * (index - 18), 3, 16)) + (3 if patient.sex == "female" else 0))


def paint_leg(canvas: Canvas, knee: Knee) -> None:
    """Paints skin, fat, muscles, vessels."""
    u, fat = knee.unit, knee.fat

    def skin(p: Patch) -> np.ndarray:
        z = p.z / np.float32(u)
        a = np.interp(z, [-1.6, -0.6, 0.0, 0.6, 1.6], [0.60, 0.62, 0.62, 0.70, 0.85]).astype(np.float32) * u + fat
        b = np.interp(z, [-1.6, -0.6, 0.0, 0.6, 1.6], [0.62, 0.62, 0.64, 0.70, 0.85]).astype(np.float32) * u + fat
        leg = (1 - np.sqrt((p.x / a) ** 2 + ((p.y - 0.06 * u) / b) ** 2)) * a
        cap = ellipsoid(knee.at(0, -0.55, 0.2), (0.42 * u + fat, 0.24 * u + 0.4 * fat, 0.50 * u))(p)
        gap = np.clip(np.float32(16) - np.abs(leg - cap), 0, None)
        return np.maximum(leg, cap) + gap * gap / 64 + 1.2 * p.wave(60)

    skin = once(skin)
    canvas.paint(skin, tissue="skin", organ="skin")
    canvas.paint(lambda p: skin(p) - np.float32(1.5), tissue="fat", organ="fat")

    def fascia(p: Patch) -> np.ndarray:
        deep = skin(p)
        sheet = 0.5 - np.abs(deep - np.float32(0.5 * fat) + 1.5 * p.wave(22, key="fascia"))
        return np.minimum(deep - 2, np.maximum(sheet, 0.3 - np.abs(p.wave(14, key="septa")) * 9))

    canvas.paint(fascia, tissue="soft", over=("fat",), strength=0.16)
    groups = (
        # vastus medialis and lateralis, biceps, semimembranosus, gastrocnemius, shin, popliteus, soleus
        ((0.36, -0.18, 0.95), (0.30, 0.26, 0.62)),
        ((-0.38, -0.22, 1.15), (0.28, 0.28, 0.68)),
        ((-0.38, 0.44, 0.85), (0.17, 0.20, 0.85)),
        ((0.36, 0.46, 0.75), (0.20, 0.19, 0.85)),
        ((0.28, 0.50, -0.45), (0.23, 0.20, 0.85)),
        ((-0.26, 0.50, -0.50), (0.22, 0.19, 0.85)),
        ((-0.34, 0.0, -1.0), (0.20, 0.26, 0.62)),
        ((0.0, 0.34, -0.55), (0.34, 0.11, 0.40)),
        ((0.0, 0.36, -1.15), (0.40, 0.22, 0.55)),
    )
    for center, half in groups:
        middle, size = knee.at(*center), knee.at(*half)
        bundle = ellipsoid(middle, size, rough=1.6, mm=22.0)
        canvas.paint(
            lambda p, f=bundle: np.minimum(f(p), skin(p) - np.float32(fat)),
            tissue="muscle",
            organ="muscle",
            bounds=around(middle, size, margin=3),
            over=("fat",),
        )
    # fat between the bundles of a muscle, in sheets that run along the leg
    canvas.paint(
        lambda p: 0.5 - np.abs(sine(0.17 * p.x + 0.21 * p.y + 3 * p.wave(60, key="planes"))) * np.float32(3.7),
        tissue="fat",
        over=("muscle",),
        strength=0.4,
    )
    for x, y, radius, tissue in (
        (-0.02, 0.50, 0.045, "blood"),
        (0.05, 0.56, 0.055, "venous-blood"),
        (-0.10, 0.60, 0.04, "soft"),
    ):
        tube = tubes(canvas)
        tube.add(
            knee.line((x + 0.08, y - 0.1, 1.2), (x, y, 0.3), (x, y - 0.04, -0.3), (x - 0.02, y - 0.06, -1.3)),
            radius * u,
        )
        tube.paint(canvas, tissue=tissue, organ="arteries" if tissue == "blood" else "veins")


def femur(knee: Knee) -> Depth:
    """Depth in the femur."""
    u = knee.unit
    condyles = [ellipsoid(knee.at(side * 0.275, 0.08, 0.265), knee.at(0.225, 0.40, 0.265), rough=0.8) for side in PAIR]
    groove = ellipsoid(knee.at(0, -0.10, 0.34), knee.at(0.46, 0.33, 0.27), rough=0.8)
    notch = ellipsoid(knee.at(0, 0.36, 0.08), knee.at(0.115, 0.42, 0.25))

    def depth(p: Patch) -> np.ndarray:
        out = np.maximum(np.maximum(condyles[0](p), condyles[1](p)), groove(p))
        z = p.z / np.float32(u)
        a = np.interp(z, _SHAFT_Z, [0.445, 0.425, 0.385, 0.33, 0.28, 0.24, 0.208, 0.18, 0.17]).astype(np.float32)
        b = np.interp(z, _SHAFT_Z, [0.285, 0.27, 0.25, 0.235, 0.22, 0.205, 0.193, 0.18, 0.17]).astype(np.float32)
        shaft = 1 - np.sqrt((p.x / (a * u)) ** 2 + ((p.y + np.float32(0.06 * u)) / (b * u)) ** 2)
        shaft = np.minimum(shaft * b * u, (z - 0.30) * u)
        gap = np.clip(np.float32(8) - np.abs(out - shaft), 0, None)
        out = np.maximum(out, shaft) + gap * gap * np.float32(1 / 32)
        # the groove in which the patella glides
        out = out - np.float32(0.020 * u) * (
            exp(-np.square(p.x / np.float32(0.12 * u)))
            * exp(-np.square((p.y / np.float32(u) + 0.42) / 0.16))
            * exp(-np.square((z - 0.28) / 0.26))
        )
        return smooth_least(out, -notch(p), mm=5.0)

    return depth


def tibia(knee: Knee) -> Depth:
    """Depth in the tibia."""
    u = knee.unit
    tuberosity = ellipsoid(knee.at(-0.03, -0.24, -0.40), knee.at(0.13, 0.13, 0.20), rough=0.5)

    def depth(p: Patch) -> np.ndarray:
        z = p.z / np.float32(u)
        a = np.interp(-z, _TIBIA_Z, [0.50, 0.502, 0.475, 0.405, 0.34, 0.275, 0.222, 0.19, 0.17]).astype(np.float32) * u
        b = np.interp(-z, _TIBIA_Z, [0.335, 0.342, 0.33, 0.31, 0.287, 0.26, 0.23, 0.205, 0.18]).astype(np.float32) * u
        y = (p.y - np.float32(0.05 * u) + np.clip(-z - 0.1, 0, 0.5) * np.float32(0.15 * u)) / b
        wall = (1 - np.sqrt(np.sqrt(((p.x / a) ** 2) ** 2 + (y**2) ** 2))) * b
        x = p.x / np.float32(u)
        dish = (
            -0.058
            - 0.012 * exp(-(((np.abs(x) - 0.27) / 0.14) ** 2))
            + 0.05 * exp(-(((np.abs(x) - 0.05) / 0.045) ** 2)) * exp(-((p.y / np.float32(0.16 * u)) ** 2))
        )
        wall = -smooth_least(-wall, -tuberosity(p), mm=8.0)
        return smooth_least(wall, (dish - z) * np.float32(u), mm=7.0) + np.float32(0.5) * p.wave(22)

    return depth


def patella(knee: Knee) -> Depth:
    """Depth in the patella: round in front, two facets that meet in a ridge behind, a blunt tip below."""
    u = knee.unit
    body = ellipsoid(knee.at(0, -0.585, 0.25), knee.at(0.265, 0.145, 0.27), rough=0.6)

    def depth(p: Patch) -> np.ndarray:
        low = np.clip(np.float32(0.22) - p.z / np.float32(u), 0, 1)
        facets = np.float32(-0.465 * u) - np.float32(0.30) * np.abs(p.x + np.float32(0.03 * u)) - p.y
        sides = (np.float32(0.27 * u) - np.abs(p.x) - np.float32(0.55 * u) * low) * np.float32(0.85)
        return smooth_least(smooth_least(body(p), facets, mm=4.0), sides, mm=6.0)

    return depth


def paint_joint(canvas: Canvas, knee: Knee, *, state: Shown) -> None:
    """Paints bones, cartilage, menisci, ligaments and the joint's space."""
    u = knee.unit
    water = state.grade("joint-effusion")
    at = knee.at
    pad = at(0, -0.44, -0.04)
    canvas.paint(
        ellipsoid(pad, at(0.30, 0.17, 0.24), rough=1.5),
        tissue="fat-pad",
        organ="fat-pad",
        bounds=around(pad, at(0.30, 0.17, 0.24), margin=3),
    )
    capsule = at(0, 0.04, 0.03)
    canvas.paint(
        ellipsoid(capsule, at(0.535, 0.46, 0.20), rough=1.0),
        tissue="soft",
        organ="joint-space",
        bounds=around(capsule, at(0.54, 0.46, 0.2), margin=3),
        over=("fat", "muscle"),
    )
    fluid = at(0, 0.03, -0.015)
    canvas.paint(
        ellipsoid(fluid, at(0.50, 0.40, 0.045 + 0.02 * water)),
        tissue="effusion",
        organ="joint-space",
        bounds=around(fluid, at(0.5, 0.4, 0.12)),
        over=("joint-space",),
        strength=0.25 + 0.22 * water,
    )
    pouch = at(0, -0.40, 0.52)
    size = at(0.20 + 0.06 * water, 0.018 + 0.042 * water, 0.20 + 0.05 * water)
    canvas.paint(
        ellipsoid(pouch, size, rough=1.0, mm=22.0),
        tissue="effusion",
        organ="joint-space",
        bounds=around(pouch, size, margin=3),
    )
    thin = 1 - 0.2 * state.grade("cartilage-loss", "chondromalacia-patellae") * 0.5
    _bones(canvas, knee, cartilage=0.032 * u * thin, spurs=state.grade("osteophytes"))
    _menisci(canvas, knee)
    _ligaments(canvas, knee)


def _bones(canvas: Canvas, knee: Knee, *, cartilage: float, spurs: float) -> None:
    u, at = knee.unit, knee.at
    box = ((-0.6 * u, 0.6 * u), (-0.75 * u, 0.62 * u), (-3 * u, 3 * u))
    upper, lower, cap = once(femur(knee)), once(tibia(knee)), once(patella(knee))
    joint = ((box[0]), box[1], (-0.15 * u, 0.62 * u))
    soft = ("joint-space", "fat", "fat-pad", "muscle")
    canvas.paint(
        lambda p: np.minimum(upper(p) + np.float32(cartilage), (0.42 - 0.42 * np.clip(p.y / u + 0.1, 0, 1)) * u - p.z),
        tissue="cartilage",
        organ="cartilage",
        bounds=joint,
        over=soft,
    )
    canvas.paint(
        lambda p: np.minimum(
            np.minimum(lower(p) + np.float32(cartilage), p.z + 0.10 * u),
            0.36 * u - np.abs(np.abs(p.x) - 0.14 * u) + 0 * p.y,
        ),
        tissue="cartilage",
        organ="cartilage",
        bounds=joint,
        over=soft,
    )
    canvas.paint(
        lambda p: np.minimum(cap(p) + np.float32(1.1 * cartilage), p.y + 0.56 * u),
        tissue="cartilage",
        organ="cartilage",
        bounds=around(at(0, -0.585, 0.25), at(0.27, 0.13, 0.27), margin=4),
        over=soft,
    )
    fibula = tubes(canvas)
    shaft = knee.line((-0.42, 0.27, -0.27), (-0.43, 0.28, -0.42), (-0.41, 0.26, -0.7), (-0.38, 0.25, -2.0))
    fibula.add(shaft, np.interp(np.linspace(0, 1, len(shaft)), [0, 0.1, 0.25, 1], [0.10, 0.115, 0.075, 0.07]) * u)
    for shape, organ, bounds in (
        (upper, "femur", box),
        (lower, "tibia", box),
        (cap, "patella", around(at(0, -0.585, 0.25), at(0.27, 0.13, 0.27), margin=2)),
    ):
        canvas.paint(shape, tissue="cortex", organ=organ, bounds=bounds)
        wall = (
            (lambda p: 1.3 + 3.2 * np.clip((np.abs(p.z) / np.float32(u) - 0.55) * 2, 0, 1))
            if organ != "patella"
            else (lambda p: 1.2)
        )
        canvas.paint(
            lambda p, f=shape, g=wall: f(p) - g(p),
            tissue=lambda p: np.float32(canvas.palette["marrow"]) * (1 + 0.12 * p.wave(6, key="trabeculae")),
            organ=organ,
            bounds=bounds,
        )
    (
        fibula.paint(canvas, tissue="cortex", organ="fibula"),
        fibula.paint(canvas, tissue="marrow", organ="fibula", shift=-1.6),
    )
    if spurs:
        lips = tubes(canvas)
        lips.add(
            np.array([at(side * 0.51, y, z) for side in PAIR for y in (-0.12, 0.1, 0.25) for z in (0.09, -0.085)]),
            (0.022 + 0.014 * spurs) * u,
        )
        lips.paint(canvas, tissue="cortex", organ=None), lips.paint(canvas, tissue="marrow", organ="femur", shift=-1.2)


def _menisci(canvas: Canvas, knee: Knee) -> None:
    u = knee.unit
    soft = ("joint-space", "fat", "fat-pad", "cartilage", "muscle")
    tube = tubes(canvas)
    for side, gap in ((1.0, 0.75), (-1.0, 0.45)):
        angle = np.linspace(gap, 2 * np.pi - gap, 90)
        ring = (
            np.stack(
                [side * (0.265 - 0.205 * cosine(angle)), 0.055 + 0.255 * sine(angle), np.full_like(angle, -0.022)],
                axis=1,
            )
            * u
        )
        tube.add(ring, (0.062 + 0.02 * (sine(angle) > 0.3)) * u, squash=(1, 1, 1.35))
    tube.paint(canvas, tissue="meniscus", organ="menisci", over=soft)


def _ligaments(canvas: Canvas, knee: Knee) -> None:
    u = knee.unit
    soft = ("joint-space", "fat", "fat-pad", "muscle", "cartilage", "menisci", "skin")
    parts = (
        (((-0.09, 0.22, 0.24), (-0.03, 0.04, 0.07), (0.03, -0.13, -0.05)), 0.045, (1.0, 1.0, 1.0)),
        (((0.09, -0.02, 0.16), (0.04, 0.13, 0.06), (0.01, 0.30, -0.06), (0.0, 0.34, -0.14)), 0.045, (1.0, 1.0, 1.0)),
        (((0.50, 0.0, 0.24), (0.53, 0.02, 0.0), (0.46, 0.0, -0.36)), 0.10, (3.6, 1.0, 1.0)),
        (((-0.50, 0.08, 0.20), (-0.53, 0.14, 0.02), (-0.46, 0.26, -0.26)), 0.035, (1.0, 1.0, 1.0)),
        (((0.0, -0.60, 0.03), (0.0, -0.53, -0.10), (0.0, -0.43, -0.34)), 0.13, (1.0, 3.4, 1.0)),
        (((0.0, -0.57, 0.46), (0.0, -0.47, 0.60), (0.0, -0.36, 0.95)), 0.14, (1.0, 3.0, 1.0)),
        (((-0.34, 0.42, 0.6), (-0.42, 0.40, 0.1), (-0.43, 0.28, -0.25)), 0.04, (1.0, 1.0, 1.0)),
    )
    tube = tubes(canvas)
    for points, radius, squash in parts:
        tube.add(knee.line(*points), radius * u, squash=squash)
    tube.paint(canvas, tissue="ligament", organ="ligaments", over=soft)


def paint_knee_findings(canvas: Canvas, knee: Knee, *, state: Shown) -> dict[int, str]:
    """Paints the findings of a knee; returns number to key of what was drawn."""
    drawn: dict[int, str] = {}
    for fact in state.findings:
        if fact.key in _DIFFUSE:
            _DIFFUSE[fact.key](canvas, knee, fact)
            drawn[fact.lesion] = fact.key
    return drawn | paint_lesions(canvas, state=state)


def _effusion(canvas: Canvas, knee: Knee, fact: FindingFact) -> None:
    grade = GRADES[fact.severity]
    half = knee.at(0.20 + 0.06 * grade, 0.018 + 0.042 * grade, 0.20 + 0.05 * grade)
    overlay(
        canvas,
        fact,
        ellipsoid(knee.at(0, -0.40, 0.52), half, rough=1.0, mm=22.0),
        tissue="effusion",
        bounds=around(knee.at(0, -0.40, 0.52), half, margin=3),
        over=("joint-space",),
    )


def _synovitis(canvas: Canvas, knee: Knee, fact: FindingFact) -> None:
    half = knee.at(0.26, 0.07, 0.24)
    pouch = ellipsoid(knee.at(0, -0.40, 0.50), half)
    overlay(
        canvas,
        fact,
        lambda p: np.minimum(pouch(p), (p.wave(6, key="synovium") - 0.2) * 4),
        tissue="edema",
        bounds=around(knee.at(0, -0.40, 0.50), half),
        over=("joint-space", "fat", "fat-pad"),
        strength=0.3 + 0.2 * GRADES[fact.severity],
    )


def _prepatellar(canvas: Canvas, knee: Knee, fact: FindingFact) -> None:
    half = knee.at(0.30, 0.03 + 0.02 * GRADES[fact.severity], 0.32)
    center = knee.at(0, -0.745, 0.20)
    overlay(
        canvas,
        fact,
        ellipsoid(center, half, rough=2.0, mm=14.0),
        tissue="edema",
        bounds=around(center, half, margin=3),
        over=("fat", "ligaments"),
        strength=0.7,
    )


def _spurs(canvas: Canvas, knee: Knee, fact: FindingFact) -> None:
    size = (0.022 + 0.014 * GRADES[fact.severity]) * knee.unit
    for side in PAIR:
        for y in (-0.12, 0.1, 0.25):
            for z in (0.09, -0.085):
                center = knee.at(side * 0.51, y, z)
                overlay(
                    canvas,
                    fact,
                    ellipsoid(center, (size,) * 3),
                    tissue="marrow",
                    bounds=around(center, (size,) * 3),
                    over=("femur", "tibia", "cartilage", "joint-space", "fat", "menisci"),
                    strength=0.0,
                )


_DIFFUSE = {
    "joint-effusion": _effusion,
    "synovitis": _synovitis,
    "prepatellar-edema": _prepatellar,
    "osteophytes": _spurs,
}
