"""Findings of whole organs of the trunk: size, fat, calcium, free fluid and air, devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Point
from osler.synth.phantoms.shapes import ellipsoid, paint_ellipsoid, paint_tube
from osler.synth.phantoms.trunk import TrunkShape

GRADE = {"none": 1, "mild": 0, "moderate": 1, "severe": 2}
SHAPED = (
    "cardiomegaly", "hepatomegaly", "splenomegaly", "hydronephrosis", "renal-atrophy", "hyperinflation",
    "elevated-hemidiaphragm", "prostate-enlargement",
)  # fmt: skip


def trunk_shape(findings: list[FindingFact]) -> TrunkShape:
    """The shape of the organs under an exam's findings."""
    grade = {f.key: GRADE[f.severity] for f in findings}
    side = {f.key: f.side for f in findings}

    def by_grade(key: str, values: tuple[float, float, float], normal: float) -> float:
        return values[grade[key]] if key in grade else normal

    def sides(key: str) -> tuple[int, ...]:
        return (
            {"left": (1,), "right": (-1,), "both": (-1, 1)}.get(side.get(key, "both"), (-1, 1)) if key in grade else ()
        )

    lifts = dict.fromkeys(sides("elevated-hemidiaphragm"), 0.028)
    flat = by_grade("hyperinflation", (-0.008, -0.016, -0.026), 0.0)
    return TrunkShape(
        heart=by_grade("cardiomegaly", (1.14, 1.25, 1.38), 1.0),
        liver=by_grade("hepatomegaly", (1.05, 1.10, 1.15), 1.0),
        spleen=by_grade("splenomegaly", (1.2, 1.4, 1.7), 1.0),
        prostate=by_grade("prostate-enlargement", (1.2, 1.4, 1.7), 1.0),
        shrunken=tuple((s, by_grade("renal-atrophy", (0.88, 0.78, 0.66), 1.0)) for s in sides("renal-atrophy")),
        dilated=tuple((s, by_grade("hydronephrosis", (4.0, 7.0, 11.0), 0.0)) for s in sides("hydronephrosis")),
        lifts=tuple((s, lifts.get(s, 0.0) + flat) for s in (-1, 1)),
    )


def _free_fluid(canvas: Canvas, finding: FindingFact) -> None:
    block = canvas.block((0.0, 0.0, -0.36), (1.0, 1.0, 0.36))
    u, v, w = canvas.at(block)
    level = (0.28, 0.05, -0.25)[GRADE[finding.severity]]
    fat = canvas.organs[block] == canvas.labels["fat"]
    mask = fat & (v + 0.25 * np.abs(u) - 0.3 * (w + 0.36) > level) & (np.abs(v) < 0.62) & (np.abs(u) < 0.82)
    canvas.value[block][mask] = canvas.palette["pleural-fluid"]
    canvas.lesions[block][mask] = finding.lesion


def _free_air(canvas: Canvas, finding: FindingFact) -> None:
    half = (0.10, 0.18, 0.30)[GRADE[finding.severity]]
    center: Point = (-0.15, -0.66, -0.10)
    block = canvas.block(center, (half, 0.06, 0.05))
    cover = canvas.paint("gas", ellipsoid(center, (half, 0.06, 0.05), unit=canvas.unit), block)
    if cover is not None:
        canvas.lesions[block][cover >= 0.5] = finding.lesion


def _specks(canvas: Canvas, finding: FindingFact, *, points: list[Point], radius_mm: float) -> None:
    rng = np.random.default_rng(finding.lesion + 97)
    count = (3, 6, 10)[GRADE[finding.severity]]
    nodes = np.array(points)
    for _ in range(count):
        at = rng.uniform(0, len(nodes) - 1)
        first = int(at)
        middle = nodes[first] + (nodes[min(first + 1, len(nodes) - 1)] - nodes[first]) * (at - first)
        angle = rng.uniform(0, 2 * np.pi)
        shift = radius_mm * np.array([np.cos(angle) / canvas.unit[0], np.sin(angle) / canvas.unit[1], 0.0])
        center = tuple(middle + shift)
        half = tuple(m / u for m, u in zip(rng.uniform(1.2, 3.2, 3), canvas.unit, strict=True))
        cover = paint_ellipsoid(canvas, "calcium", (center[0], center[1], center[2]), (half[0], half[1], half[2]))
        block = canvas.block((center[0], center[1], center[2]), (half[0], half[1], half[2]))
        if cover is not None:
            canvas.lesions[block][cover >= 0.5] = finding.lesion


def _coronary(canvas: Canvas, finding: FindingFact) -> None:
    _specks(canvas, finding, points=[(0.05, -0.34, 0.10), (0.22, -0.48, 0.07), (0.34, -0.46, 0.02)], radius_mm=2.0)


def _aortic(canvas: Canvas, finding: FindingFact) -> None:
    points = [(-0.01, -0.06, 0.205), (0.11, 0.30, 0.175), (0.12, 0.38, 0.12), (0.11, 0.40, 0.04), (0.04, 0.28, -0.18)]
    _specks(canvas, finding, points=points, radius_mm=12.0)


def _abdominal_aortic(canvas: Canvas, finding: FindingFact) -> None:
    _specks(canvas, finding, points=[(0.04, 0.28, -0.18), (0.04, 0.24, -0.30), (0.03, 0.24, -0.385)], radius_mm=9.0)


def _pericardial(canvas: Canvas, finding: FindingFact) -> None:
    extra = (0.10, 0.18, 0.28)[GRADE[finding.severity]]
    center, half = (0.12, -0.24, 0.045), (0.36, 0.40, 0.092)
    outer = ellipsoid(
        center, (half[0] * (1 + extra), half[1] * (1 + extra), half[2] * (1 + extra)), unit=canvas.unit, turn_deg=-24
    )
    block = canvas.block(center, (0.6, 0.6, 0.14))
    u, v, w = canvas.at(block)
    if u.size == 0:
        return
    far = outer(u, v, w)
    heart = canvas.organs[block] == canvas.labels["heart"]
    mask = (
        (far < 0)
        & ~heart
        & np.isin(canvas.organs[block], [canvas.labels[n] for n in ("mediastinum", "left-lung", "right-lung")])
    )
    canvas.value[block][mask] = canvas.palette["pleural-fluid"]
    canvas.lesions[block][mask] = finding.lesion


def _hiatal_hernia(canvas: Canvas, finding: FindingFact) -> None:
    size = (0.8, 1.1, 1.5)[GRADE[finding.severity]]
    center, half = (0.06, 0.24, 0.02), (0.13 * size, 0.16 * size, 0.04 * size)
    cover = paint_ellipsoid(canvas, "stomach-wall", center, half)
    paint_ellipsoid(canvas, "gas", (0.06, 0.20, 0.025), (half[0] * 0.6, half[1] * 0.5, half[2] * 0.6))
    block = canvas.block(center, half)
    if cover is not None:
        canvas.lesions[block][cover >= 0.5] = finding.lesion


def _line(
    canvas: Canvas, finding: FindingFact, *, points: list[Point], radius_mm: float, tissue: str = "metal"
) -> None:
    before = canvas.value.copy()
    paint_tube(canvas, tissue, points, radius_mm=radius_mm)
    canvas.lesions[np.abs(canvas.value - before) > 200] = finding.lesion


def _tube(canvas: Canvas, finding: FindingFact) -> None:
    _line(
        canvas,
        finding,
        points=[(0.0, -0.10, 0.40), (0.0, 0.02, 0.25), (0.0, 0.06, 0.205)],
        radius_mm=3.0,
        tissue="calcium",
    )


def _nasogastric(canvas: Canvas, finding: FindingFact) -> None:
    points = [(0.02, 0.20, 0.40), (0.04, 0.26, 0.10), (0.10, 0.16, -0.03), (0.24, -0.05, -0.06)]
    _line(canvas, finding, points=points, radius_mm=2.0, tissue="calcium")


def _catheter(canvas: Canvas, finding: FindingFact) -> None:
    s = 1 if finding.side == "left" else -1
    points = [(0.55 * s, -0.45, 0.27), (0.2 * s, -0.2, 0.265), (-0.14, -0.14, 0.22), (-0.14, -0.14, 0.12)]
    _line(canvas, finding, points=points, radius_mm=1.4, tissue="calcium")


def _pacemaker(canvas: Canvas, finding: FindingFact) -> None:
    s = -1 if finding.side == "right" else 1
    before = canvas.value.copy()
    paint_ellipsoid(canvas, "metal", (0.62 * s, -0.72, 0.225), (0.13, 0.05, 0.034), power=3)
    lead = [
        (0.55 * s, -0.6, 0.24),
        (0.4 * s, -0.2, 0.272),
        (-0.15, -0.14, 0.24),
        (-0.12, -0.18, 0.06),
        (0.20, -0.40, 0.0),
    ]
    paint_tube(canvas, "metal", lead, radius_mm=1.2)
    canvas.lesions[np.abs(canvas.value - before) > 200] = finding.lesion


def _chest_tube(canvas: Canvas, finding: FindingFact) -> None:
    s = 1 if finding.side == "left" else -1
    points = [(0.98 * s, -0.10, 0.03), (0.72 * s, 0.20, 0.05), (0.55 * s, 0.45, 0.16), (0.40 * s, 0.35, 0.22)]
    _line(canvas, finding, points=points, radius_mm=3.5, tissue="calcium")


def _wires(canvas: Canvas, finding: FindingFact) -> None:
    for w, v in ((0.205, -0.64), (0.17, -0.70), (0.13, -0.74), (0.09, -0.78), (0.05, -0.80)):
        points: list[Point] = [(-0.09, v, w), (-0.03, v - 0.05, w), (0.03, v - 0.05, w), (0.09, v, w)]
        _line(canvas, finding, points=points, radius_mm=0.9)


STATES: Mapping[str, Callable[[Canvas, FindingFact], None]] = {
    "ascites": _free_fluid,
    "free-air": _free_air,
    "coronary-artery-calcification": _coronary,
    "aortic-calcification": _aortic,
    "abdominal-aortic-calcification": _abdominal_aortic,
    "pericardial-effusion": _pericardial,
    "hiatal-hernia": _hiatal_hernia,
    "endotracheal-tube": _tube,
    "nasogastric-tube": _nasogastric,
    "central-venous-catheter": _catheter,
    "cardiac-pacemaker": _pacemaker,
    "chest-tube": _chest_tube,
    "sternotomy-wires": _wires,
}
"""How each finding is painted over the finished organs."""

PALETTE_STATES: Mapping[str, tuple[str, tuple[float, float, float]]] = {
    "hepatic-steatosis": ("liver", (-14.0, -28.0, -46.0)),
    "osteopenia": ("marrow", (-50.0, -80.0, -110.0)),
}
"""What a finding adds to a tissue's HU, by severity."""


def paint_states(canvas: Canvas, *, findings: list[FindingFact]) -> None:
    """Paints the findings of `STATES`."""
    for finding in findings:
        paint = STATES.get(finding.key)
        if paint is not None:
            paint(canvas, finding)


def change_palette(palette: dict[str, float], *, findings: list[FindingFact]) -> None:
    """Adds what the findings of `PALETTE_STATES` change, in place."""
    for finding in findings:
        if finding.key in PALETTE_STATES:
            tissue, steps = PALETTE_STATES[finding.key]
            palette[tissue] += steps[GRADE[finding.severity]]
