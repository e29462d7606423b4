"""Findings of the chest without one place: fluid, air and texture of lungs, calcium, devices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Patch
from osler.synth.phantoms.chest import heart_axes, lung_bounds, lung_depth
from osler.synth.phantoms.overlays import Draw, of_sides, overlay, tag, tag_tube, wall_chips
from osler.synth.phantoms.shapes import Tubes, around, ellipsoid, even_steps, polyline
from osler.synth.phantoms.state import GRADES
from osler.synth.phantoms.torso import Torso
from osler.synth.xrays.bronchovascular import vessel_tree
from osler.synth.xrays.organs import vessels


def _lungs(
    canvas: Canvas,
    torso: Torso,
    fact: FindingFact,
    *,
    depth: Callable[[Patch, Callable], np.ndarray],
    tissue: str | float,
    strength: float = 1.0,
    organ: str | None = None,
    edge: float | None = None,
) -> None:
    for name, side in of_sides(fact):
        lung = lung_depth(torso, side)
        overlay(
            canvas,
            fact,
            lambda p, f=lung: depth(p, f),
            tissue=tissue,
            bounds=lung_bounds(torso, side),
            over=(f"{name}-lung",),
            strength=strength,
            organ=organ,
            edge=edge,
        )


def _effusion(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    amount = (0.18, 0.42, 0.85)[round(GRADES[fact.severity]) - 1]
    b, _d, t = torso.thorax.lung_b, torso.d, torso.t
    tissue = "pus" if fact.key == "empyema" else "effusion"

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        # the patient lies on the back: fluid layers behind, deepest at the base
        level = (
            torso.thorax.lung_y
            + b * (0.90 - 0.95 * amount)
            + np.clip(p.z - 0.02 * t, -40, 400) * np.float32(0.55 * (1.15 - amount))
        )
        return np.minimum(p.y - level.astype(np.float32) + 2 * p.wave(40, key="fluid"), lung(p) + 3)

    def collapsed(p: Patch, lung: Callable) -> np.ndarray:
        return depth(p, lung) + np.float32(6 + 16 * amount)

    _lungs(canvas, torso, fact, depth=collapsed, tissue="soft", strength=0.85)
    _lungs(canvas, torso, fact, depth=depth, tissue=tissue, organ="pleural-space")


def _pneumothorax(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = (9.0, 22.0, 44.0)[round(GRADES[fact.severity]) - 1]
    d = torso.d

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        front = np.clip(0.55 - (p.y / np.float32(d)), 0, 1.2) * np.float32(0.8 * thick)
        return np.minimum(front - lung(p), lung(p) + 2)

    def pleura(p: Patch, lung: Callable) -> np.ndarray:
        front = np.clip(0.55 - (p.y / np.float32(d)), 0, 1.2) * np.float32(0.8 * thick)
        return np.minimum(np.float32(0.7) - np.abs(front - lung(p)), front - 1)

    _lungs(canvas, torso, fact, depth=pleura, tissue="soft", strength=0.7)
    _lungs(canvas, torso, fact, depth=depth, tissue=-998.0, organ="pleural-space")


def _emphysema(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    share = (0.62, 0.38, 0.1)[round(GRADES[fact.severity]) - 1]
    t = torso.t

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        up = np.clip(p.z / np.float32(t) * 3, -0.3, 0.7)
        return np.minimum(
            lung(p) - 2,
            (p.wave(9, key="emphysema") + 0.6 * p.wave(22, key="emphysema") + up * 0.7 - np.float32(share)) * 6,
        )

    _lungs(canvas, torso, fact, depth=depth, tissue=-965.0, strength=0.9, edge=3.0)


def _ground_glass(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade = GRADES[fact.severity]

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        return np.minimum(
            lung(p) - 2,
            (p.wave(22, key="ground-glass") + 0.5 * p.wave(9, key="ground-glass") - np.float32(0.75 - 0.28 * grade))
            * 10,
        )

    _lungs(canvas, torso, fact, depth=depth, tissue=-250.0, strength=0.45, edge=8.0)


def _edema(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade, w = GRADES[fact.severity], torso.w

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        return (
            lung(p)
            - np.float32(42 - 11 * grade)
            + 14 * p.wave(22, key="edema")
            + 14 * np.clip(p.y / np.float32(torso.d), -1, 1)
        )

    _lungs(canvas, torso, fact, depth=depth, tissue=-150.0, strength=0.16 + 0.14 * grade, edge=22.0)
    _septa(canvas, torso, fact)
    del w


def _septa(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    def depth(p: Patch, lung: Callable) -> np.ndarray:
        net = np.float32(0.45) - np.minimum(np.abs(p.wave(14, key="septa")), np.abs(p.wave(14, key="septa-b"))) * 11
        return np.minimum(np.minimum(lung(p), 26 - lung(p)), net)

    _lungs(canvas, torso, fact, depth=depth, tissue=-150.0, strength=0.35 + 0.1 * GRADES[fact.severity])


def _fibrosis(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade, t, d = GRADES[fact.severity], torso.t, torso.d

    def zone(p: Patch, lung: Callable) -> np.ndarray:
        low = (
            np.clip(0.12 - p.z / np.float32(t), -0.1, 0.2) * np.float32(60) + np.clip(p.y / np.float32(d), -0.5, 1) * 8
        )
        return np.minimum(lung(p), np.float32(4 + 5 * grade) + low - lung(p))

    def net(p):
        return np.float32(0.5 + 0.15 * grade) - np.abs(p.wave(9, key="fibrosis")) * 6

    _lungs(canvas, torso, fact, depth=zone, tissue=-450.0, strength=0.5, edge=8.0)
    _lungs(canvas, torso, fact, depth=lambda p, f: np.minimum(zone(p, f), net(p)), tissue="soft", strength=0.65)
    if fact.key == "honeycombing":
        _lungs(
            canvas,
            torso,
            fact,
            depth=lambda p, f: np.minimum(zone(p, f) - 1, -net(p) * 1.2),
            tissue=-950.0,
            strength=0.8,
        )


def _mosaic(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    _lungs(
        canvas,
        torso,
        fact,
        depth=lambda p, f: np.minimum(f(p), p.wave(22, key="mosaic") * 14),
        tissue=-700.0,
        strength=0.3 + 0.1 * GRADES[fact.severity],
        edge=3.0,
    )


def _bronchial_walls(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    starts, ends, radii, ages = vessel_tree(torso.thorax)
    for _, side in of_sides(fact):
        chosen = (ages > 0) & (ages < 5) & (np.sign(starts[:, 0]) == side) & (radii > 1.0)
        points = np.concatenate(
            [
                even_steps(np.stack([a, b]), step=2)[0] + [0, -4, 2]
                for a, b in zip(starts[chosen], ends[chosen], strict=True)
            ]
            or [np.zeros((0, 3))]
        )
        if not len(points):
            continue
        tube, bore = Tubes(canvas.axes, edge=canvas.edge), Tubes(canvas.axes, edge=canvas.edge)
        tube.add(points, 2.2 + 0.7 * GRADES[fact.severity]), bore.add(points, 1.8)
        tube.paint(canvas, tissue="soft", organ=None, over=("right-lung", "left-lung"), strength=0.8)
        bore.paint(canvas, tissue="gas", organ=None, over=("right-lung", "left-lung"))
        tag_tube(canvas, tube, fact=fact, over=("right-lung", "left-lung"))


def _pleura(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = 2.0 + 1.6 * GRADES[fact.severity]
    plaque = fact.key == "pleural-plaque"

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        out = np.minimum(np.float32(thick) - lung(p), lung(p) + 2)
        patchy = (p.wave(22, key="plaque") - (0.35 if plaque else -0.1)) * 8
        outside = np.abs(p.x) - np.float32(0.42 * torso.w)
        return np.minimum(np.minimum(out, patchy), outside)

    _lungs(canvas, torso, fact, depth=depth, tissue="calcium" if plaque else "soft", strength=0.6 if plaque else 1.0)


def _aortic_calcium(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    lines = [even_steps(np.array([a, b]), step=2)[0] for a, b, _ in vessels(torso.thorax)[3:7]]
    wall_chips(canvas, np.concatenate(lines), radius=torso.thorax.aorta + 0.5, fact=fact, key="aortic")


def _coronary_calcium(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    middle, axes = heart_axes(torso, size=1.0)
    line = polyline([middle + np.array(q) @ axes for q in ((-34, 22, 30), (-6, 16, 34), (36, -22, 22))], count=60)
    wall_chips(canvas, line, radius=1.0, fact=fact, key="coronary")


def _dissection(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    bounds = ((-0.3 * torso.w, 0.3 * torso.w), (-torso.d, torso.d), (-0.1 * torso.t, 0.24 * torso.t))
    overlay(
        canvas,
        fact,
        lambda p: np.float32(0.9) - np.abs(p.wave(22, key="flap")) * 9,
        tissue="soft",
        bounds=bounds,
        over=("aorta",),
    )


def _catheter(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    w, d, t = torso.w, torso.d, torso.t
    for _, side in of_sides(fact)[:1]:
        if fact.key == "sternotomy-wires":
            line = np.concatenate(
                [
                    even_steps(polyline([(-10, -0.80 * d, z), (0, -0.90 * d, z), (10, -0.80 * d, z)]), step=1)[0]
                    for z in np.linspace(0.05, 0.22, 6) * t
                ]
            )
            radius = 0.7
        else:
            line = even_steps(
                polyline(
                    [
                        (side * 0.55 * w, -0.75 * d, 0.24 * t),
                        (side * 0.35 * w, -0.5 * d, 0.275 * t),
                        (-20, -0.2 * d, 0.25 * t),
                        (-22, -0.15 * d, 0.17 * t),
                        (-22, -0.18 * d, 0.11 * t),
                    ]
                ),
                step=1,
            )[0]
            radius = 1.2
        tube = Tubes(canvas.axes, edge=canvas.edge)
        tube.add(line, radius)
        tube.paint(
            canvas, tissue="metal", organ="devices", strength=1.0 if fact.key != "central-venous-catheter" else 0.35
        )
        if fact.key == "cardiac-pacemaker":
            can = (side * 0.58 * w, -0.80 * d, 0.235 * t)
            canvas.paint(ellipsoid(can, (24, 5, 22)), tissue="metal", organ="devices", bounds=around(can, (24, 5, 22)))
            for p in canvas.patches(around(can, (24, 5, 22))):
                tag(canvas, ellipsoid(can, (24, 5, 22))(p) >= 0, p.box, fact=fact)
        tag_tube(canvas, tube, fact=fact)


CHEST: dict[str, Draw] = {
    "pleural-effusion": _effusion,
    "empyema": _effusion,
    "pneumothorax": _pneumothorax,
    "emphysema": _emphysema,
    "ground-glass-opacity": _ground_glass,
    "pulmonary-edema": _edema,
    "interlobular-septal-thickening": _septa,
    "pulmonary-fibrosis": _fibrosis,
    "honeycombing": _fibrosis,
    "mosaic-attenuation": _mosaic,
    "bronchial-wall-thickening": _bronchial_walls,
    "pleural-thickening": _pleura,
    "pleural-plaque": _pleura,
    "aortic-calcification": _aortic_calcium,
    "coronary-artery-calcification": _coronary_calcium,
    "aortic-dissection": _dissection,
    "central-venous-catheter": _catheter,
    "cardiac-pacemaker": _catheter,
    "sternotomy-wires": _catheter,
}
