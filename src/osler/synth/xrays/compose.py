"""The exponent of each ray of a film: the body that phantoms paint, summed along the rays, and what is finer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.phantoms.canvas import Axes, Canvas, Rays, labeled, tight_box, union
from osler.synth.phantoms.chest import LUNGS, congestion
from osler.synth.phantoms.devices import DEVICES
from osler.synth.phantoms.lesions import LOOKS
from osler.synth.phantoms.pose import Pose
from osler.synth.phantoms.regions import paint_region
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.torso import torso_of
from osler.synth.xrays.beam import Beam
from osler.synth.xrays.detail import bone_edges, device_shadow, vessels
from osler.synth.xrays.matter import attenuation, film_palette
from osler.synth.xrays.project import Projector

VOXEL_MM, SLAB_MM = 2.0, 8.0
_OUTSIDE_MM = 12.0
_LUNG_MM, _HEART_MM = 14.0, 12.0
_SEEN_MM = {
    "pleural-effusion": 7.0, "empyema": 7.0, "pneumothorax": 7.0, "pleural-thickening": 10.0, "pleural-plaque": 4.0,
    "cardiomegaly": _HEART_MM, "pericardial-effusion": 8.0, "hiatal-hernia": 6.0, "vertebral-compression-fracture": 8.0,
}  # fmt: skip
"""Way (mm) in a finding from which a reader sees it; findings of the whole picture have no outline."""
_SIDED = frozenset(("pleural-effusion", "empyema", "pneumothorax", "pleural-thickening", "pleural-plaque"))
DEVICE_SEEN = 0.02
"""Attenuation of a device from which a reader sees it."""
Mask = tuple[FindingFact, str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """The exponent of each ray, and what lies where.

    Args:
        attenuation: (rows, columns) float32.
        lungs: Masks of the right and left lung. heart: Mask of the heart.
        masks: Finding, side and mask of each thing that has a place.
    """

    attenuation: np.ndarray
    lungs: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    masks: tuple[Mask, ...]


def compose(patient: PatientFacts, *, exam: Exam, pose: Pose, beam: Beam) -> Layers:
    """Paints the body on voxels that are long along the rays, and sums it.

    Args:
        patient: In the usual frame: not mirrored.
        exam: The film's, with findings in the same frame.
        pose: Of the body. beam: Of the film.
    """
    kvp = float(exam.acquisition.kvp or 110)
    state = Shown(findings=tuple(fact for fact in exam.findings if fact.visible))
    torso = torso_of(patient, pose=pose, state=state)
    rays: Rays = "x" if beam.view == "lateral" else "y"
    axes = grid(patient, beam=beam, rays=rays)
    canvas = Canvas(axes=axes, palette=film_palette(kvp), shape=abs(patient.anatomy.shape), rays=rays)
    paint_region(canvas, patient, exam=exam, state=state, pose=pose)
    step = max(1, round(VOXEL_MM / beam.pixel_mm))
    projector = Projector(axes, rays=rays, beam=beam, step=step)
    total = projector.lengths(attenuation(canvas.value, kvp=kvp))
    broken = [np.array(fact.center_mm) for fact in state.of("rib-fracture") if fact.center_mm is not None]
    total += bone_edges(torso, canvas, beam=beam, broken=broken, kvp=kvp)
    total += vessels(torso, canvas, beam=beam, congested=congestion(state), kvp=kvp)
    masks = _masks(canvas, projector=projector, beam=beam)
    for fact in state.of(*DEVICES):
        shadow = device_shadow(fact, torso=torso, beam=beam)
        total += shadow
        masks.append((fact, fact.side if fact.side in ("left", "right") else "none", shadow > DEVICE_SEEN))
    heart = _way(projector, labeled(canvas.label, "heart", "pericardium"))
    return Layers(
        attenuation=np.maximum(total, 0),
        lungs=_lungs(canvas, projector=projector, heart=heart),
        heart=heart > _HEART_MM,
        masks=tuple(masks),
    )


def grid(patient: PatientFacts, *, beam: Beam, rays: Rays) -> Axes:
    """Voxels that hold all that the film's rays cross."""
    body = patient.anatomy
    fine = max(VOXEL_MM, 0.9 * beam.pixel_mm)
    depth = (-1.2 * body.half_depth_mm - _OUTSIDE_MM, body.half_depth_mm + _OUTSIDE_MM)
    width = (-body.half_width_mm - 62, body.half_width_mm + 62)
    near, far = (depth if rays == "y" else width)[0], (depth if rays == "y" else width)[1]
    wide = max(abs(float(beam.scale(near))), abs(float(beam.scale(far)))) * beam.pixel_mm
    across = beam.center_mm[0] + np.array([-0.5, 0.5]) * beam.columns * wide + [-_OUTSIDE_MM, _OUTSIDE_MM]
    height = beam.center_mm[1] + np.array([-0.5, 0.5]) * beam.rows * wide + [-4, 4]
    if rays == "x":
        across = np.clip(across, *depth)
    slabs, plane = _line((near, far), step=SLAB_MM), _line(across, step=fine)
    x, y = (plane, slabs) if rays == "y" else (slabs, plane)
    return Axes(x=x, y=y, z=_line(height, step=fine))


def _line(ends: np.ndarray | tuple[float, float], *, step: float) -> np.ndarray:
    low, high = float(ends[0]), float(ends[1])
    return (low + step * np.arange(int(np.ceil((high - low) / step)) + 1)).astype(np.float32)


def _way(projector: Projector, space: np.ndarray) -> np.ndarray:
    """Way (mm) of each ray in a part of the canvas (Z, Y, X), bool."""
    box = tight_box(space)
    return projector.lengths(space if box is None else space[box], box=box)


def _lungs(canvas: Canvas, *, projector: Projector, heart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a reader outlines as a lung: fluid and loose air included, without the heart's shadow."""
    found = []
    for side, name in zip((-1.0, 1.0), LUNGS, strict=True):
        space = labeled(canvas.label, name)
        space |= labeled(canvas.label, "pleural-space") & (side * canvas.axes.x > 0)
        found.append((_way(projector, space) > _LUNG_MM) & (heart <= 30))
    return found[0], found[1]


def _masks(canvas: Canvas, *, projector: Projector, beam: Beam) -> list[Mask]:
    found: list[Mask] = []
    for fact, marks in canvas.marks.items():
        cover, low = union(marks)
        box = tuple(slice(start, start + count) for start, count in zip(low, cover.shape, strict=True))
        if fact.key in LOOKS:
            side = "none" if fact.center_mm is None else "left" if fact.center_mm[0] > 0 else "right"
            mask = projector.lengths(cover, box=box, mode="greatest") >= 0.5
            if not mask.any():
                _mark_center(mask, fact, beam=beam)
            found.append((fact, side, mask))
        elif fact.key in _SIDED:
            x = canvas.axes.x[box[2]]
            for name, half in (("right", x < 0), ("left", x > 0)):
                if fact.side in (name, "both", "none"):
                    way = projector.lengths(cover * half, box=box)
                    found.append((fact, name, way > _SEEN_MM[fact.key]))
        elif fact.key in _SEEN_MM:
            found.append((fact, "none", projector.lengths(cover, box=box) > _SEEN_MM[fact.key]))
    return found


def _mark_center(mask: np.ndarray, fact: FindingFact, *, beam: Beam) -> None:
    """Marks the pixel of a lesion that is smaller than a pixel, if the film shows it."""
    column, row, _ = beam.project(np.array([fact.center_mm]))
    if 0 <= row[0] < beam.rows and 0 <= column[0] < beam.columns:
        mask[int(row[0]), int(column[0])] = True
