"""Findings that fill or change a lung: fluid, air, emphysema, opacity, fibrosis.

Patients lie on their backs in CT: fluid settles toward the back and the base, free air
rises to the front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, smooth_field
from osler.synth.phantoms.thorax import chest_inside

_GRADE = {"none": 1, "mild": 0, "moderate": 1, "severe": 2}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lung:
    """One lung in its block.

    Args:
        inside: Voxels of the lung. u, v, w: Unit coordinates.
        value: Of the canvas, to change in place. fields: Smooth random fields, coarse and fine.
    """

    canvas: Canvas
    inside: np.ndarray
    u: np.ndarray
    v: np.ndarray
    w: np.ndarray
    value: np.ndarray
    coarse: np.ndarray
    fine: np.ndarray

    def mix(self, goal: float | np.ndarray, share: np.ndarray) -> None:
        """Moves the lung's values toward ``goal`` by ``share`` 0 to 1."""
        part = np.where(self.inside, np.clip(share, 0, 1), 0).astype(np.float32)
        np.add(self.value, (goal - self.value) * part, out=self.value)


def _effusion(lung: Lung, grade: int) -> np.ndarray:
    score = lung.v - 2.2 * lung.w + 0.02 * lung.coarse
    level = (0.62, 0.40, 0.05)[grade]
    lung.mix(lung.canvas.palette["consolidation"], (score - level + 0.12) * 8)
    lung.mix(lung.canvas.palette["pleural-fluid"], (score - level) * 12)
    return score > level + 0.04


def _pneumothorax(lung: Lung, grade: int) -> np.ndarray:
    score = -lung.v + 0.9 * lung.w + 0.012 * lung.coarse
    level = (0.62, 0.42, 0.12)[grade]
    lung.mix(lung.canvas.palette["muscle"] * 0.2 - 300, np.exp(-(((score - level) / 0.012) ** 2)))
    lung.mix(lung.canvas.palette["air"], (score - level) * 40)
    return score > level


def _emphysema(lung: Lung, grade: int) -> np.ndarray:
    holes = np.clip((lung.fine - (0.9, 0.4, -0.1)[grade]) * 3, 0, 1) * np.clip(0.35 + 3.0 * lung.w, 0.2, 1.0)
    lung.mix(lung.canvas.palette["emphysema"], holes)
    return lung.inside


def _ground_glass(lung: Lung, grade: int) -> np.ndarray:
    patches = np.clip((lung.coarse - (0.8, 0.3, -0.2)[grade]) * 2.5, 0, 0.9)
    lung.mix(lung.canvas.palette["ground-glass"] + 60 * lung.fine, patches)
    return patches > 0.3


def _septa(lung: Lung, grade: int) -> np.ndarray:
    lines = np.exp(-((lung.fine / (0.10 + 0.05 * grade)) ** 2)) * (0.25 + 0.15 * grade)
    lung.mix(-450.0, lines)
    return lung.inside


def _edema(lung: Lung, grade: int) -> np.ndarray:
    hilum = np.exp(-(((np.abs(lung.u) - 0.3) / 0.28) ** 2) - ((lung.w - 0.08) / 0.10) ** 2)
    lung.mix(lung.canvas.palette["ground-glass"], hilum * (0.35 + 0.25 * grade) * (1 + 0.2 * lung.coarse))
    _septa(lung, grade)
    return lung.inside


def _fibrosis(lung: Lung, grade: int) -> np.ndarray:
    far = chest_inside(lung.u, lung.v, lung.w, canvas=lung.canvas)
    rim = np.exp(-((far / (10.0 + 7.0 * grade)) ** 2)) * np.clip(0.9 - 5.0 * lung.w, 0.1, 1.0)
    lung.mix(lung.canvas.palette["ground-glass"], rim * 0.6)
    lung.mix(-300.0, np.exp(-((lung.fine / 0.22) ** 2)) * rim)
    return rim > 0.3


def _honeycombing(lung: Lung, grade: int) -> np.ndarray:
    far = chest_inside(lung.u, lung.v, lung.w, canvas=lung.canvas)
    rim = np.exp(-((far / (9.0 + 5.0 * grade)) ** 2)) * np.clip(0.9 - 6.0 * lung.w, 0.0, 1.0)
    lung.mix(-250.0, rim)
    lung.mix(lung.canvas.palette["emphysema"], np.clip(np.abs(lung.fine) * 2 - 0.7, 0, 1) * (rim > 0.3))
    return rim > 0.3


def _mosaic(lung: Lung, grade: int) -> np.ndarray:
    lung.mix(lung.value + np.sign(lung.coarse) * (25.0 + 20.0 * grade), np.ones_like(lung.value))
    return lung.inside


STATES: Mapping[str, Callable[[Lung, int], np.ndarray]] = {
    "pleural-effusion": _effusion,
    "empyema": _effusion,
    "pneumothorax": _pneumothorax,
    "emphysema": _emphysema,
    "ground-glass-opacity": _ground_glass,
    "interlobular-septal-thickening": _septa,
    "pulmonary-edema": _edema,
    "pulmonary-fibrosis": _fibrosis,
    "honeycombing": _honeycombing,
    "mosaic-attenuation": _mosaic,
}
"""What each finding does to a lung; returns the voxels that its mask takes."""


def paint_lung_states(canvas: Canvas, *, findings: list[FindingFact], seed: int) -> None:
    """Paints the findings of `STATES` into the lungs of their side and writes their masks."""
    wanted = [f for f in findings if f.key in STATES]
    if not wanted:
        return
    coarse = smooth_field(canvas.grid, seed=seed + 41, period_mm=300.0, modes=(3, 14), reach_mm=30.0)
    fine = smooth_field(canvas.grid, seed=seed + 42, period_mm=300.0, modes=(14, 40), reach_mm=12.0)
    for side, organ, sides in ((-1, "right-lung", ("right", "both")), (1, "left-lung", ("left", "both"))):
        block = canvas.block((0.44 * side, 0.0, 0.08), (0.44, 0.85, 0.26))
        inside = canvas.organs[block] == canvas.labels[organ]
        if not inside.any():
            continue
        u, v, w = canvas.at(block)
        lung = Lung(
            canvas=canvas,
            inside=inside,
            u=u,
            v=v,
            w=w,
            value=canvas.value[block],
            coarse=coarse[block],
            fine=fine[block],
        )
        masks = []
        for finding in wanted:
            if finding.side in sides or finding.side in ("none", "midline"):
                mask = STATES[finding.key](lung, _GRADE[finding.severity]) & inside
                masks.append((int(mask.sum()), finding.lesion, mask))
        taken = canvas.lesions[block]
        for _, lesion, mask in sorted(masks, key=lambda m: m[0]):
            taken[mask & (taken == 0)] = lesion
