"""Assembles chest, belly and pelvis on a canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.facts import PatientFacts
from osler.synth.phantoms.abdomen import (
    paint_bowel,
    paint_cavity,
    paint_kidneys,
    paint_liver,
    paint_muscles,
    paint_pelvic_organs,
    paint_upper_organs,
)
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.shapes import paint_ellipsoid
from osler.synth.phantoms.skeleton import paint_pelvis, paint_ribs, paint_shoulders, paint_spine, paint_sternum
from osler.synth.phantoms.thorax import (
    paint_airways,
    paint_heart,
    paint_lungs,
    paint_mediastinum,
    paint_vessels,
    paint_wall,
    trunk_radius,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkShape:
    """What findings change about whole organs.

    Args:
        heart: Size of the heart, 1 is normal. aorta_mm: Diameter of the aorta's lumen.
        liver: Size of the liver. spleen: Of the spleen. prostate: Of the prostate.
        shrunken: Size of a kidney by side, -1 right, +1 left.
        dilated: Widening of a renal pelvis (mm) by side.
        lifts: Rise of a dome of the diaphragm (units) by side.
    """

    heart: float = 1.0
    aorta_mm: float = 26.0
    liver: float = 1.0
    spleen: float = 1.0
    prostate: float = 1.0
    shrunken: tuple[tuple[int, float], ...] = ()
    dilated: tuple[tuple[int, float], ...] = ()
    lifts: tuple[tuple[int, float], ...] = ((-1, 0.0), (1, 0.0))


def fat_thickness(patient: PatientFacts) -> float:
    """Fat under the skin (units of half the depth) by body mass index."""
    anatomy = patient.anatomy
    index = anatomy.weight_kg / (anatomy.height_cm / 100.0) ** 2
    return float(np.clip(0.05 + 0.008 * (index - 22.0), 0.035, 0.24))


def paint_trunk(canvas: Canvas, *, patient: PatientFacts, shape: TrunkShape) -> None:
    """Paints all organs of the trunk that reach into the grid, back to front."""
    seed = patient.anatomy.shape % (2**31)
    fat = fat_thickness(patient)
    bottom, top = canvas.grid.axis(2)[[0, -1]] / canvas.unit[2]
    radius = trunk_radius(canvas)
    lifts = dict(shape.lifts)
    paint_wall(canvas, radius=radius, fat=fat)
    if bottom < 0.06:
        paint_cavity(canvas, radius=radius, fat=fat, lifts=lifts)
    if top > -0.22:
        paint_ribs(canvas)
        paint_mediastinum(canvas, lifts=lifts)
    if top > 0.14:
        paint_shoulders(canvas)
    if bottom < 0.06:
        paint_muscles(canvas)
        paint_bowel(canvas, seed=seed + 11)
    if top > -0.16:
        paint_lungs(canvas, lifts=lifts, vessel_seed=seed + 21)
    if bottom < 0.04 and top > -0.24:
        paint_liver(canvas, size=shape.liver, lifts=lifts, seed=seed + 31)
        paint_upper_organs(canvas, spleen=shape.spleen)
    if bottom < -0.08 and top > -0.34:
        paint_kidneys(canvas, sizes=dict(shape.shrunken), dilated=dict(shape.dilated))
    if top > -0.10:
        paint_heart(canvas, size=shape.heart)
        paint_airways(canvas)
        paint_sternum(canvas)
    paint_vessels(canvas, aorta_mm=shape.aorta_mm)
    paint_spine(canvas)
    if bottom < -0.36:
        paint_pelvis(canvas)
        paint_pelvic_organs(canvas, sex=patient.sex, prostate=shape.prostate)
    if patient.sex == "female" and top > -0.02:
        for s in (-1, 1):
            paint_ellipsoid(canvas, "fat", (0.45 * s, -0.93, 0.06), (0.28, 0.20, 0.055))
            paint_ellipsoid(canvas, "tumor", (0.45 * s, -0.95, 0.06), (0.12, 0.07, 0.026))
