"""Findings of the head: blood, fluid, white matter disease, bone."""

from __future__ import annotations

import numpy as np

from osler.synth.elementary import exp
from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Patch
from osler.synth.phantoms.findings import paint_lesions
from osler.synth.phantoms.head import Head, vault
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.overlays import ORGAN_CHANGES, overlay, tag, tag_organs, tag_tube
from osler.synth.phantoms.shapes import around, ellipsoid
from osler.synth.phantoms.state import GRADES, Shown
from osler.synth.phantoms.tubes import tubes


def paint_head_findings(canvas: Canvas, head: Head, *, state: Shown) -> dict[int, str]:
    """Paints the findings of a head; returns number to key of what was drawn."""
    drawn: dict[int, str] = {}
    for fact in state.findings:
        if fact.key in _DIFFUSE:
            _DIFFUSE[fact.key](canvas, head, fact)
            drawn[fact.lesion] = fact.key
    drawn |= paint_lesions(canvas, state=state)
    for fact in state.findings:
        if fact.key in ORGAN_CHANGES:
            tag_organs(canvas, fact)
            drawn[fact.lesion] = fact.key
        if fact.key in ("midline-shift", "mass-effect"):
            drawn[fact.lesion] = fact.key
            near = np.abs(canvas.axes.x) < 12
            where = (canvas.label == ORGAN_CODES["ventricles"]) & near[None, None, :]
            tag(canvas, where, None, fact=fact)
    return drawn


def _sides(fact: FindingFact) -> list[float]:
    return [s for name, s in (("right", -1.0), ("left", 1.0)) if fact.side in (name, "both", "none", "midline")]


def _white_matter(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    grade = GRADES[fact.severity]
    hx, hy, hz = head.half

    def depth(p: Patch) -> np.ndarray:
        x, y, z = head.unit(p)
        beside = exp(-(((np.abs(x) - 0.17) / (0.10 + 0.04 * grade)) ** 2))
        near = beside * (exp(-(((z - 0.22) / 0.16) ** 2)) * np.clip(1.4 - np.abs(y) * 1.4, 0, 1))
        return (np.maximum(near * 1.3 - 0.75, p.wave(9, key="wmh") - np.float32(1.35 - 0.27 * grade)) * 5).astype(
            np.float32
        )

    overlay(
        canvas,
        fact,
        depth,
        tissue="gliosis",
        bounds=((-hx, hx), (-hy, hy), (-0.3 * hz, 0.8 * hz)),
        over=("white-matter",),
        strength=0.75,
        edge=2.0,
    )


def _subarachnoid(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    grade, (hx, hy, hz) = GRADES[fact.severity], head.half
    overlay(
        canvas,
        fact,
        lambda p: (
            (p.wave(22, key="sah") - np.float32(0.8 - 0.35 * grade) + np.clip(-p.z / np.float32(hz), -0.3, 0.5)) * 9
        ),
        tissue="fresh-blood",
        bounds=((-hx, hx), (-hy, hy), (-0.6 * hz, hz)),
        over=("csf",),
        strength=0.85,
    )


def _intraventricular(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    hx, hy, hz = head.half
    level = (0.42, 0.25, 0.0)[round(GRADES[fact.severity]) - 1]
    overlay(
        canvas,
        fact,
        lambda p: (p.y - np.float32(level * hy)) + 0 * (p.x + p.z),
        tissue="fresh-blood",
        bounds=((-hx, hx), (-hy, hy), (-0.6 * hz, 0.6 * hz)),
        over=("ventricles",),
    )


def _extra_axial(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    thick, (hx, hy, hz) = 3.0 + 3.0 * GRADES[fact.severity], head.half
    tissue = "effusion" if fact.key == "extra-axial-collection" else "fresh-blood"
    for side in _sides(fact):
        overlay(
            canvas,
            fact,
            lambda p, s=side: (
                np.minimum(np.minimum(np.float32(thick) - vault(head, p), s * p.x - 12), p.z + np.float32(0.1 * hz))
                + 1.5 * p.wave(22, key="extra")
            ),
            tissue=tissue,
            bounds=((-1.1 * hx, 1.1 * hx), (-hy, hy), (-0.2 * hz, 1.1 * hz)),
            over=("csf", "gray-matter", "white-matter"),
        )


def _scalp(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    size = 10 + 6 * GRADES[fact.severity]
    for side in _sides(fact)[:1]:
        center = (side * 1.02 * (head.half[0] + 12), -0.2 * head.half[1], 0.3 * head.half[2])
        half = (0.45 * size, size * 1.3, size)
        overlay(
            canvas,
            fact,
            ellipsoid(center, half),
            tissue="fresh-blood",
            bounds=around(center, half),
            over=("scalp", "skin", "outside"),
            organ="scalp",
        )


def _swelling(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    grade, (hx, hy, hz) = GRADES[fact.severity], head.half
    for side in _sides(fact)[:1]:
        center, half = (side * 0.42 * hx, 0.1 * hy, 0.3 * hz), ((0.18 + 0.07 * grade) * hx,) * 3
        overlay(
            canvas,
            fact,
            ellipsoid(center, half, rough=7.0, mm=14.0),
            tissue="edema",
            bounds=around(center, half, margin=8),
            over=("white-matter",),
            strength=0.85,
            edge=3.0,
        )


def _sinus(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    thick, (hx, hy, hz) = 2.5 + 2.5 * GRADES[fact.severity], head.half
    for side in _sides(fact):
        if fact.key == "mastoid-effusion":
            center, half = (side * 0.80 * hx, 0.30 * hy, -0.60 * hz), (12, 14, 15)
            overlay(
                canvas,
                fact,
                ellipsoid(center, half),
                tissue="effusion",
                bounds=around(center, half),
                over=("sinuses",),
                strength=0.4 + 0.2 * GRADES[fact.severity],
            )
            continue
        center, half = (side * 0.35 * hx, -0.85 * hy, -0.78 * hz), (16.0, 18.0, 20.0)
        antrum = ellipsoid(center, half)
        overlay(
            canvas,
            fact,
            lambda p, f=antrum, y=center[1]: np.minimum(
                f(p) + 3,
                np.float32(thick) - f(p) + 2 * p.wave(14, key="mucosa") + np.clip((p.y - y) * 0.2, -2, 5),
            ),
            tissue="effusion",
            bounds=around(center, half, margin=3),
            over=("sinuses",),
        )


def _calcium(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    tube = tubes(canvas)
    tube.add(
        np.array(
            [
                head.at(0, 0.27, -0.04),
                head.at(-0.29, -0.05, 0.0),
                head.at(0.29, -0.05, 0.0),
                head.at(-0.33, 0.44, 0.04),
                head.at(0.33, 0.44, 0.04),
            ]
        ),
        np.array([3.0, 2.2, 2.2, 2.6, 2.6]),
    )
    tube.paint(canvas, tissue="calcium", organ=None, strength=0.5)
    tag_tube(canvas, tube, fact=fact)


def _craniotomy(canvas: Canvas, head: Head, fact: FindingFact) -> None:
    hx, hy, hz = head.half
    for side in _sides(fact)[:1]:
        center = (side * 0.93 * (hx + 6), -0.1 * hy, 0.42 * hz)

        def shell(p, c=center):
            return np.float32(1.3) - np.abs(np.sqrt((p.y - c[1]) ** 2 + (p.z - c[2]) ** 2) - 30)

        overlay(
            canvas,
            fact,
            lambda p, f=shell, s=side: np.minimum(f(p), s * p.x - np.float32(0.3 * hx)),
            tissue="muscle",
            bounds=((-1.2 * hx, 1.2 * hx), (center[1] - 34, center[1] + 34), (center[2] - 34, center[2] + 34)),
            over=("skull",),
        )


_DIFFUSE = {
    "white-matter-disease": _white_matter,
    "subarachnoid-hemorrhage": _subarachnoid,
    "intraventricular-hemorrhage": _intraventricular,
    "extra-axial-collection": _extra_axial,
    "scalp-hematoma": _scalp,
    "vasogenic-edema": _swelling,
    "sinus-mucosal-thickening": _sinus,
    "mastoid-effusion": _sinus,
    "intracranial-calcification": _calcium,
    "craniotomy-changes": _craniotomy,
}
