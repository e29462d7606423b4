"""The head: scalp, skull, folded brain, ventricles, deep gray matter, face.

Unit coordinates are the half axes of the brain: the brain's surface is at radius 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Point, cover_of, smooth_field
from osler.synth.phantoms.shapes import ellipsoid, paint_ellipsoid, paint_tube, tube

_GRADE = {"none": 1, "mild": 0, "moderate": 1, "severe": 2}
FOLD_MM = 5.0  # millimeters of one unit of the folding field near its zero


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """What findings and age change.

    Args:
        ventricles: Radius of the ventricles, 1 is normal.
        sulci_mm: Half width of the sulci.
        hippocampi: Size of the hippocampus by side, -1 right, +1 left.
    """

    ventricles: float = 1.0
    sulci_mm: float = 0.75
    hippocampi: tuple[tuple[int, float], ...] = ((-1, 1.0), (1, 1.0))


def head_shape(findings: list[FindingFact], *, age: int) -> HeadShape:
    """The shape of a head of that age (years) under its findings."""
    grade = {f.key: _GRADE[f.severity] for f in findings}
    aging = float(np.clip((age - 45) / 45, 0, 1))
    ventricles, sulci = 0.85 + 0.35 * aging, 0.6 + 0.6 * aging
    if "cerebral-atrophy" in grade:
        ventricles *= (1.15, 1.3, 1.5)[grade["cerebral-atrophy"]]
        sulci += (0.3, 0.6, 1.0)[grade["cerebral-atrophy"]]
    if "hydrocephalus" in grade:
        ventricles *= (1.4, 1.9, 2.5)[grade["hydrocephalus"]]
        sulci *= (0.9, 0.7, 0.45)[grade["hydrocephalus"]]
    sizes = {-1: 1.0, 1: 1.0}
    for finding in findings:
        if finding.key == "hippocampal-atrophy":
            for side, names in ((-1, ("right", "both")), (1, ("left", "both"))):
                if finding.side in names or finding.side == "none":
                    sizes[side] = (0.85, 0.70, 0.55)[_GRADE[finding.severity]]
    return HeadShape(ventricles=ventricles, sulci_mm=sulci, hippocampi=tuple(sizes.items()))


def _radius(canvas: Canvas) -> np.ndarray:
    u, v, w = canvas.units
    total = u * u
    total += v * v
    total += w * w
    return np.sqrt(total, out=total)


def paint_head(canvas: Canvas, *, shape: HeadShape, seed: int) -> None:
    """Paints all of the head, from the skin inward."""
    mm = np.float32(np.mean(canvas.unit))
    radius = _radius(canvas)
    whole = canvas.whole()
    u, v, w = canvas.units
    face = ellipsoid((0.0, -0.58, -0.72), (0.80, 0.66, 0.86), unit=canvas.unit)(u, v, w)
    neck = tube([(0.0, 0.30, -0.7), (0.0, 0.32, -1.7)], radius_mm=[58, 56], unit=canvas.unit)(u, v, w)
    nose = tube([(0.0, -1.12, -0.30), (0.0, -1.32, -0.68)], radius_mm=[5, 12], unit=canvas.unit)(u, v, w)
    skin = np.minimum((radius - np.float32(1.17)) * mm, np.minimum(np.minimum(face, neck), nose))
    canvas.paint("skin", skin, whole, organ="body")
    canvas.paint("fat", skin + np.float32(2.0), whole, organ="fat")
    canvas.paint(
        "muscle", np.maximum(skin + np.float32(6.5), (radius - np.float32(1.10)) * mm * -1), whole, organ="muscle"
    )
    _paint_face(canvas)
    low = (w + np.float32(0.62) + np.float32(0.18) * v) * -mm  # the skull ends below the base
    skull = np.maximum((radius - np.float32(1.115)) * mm, low)
    canvas.paint("cortex", skull, whole, organ="skull")
    diploe = np.maximum((radius - np.float32(1.09)) * mm, low + np.float32(2.0))
    canvas.paint("marrow", diploe, whole, organ="skull")
    canvas.paint("cortex", np.maximum((radius - np.float32(1.062)) * mm, low + 3), whole, organ="skull")
    canvas.paint("csf", np.maximum((radius - np.float32(1.035)) * mm, low + 5), whole, organ="csf")
    _paint_base(canvas)
    _paint_cerebrum(canvas, radius=radius, shape=shape, seed=seed)
    _paint_deep(canvas, shape=shape)
    _paint_hindbrain(canvas, shape=shape, seed=seed)
    paint_tube(
        canvas, "dura", [(0.0, -0.95, -0.1), (0.0, -0.6, 0.76), (0.0, 0.2, 0.98), (0.0, 0.85, 0.5)], radius_mm=0.9
    )
    canvas.paint(
        "blood",
        tube(
            [(0.0, -0.3, 0.99), (0.0, 0.4, 0.95), (0.0, 0.92, 0.38), (0.0, 0.99, 0.0)], radius_mm=3.0, unit=canvas.unit
        ),
        canvas.block((0.0, 0.35, 0.5), (0.1, 0.8, 0.6)),
    )


def _paint_face(canvas: Canvas) -> None:
    unit = canvas.unit
    for s in (-1, 1):
        for half, tissue in ((0.255, "cortex"), (0.225, "fat")):
            paint_ellipsoid(
                canvas,
                tissue,
                (0.42 * s, -0.92, -0.42),
                (half * 66 / unit[0], half * 80 / unit[1], half * 66 / unit[2]),
            )
        eye = (0.42 * s, -1.02, -0.42)
        paint_ellipsoid(canvas, "eye", eye, (12 / unit[0], 12 / unit[1], 12 / unit[2]), organ="eyes")
        paint_ellipsoid(
            canvas, "lens", (0.42 * s, -1.02 - 8 / unit[1], -0.42), (4.5 / unit[0], 2 / unit[1], 4.5 / unit[2])
        )
        paint_tube(canvas, "nerve", [(0.42 * s, -0.86, -0.42), (0.16 * s, -0.42, -0.40)], radius_mm=[2.2, 2.2])
        paint_ellipsoid(canvas, "cortex", (0.36 * s, -0.84, -0.76), (0.25, 0.24, 0.27))
        paint_ellipsoid(canvas, "gas", (0.36 * s, -0.84, -0.76), (0.22, 0.21, 0.24), organ="sinuses")
        paint_ellipsoid(canvas, "cortex", (0.75 * s, -0.78, -0.62), (0.08, 0.20, 0.08))
        paint_tube(
            canvas,
            "cortex",
            [(0.72 * s, -0.15, -0.85), (0.62 * s, -0.30, -1.18), (0.20 * s, -1.05, -1.28)],
            radius_mm=[6, 6, 6],
        )
    paint_ellipsoid(canvas, "cortex", (0.0, -0.82, -0.52), (0.17, 0.32, 0.20))
    paint_ellipsoid(canvas, "gas", (0.0, -0.82, -0.52), (0.14, 0.29, 0.17), organ="sinuses")
    paint_ellipsoid(canvas, "muscle", (0.0, -0.82, -0.52), (0.012, 0.29, 0.17))
    paint_ellipsoid(canvas, "gas", (0.0, -0.75, -0.82), (0.13, 0.40, 0.13))
    paint_tube(canvas, "gas", [(0.0, -0.20, -0.85), (0.0, -0.14, -1.6)], radius_mm=[8, 9])
    paint_ellipsoid(canvas, "gas", (0.10, -0.99, -0.14), (0.16, 0.07, 0.12), organ="sinuses")
    paint_tube(canvas, "cortex", [(0.0, 0.30, -0.85), (0.0, 0.34, -1.7)], radius_mm=[15, 15])
    paint_tube(canvas, "csf", [(0.0, 0.30, -0.75), (0.0, 0.33, -1.7)], radius_mm=[8.5, 7.5])


def _paint_base(canvas: Canvas) -> None:
    """Paints the floor of the skull: ridges, rock bones with air cells, clivus, sphenoid sinus."""
    for s in (-1, 1):
        paint_tube(
            canvas,
            "cortex",
            [(0.18 * s, 0.02, -0.56), (0.52 * s, 0.20, -0.55), (0.88 * s, 0.32, -0.58)],
            radius_mm=[6, 9, 12],
            organ="skull",
        )
        for k in range(5):
            paint_ellipsoid(
                canvas,
                "gas",
                ((0.72 + 0.05 * k) * s, 0.28 + 0.03 * k, -0.66 + 0.04 * (k % 3)),
                (0.035, 0.03, 0.035),
                organ="skull",
            )
        paint_tube(
            canvas, "cortex", [(0.15 * s, -0.42, -0.38), (0.80 * s, -0.52, -0.36)], radius_mm=[3, 3], organ="skull"
        )
        paint_tube(
            canvas, "cortex", [(0.10 * s, -0.85, -0.36), (0.70 * s, -0.72, -0.34)], radius_mm=[2.5, 2.5], organ="skull"
        )
    paint_tube(canvas, "cortex", [(0.0, -0.12, -0.48), (0.0, 0.12, -0.80)], radius_mm=[9, 7], organ="skull")
    paint_ellipsoid(canvas, "cortex", (0.0, -0.36, -0.54), (0.22, 0.20, 0.16), organ="skull")
    paint_ellipsoid(canvas, "gas", (0.0, -0.36, -0.55), (0.18, 0.16, 0.12), organ="sinuses")
    paint_ellipsoid(canvas, "gray-matter", (0.0, -0.24, -0.41), (0.08, 0.06, 0.05))


def cerebrum_far(canvas: Canvas, *, radius: np.ndarray, block: tuple[slice, slice, slice]) -> np.ndarray:
    """Distance (mm) to the two hemispheres as if they had no folds."""
    u, v, w = canvas.at(block)
    mm = np.float32(np.mean(canvas.unit))
    far = (radius[block] - np.float32(0.995)) * mm
    temporal = np.float32(0.42) * np.exp(-(((np.abs(u) - 0.62) / 0.30) ** 2) - ((v - 0.0) / 0.42) ** 2)
    back = np.clip((v - 0.25) * 0.40, 0, 0.10)
    floor = np.float32(-0.28) - np.float32(0.9) * temporal + back
    far = np.maximum(far, (floor - w) * mm * np.float32(0.8))
    fissure = (np.float32(0.010) + np.float32(0.02) * np.clip(np.abs(v) - 0.5, 0, 1) - np.abs(u)) * mm
    fissure = np.minimum(fissure, (w - np.float32(0.22)) * mm * 0.5 + np.clip(np.abs(v) - 0.55, 0, 1) * 60)
    sylvian = (np.abs(w + np.float32(0.10) - np.float32(0.28) * (v + 0.1)) - np.float32(0.022)) * -mm
    sylvian = np.minimum(sylvian, (np.abs(u) - np.float32(0.50)) * mm)
    sylvian = np.minimum(sylvian, (np.float32(0.42) - np.abs(v + 0.05)) * mm)
    return np.maximum(far, np.maximum(fissure, sylvian))


def _paint_cerebrum(canvas: Canvas, *, radius: np.ndarray, shape: HeadShape, seed: int) -> None:
    block = canvas.block((0.0, 0.0, 0.1), (1.02, 1.02, 0.95))
    if canvas.value[block].size == 0:
        return
    folds = smooth_field(canvas.grid, seed=seed + 5, period_mm=220.0, modes=(10, 21), reach_mm=10.0)[block]
    far = cerebrum_far(canvas, radius=radius, block=block)
    sulcus = np.abs(folds) * np.float32(FOLD_MM)  # distance to the middle of the nearest sulcus
    depth = -far
    open_mm = np.float32(shape.sulci_mm) * np.clip(np.float32(1.25) - depth / np.float32(15.0), -1.0, 1.0)
    pia = np.maximum(far, open_mm - sulcus)  # outside of the brain in the sulci
    canvas.paint("gray-matter", pia, block, organ="brain")
    reach = np.clip((depth - np.float32(13.0)) / np.float32(5.0), 0, 1) * np.float32(20.0)
    cortex = np.minimum(depth, sulcus + reach)
    canvas.paint(
        "white-matter", np.float32(3.0) + np.float32(shape.sulci_mm) * 0.5 - cortex, block, organ="white-matter"
    )


def ventricle_paths() -> list[tuple[list[Point], list[float]]]:
    """Center lines (units) and radii (mm) of the ventricles of a young brain."""
    rows: list[tuple[list[Point], list[float]]] = []
    for s in (-1, 1):
        rows.append(
            (
                [
                    (0.13 * s, -0.42, 0.04),
                    (0.10 * s, -0.28, 0.13),
                    (0.12 * s, 0.02, 0.21),
                    (0.20 * s, 0.32, 0.15),
                    (0.24 * s, 0.42, 0.04),
                ],
                [3.5, 5.0, 4.0, 5.5, 6.0],
            )
        )
        rows.append(([(0.24 * s, 0.42, 0.04), (0.20 * s, 0.66, 0.02)], [5.0, 2.0]))
        rows.append(([(0.24 * s, 0.40, 0.02), (0.40 * s, 0.26, -0.18), (0.47 * s, 0.02, -0.28)], [4.5, 2.2, 1.8]))
    rows.append(([(0.0, -0.16, -0.05), (0.0, 0.12, 0.02)], [2.2, 2.2]))
    rows.append(([(0.0, 0.16, -0.05), (0.0, 0.30, -0.32), (0.0, 0.40, -0.50)], [1.0, 1.2, 4.5]))
    return rows


def _paint_deep(canvas: Canvas, *, shape: HeadShape) -> None:
    """Paints corpus callosum's shape by the ventricles, the basal ganglia, thalami and hippocampi."""
    for s in (-1, 1):
        paint_ellipsoid(
            canvas, "deep-gray", (0.36 * s, -0.10, 0.00), (0.105, 0.22, 0.15), organ="basal-ganglia", turn_deg=-12 * s
        )
        paint_ellipsoid(
            canvas, "white-matter", (0.26 * s, -0.05, 0.02), (0.035, 0.30, 0.22), organ="white-matter", turn_deg=-18 * s
        )
        caudate: list[Point] = [(0.17 * s, -0.36, 0.06), (0.17 * s, -0.18, 0.16), (0.20 * s, 0.10, 0.20)]
        paint_tube(canvas, "deep-gray", caudate, radius_mm=[6, 5, 2.5], organ="basal-ganglia")
        paint_ellipsoid(
            canvas, "deep-gray", (0.145 * s, 0.11, 0.03), (0.13, 0.19, 0.15), organ="thalamus", turn_deg=20 * s
        )
        organ = "left-hippocampus" if s > 0 else "right-hippocampus"
        size = dict(shape.hippocampi)[s]
        path: list[Point] = [(0.37 * s, -0.08, -0.32), (0.40 * s, 0.12, -0.27), (0.36 * s, 0.30, -0.16)]
        paint_tube(canvas, "csf", [(0.43 * s, -0.05, -0.29), (0.44 * s, 0.14, -0.24)], radius_mm=1.6)
        paint_tube(canvas, "hippocampus", path, radius_mm=[6.5 * size, 5.2 * size, 3.2 * size], organ=organ)
    for points, radii in ventricle_paths():
        widths = [r * shape.ventricles for r in radii]
        paint_tube(canvas, "csf", points, radius_mm=widths, organ="ventricles")
    paint_ellipsoid(canvas, "csf", (0.0, 0.02, -0.36), (0.20, 0.12, 0.05), organ="csf")


def _paint_hindbrain(canvas: Canvas, *, shape: HeadShape, seed: int) -> None:
    paint_tube(canvas, "csf", [(0.0, 0.12, -0.34), (0.0, 0.30, -0.95)], radius_mm=[24, 14], organ="csf")
    block = canvas.block((0.0, 0.55, -0.52), (0.72, 0.48, 0.36))
    if canvas.value[block].size:
        u, v, w = canvas.at(block)
        left = ellipsoid((0.30, 0.54, -0.49), (0.42, 0.37, 0.30), unit=canvas.unit)(u, v, w)
        right = ellipsoid((-0.30, 0.54, -0.49), (0.42, 0.37, 0.30), unit=canvas.unit)(u, v, w)
        vermis = ellipsoid((0.0, 0.50, -0.46), (0.14, 0.30, 0.27), unit=canvas.unit)(u, v, w)
        far = np.minimum(np.minimum(left, right), vermis)
        canvas.paint("csf", far - np.float32(2.5), block)
        canvas.paint("cerebellum", far, block, organ="cerebellum")
        leaves = np.sin((w + 0.35 * np.abs(u) + 0.2 * v) * np.float32(canvas.unit[2] * 1.15))
        inner = np.maximum(far + np.float32(3.5), leaves * np.float32(3.0) + np.float32(6.0) + far * np.float32(0.35))
        canvas.paint("white-matter", inner, block, organ="cerebellum")
    paint_ellipsoid(canvas, "brainstem", (0.0, 0.16, -0.44), (0.20, 0.17, 0.18), organ="brainstem")
    paint_tube(
        canvas,
        "brainstem",
        [(0.0, 0.10, -0.22), (0.0, 0.18, -0.45), (0.0, 0.30, -0.80), (0.0, 0.33, -1.7)],
        radius_mm=[13, 12, 8.5, 5.5],
        organ="brainstem",
    )
    paint_tube(
        canvas,
        "csf",
        [(0.0, 0.34, -0.42), (0.0, 0.40, -0.56)],
        radius_mm=[3.0 * shape.ventricles, 4.5 * shape.ventricles],
        organ="ventricles",
    )
    paint_tube(canvas, "vessel", [(0.0, 0.02, -0.60), (0.0, -0.03, -0.36)], radius_mm=1.8)
    for s in (-1, 1):
        paint_tube(
            canvas,
            "vessel",
            [(0.12 * s, -0.18, -0.36), (0.14 * s, -0.22, -0.24), (0.38 * s, -0.18, -0.20), (0.60 * s, -0.12, -0.14)],
            radius_mm=[2.4, 2.0, 1.6, 1.2],
        )
        paint_tube(
            canvas,
            "vessel",
            [(0.10 * s, -0.22, -0.24), (0.02 * s, -0.40, -0.16), (0.02 * s, -0.55, 0.10)],
            radius_mm=1.4,
        )


def _spread(canvas: Canvas, finding: FindingFact, *, tissue: str, mask: np.ndarray, share: float) -> None:
    canvas.value[mask] += (np.float32(canvas.palette[tissue]) - canvas.value[mask]) * np.float32(share)
    canvas.lesions[mask & (canvas.lesions == 0)] = finding.lesion


def _subarachnoid(canvas: Canvas, finding: FindingFact) -> None:
    u, v, w = canvas.units
    reach = (0.45, 0.65, 0.9)[_GRADE[finding.severity]]
    near = np.sqrt(u * u + (v + 0.1) ** 2 + ((w + 0.3) * 1.2) ** 2) < reach
    _spread(canvas, finding, tissue="blood-clot", mask=near & (canvas.organs == canvas.labels["csf"]), share=0.85)


def _intraventricular(canvas: Canvas, finding: FindingFact) -> None:
    level = (0.38, 0.22, -0.1)[_GRADE[finding.severity]]
    mask = (canvas.organs == canvas.labels["ventricles"]) & (canvas.units[1] > level)
    _spread(canvas, finding, tissue="blood-clot", mask=mask, share=0.9)


def _white_matter(canvas: Canvas, finding: FindingFact) -> None:
    block = canvas.block((0.0, 0.05, 0.15), (0.55, 0.75, 0.35))
    if canvas.value[block].size == 0:
        return
    u, v, w = canvas.at(block)
    far: np.ndarray | None = None
    for points, radii in ventricle_paths()[:6]:
        one = tube(points, radius_mm=radii, unit=canvas.unit)(u, v, w)
        far = one if far is None else np.minimum(far, one)
    assert far is not None
    white = canvas.organs[block] == canvas.labels["white-matter"]
    cover = cover_of(far - np.float32((3.0, 6.0, 11.0)[_GRADE[finding.severity]]), edge_mm=5.0) * white
    target = canvas.value[block]
    target += (np.float32(canvas.palette["edema"]) - target) * cover * np.float32(0.9)
    taken = canvas.lesions[block]
    taken[(cover > 0.5) & (taken == 0)] = finding.lesion


def _collection(canvas: Canvas, finding: FindingFact) -> None:
    u, _, w = canvas.units
    side = {"left": u > 0.05, "right": u < -0.05}.get(finding.side, np.abs(u) > 0.05)
    mm = float(np.mean(canvas.unit))
    thick = (4.0, 7.0, 12.0)[_GRADE[finding.severity]] / mm
    radius = _radius(canvas)
    mask = side & (radius < 1.035) & (radius > 1.035 - thick * np.clip(np.abs(u) * 1.6, 0, 1)) & (w > 0.0)
    _spread(canvas, finding, tissue="csf", mask=mask, share=1.0)


def _scalp(canvas: Canvas, finding: FindingFact) -> None:
    s = 1 if finding.side == "left" else -1
    size = (0.6, 0.9, 1.3)[_GRADE[finding.severity]]
    center: Point = (1.12 * s, 0.1, 0.40)
    cover = paint_ellipsoid(canvas, "blood-clot", center, (0.12 * size, 0.35 * size, 0.30 * size))
    block = canvas.block(center, (0.12 * size, 0.35 * size, 0.30 * size))
    if cover is not None:
        canvas.lesions[block][cover >= 0.5] = finding.lesion


def _fluid_in(organ: str, tissue: str) -> Callable[[Canvas, FindingFact], None]:
    def paint(canvas: Canvas, finding: FindingFact) -> None:
        u, v, _ = canvas.units
        side = {"left": u > 0.12, "right": u < -0.12}.get(finding.side, np.abs(u) > 0.0)
        near = canvas.organs == canvas.labels[organ]
        mask = near & side & (v > -0.84) if organ == "sinuses" else near & side & (canvas.value < -300)
        _spread(canvas, finding, tissue=tissue, mask=mask, share=0.95)

    return paint


STATES: Mapping[str, Callable[[Canvas, FindingFact], None]] = {
    "subarachnoid-hemorrhage": _subarachnoid,
    "intraventricular-hemorrhage": _intraventricular,
    "white-matter-disease": _white_matter,
    "extra-axial-collection": _collection,
    "scalp-hematoma": _scalp,
    "sinus-mucosal-thickening": _fluid_in("sinuses", "muscle"),
}
SHAPED = ("cerebral-atrophy", "hydrocephalus", "hippocampal-atrophy")


def paint_head_states(canvas: Canvas, *, findings: list[FindingFact]) -> None:
    """Paints the findings of `STATES` over the finished head."""
    for finding in findings:
        paint = STATES.get(finding.key)
        if paint is not None:
            paint(canvas, finding)
