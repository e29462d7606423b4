"""A patient's X-ray: the picture, the lungs, and a mask and box for each lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.study import Box2D
from osler.synth.facts import FindingFact
from osler.synth.phantoms.pose import Pose
from osler.synth.xrays.beam import Beam, View


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownLesion:
    """One finding where the picture shows it.

    Args:
        fact: The finding.
        side: "left" or "right" of the patient where it has one side here, else "none".
        box: In pixels of the picture; encloses the mask.
        mask: (rows, columns) bool.
        center_mm: Where it lies in the body frame; ``None`` for diffuse ones.
    """

    fact: FindingFact
    side: str
    box: Box2D
    mask: np.ndarray
    center_mm: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Radiograph:
    """An X-ray as a viewer shows it.

    Args:
        pixels: (rows, columns) uint8, bright is dense; the patient's left lies at the right of a frontal one.
        pixel_mm: Pixel size on the detector.
        view: Direction of the beam. supine: Whether the patient lay.
        beam: Where each body point falls; ``beam.project``.
        pose: How the body stands or lies.
        attenuation: (rows, columns) float32, what the body takes from each ray: the exponent of Beer and Lambert's law.
        lungs: Masks of the right and the left lung as the picture shows them, (rows, columns) bool.
        heart: Mask of the heart's shadow.
        lesions: What has a place in the picture.
    """

    pixels: np.ndarray
    pixel_mm: float
    view: View
    supine: bool
    beam: Beam
    pose: Pose
    attenuation: np.ndarray
    lungs: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    lesions: tuple[ShownLesion, ...]


def mask_box(mask: np.ndarray) -> Box2D | None:
    """The box (pixel edges) around a mask; ``None`` if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box2D(x0=int(columns[0]), y0=int(rows[0]), x1=int(columns[-1]) + 1, y1=int(rows[-1]) + 1)
