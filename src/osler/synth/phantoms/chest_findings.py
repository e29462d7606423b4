"""Findings of the chest without one place: fluid, air and texture of lungs, calcium, devices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osler.synth.elementary import exp
from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Depth, Patch
from osler.synth.phantoms.chest import heart_axes, lung_bounds, lung_depth, lung_wall
from osler.synth.phantoms.devices import DEVICES, FLAT_MM, device_pieces
from osler.synth.phantoms.lines import vessels
from osler.synth.phantoms.lung_tree import vessel_tree
from osler.synth.phantoms.overlays import Draw, of_sides, overlay, tag_tube, wall_chips
from osler.synth.phantoms.shapes import along_axes, even_steps, polyline
from osler.synth.phantoms.state import GRADES
from osler.synth.phantoms.torso import Torso
from osler.synth.phantoms.tubes import tubes

_REACH = 0.5 * 3**0.5
"""From the middle of a voxel to its corner, in voxels."""


def _lungs(
    canvas: Canvas,
    torso: Torso,
    fact: FindingFact,
    *,
    depth: Callable[[Patch, Depth, float], np.ndarray],
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
            lambda p, f=lung, s=side: depth(p, f, s),
            tissue=tissue,
            bounds=lung_bounds(torso, side),
            over=(f"{name}-lung",),
            strength=strength,
            organ=organ,
            edge=edge,
        )


def _effusion(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade = round(GRADES[fact.severity]) - 1
    amount = (0.18, 0.42, 0.85)[grade]
    thorax, b, t = torso.thorax, torso.thorax.lung_b, torso.t
    tissue = "pus" if fact.key == "empyema" else "effusion"

    def layered(p: Patch, lung: Depth, side: float) -> np.ndarray:
        # the patient lies on the back: fluid layers behind, deepest at the base
        level = (
            thorax.lung_y
            + b * (0.90 - 0.95 * amount)
            + np.clip(p.z - 0.02 * t, -40, 400) * np.float32(0.55 * (1.15 - amount))
        )
        return np.minimum(p.y - level.astype(np.float32) + 2 * p.wave(40, key="fluid"), lung(p) + 3)

    def standing(p: Patch, lung: Depth, side: float) -> np.ndarray:
        # the meniscus climbs along the wall of the chest
        filled = (0.07, 0.30, 0.60)[grade]
        base = thorax.dome[0 if side < 0 else 1] - thorax.sulcus
        level = base + 18 + filled * (thorax.apex - base) * 0.92
        climb = 90 * (1 - filled) * exp(-np.maximum(lung_wall(torso, side)(p), 0) / 14)
        return np.minimum((level + climb).astype(np.float32) - p.z, lung(p) + 3)

    depth = layered if torso.pose.position == "supine" else standing

    def collapsed(p: Patch, lung: Depth, side: float) -> np.ndarray:
        return depth(p, lung, side) + np.float32(6 + 16 * amount if depth is layered else 4)

    _lungs(canvas, torso, fact, depth=collapsed, tissue="soft", strength=0.85)
    _lungs(canvas, torso, fact, depth=depth, tissue=tissue, organ="pleural-space")


def _pneumothorax(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade = round(GRADES[fact.severity]) - 1
    thick = (9.0, 22.0, 44.0)[grade]
    d, t, thorax = torso.d, torso.t, torso.thorax

    def gap(p: Patch, lung: Depth, side: float) -> tuple[np.ndarray, np.ndarray]:
        """How far the lung has come off, and how deep a place lies under the wall."""
        if torso.pose.position == "supine":  # air rises to the front
            return np.clip(0.55 - (p.y / np.float32(d)), 0, 1.2) * np.float32(0.8 * thick), lung(p)
        higher = np.clip((p.z - np.float32(0.03 * t)) / np.float32(0.25 * t), 0, 1)
        outward = (np.float32(side) * p.x - thorax.lung_middle(p.z)) / (thorax.lung_a * thorax.taper(p.z))
        off = np.float32((17.0, 33.0, 58.0)[grade]) * (0.06 + 0.94 * higher) * np.clip((outward + 0.2) / 0.6, 0, 1)
        return off.astype(np.float32), lung_wall(torso, side)(p)

    def depth(p: Patch, lung: Depth, side: float) -> np.ndarray:
        off, wall = gap(p, lung, side)
        return np.minimum(off - wall, lung(p) + 2)

    def pleura(p: Patch, lung: Depth, side: float) -> np.ndarray:
        off, wall = gap(p, lung, side)
        return np.minimum(np.float32(0.7) - np.abs(off - wall), off - 1)

    _lungs(canvas, torso, fact, depth=pleura, tissue="soft", strength=0.7)
    _lungs(canvas, torso, fact, depth=depth, tissue=-998.0, organ="pleural-space")


def _emphysema(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    share = (0.62, 0.38, 0.1)[round(GRADES[fact.severity]) - 1]
    t = torso.t

    def depth(p: Patch, lung: Depth, side: float) -> np.ndarray:
        up = np.clip(p.z / np.float32(t) * 3, -0.3, 0.7)
        return np.minimum(
            lung(p) - 2,
            (p.wave(9, key="emphysema") + 0.6 * p.wave(22, key="emphysema") + up * 0.7 - np.float32(share)) * 6,
        )

    _lungs(canvas, torso, fact, depth=depth, tissue=-965.0, strength=0.9, edge=3.0)


def _ground_glass(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade = GRADES[fact.severity]

    def depth(p: Patch, lung: Depth, side: float) -> np.ndarray:
        return np.minimum(
            lung(p) - 2,
            (p.wave(22, key="ground-glass") + 0.5 * p.wave(9, key="ground-glass") - np.float32(0.75 - 0.28 * grade))
            * 10,
        )

    _lungs(canvas, torso, fact, depth=depth, tissue=-250.0, strength=0.45, edge=8.0)


def _edema(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade = GRADES[fact.severity]

    def depth(p: Patch, lung: Depth, side: float) -> np.ndarray:
        return (
            lung(p)
            - np.float32(42 - 11 * grade)
            + 14 * p.wave(22, key="edema")
            + 14 * np.clip(p.y / np.float32(torso.d), -1, 1)
        )

    _lungs(canvas, torso, fact, depth=depth, tissue=-150.0, strength=0.16 + 0.14 * grade, edge=22.0)
    _septa(canvas, torso, fact)


def _septa(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    def depth(p: Patch, lung: Depth, side: float) -> np.ndarray:
        net = np.float32(0.45) - np.minimum(np.abs(p.wave(14, key="septa")), np.abs(p.wave(14, key="septa-b"))) * 11
        return np.minimum(np.minimum(lung(p), 26 - lung(p)), net)

    _lungs(canvas, torso, fact, depth=depth, tissue=-150.0, strength=0.35 + 0.1 * GRADES[fact.severity])


def _fibrosis(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    grade, t, d = GRADES[fact.severity], torso.t, torso.d

    def zone(p: Patch, lung: Depth, side: float) -> np.ndarray:
        low = (
            np.clip(0.12 - p.z / np.float32(t), -0.1, 0.2) * np.float32(60) + np.clip(p.y / np.float32(d), -0.5, 1) * 8
        )
        return np.minimum(lung(p), np.float32(4 + 5 * grade) + low - lung(p))

    def net(p):
        return np.float32(0.5 + 0.15 * grade) - np.abs(p.wave(9, key="fibrosis")) * 6

    _lungs(canvas, torso, fact, depth=zone, tissue=-450.0, strength=0.5, edge=8.0)
    _lungs(canvas, torso, fact, depth=lambda p, f, s: np.minimum(zone(p, f, s), net(p)), tissue="soft", strength=0.65)
    if fact.key == "honeycombing":
        _lungs(
            canvas,
            torso,
            fact,
            depth=lambda p, f, s: np.minimum(zone(p, f, s) - 1, -net(p) * 1.2),
            tissue=-950.0,
            strength=0.8,
        )


def _mosaic(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    _lungs(
        canvas,
        torso,
        fact,
        depth=lambda p, f, s: np.minimum(f(p), p.wave(22, key="mosaic") * 14),
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
        tube, bore = tubes(canvas), tubes(canvas)
        tube.add(points, 2.2 + 0.7 * GRADES[fact.severity]), bore.add(points, 1.8)
        tube.paint(canvas, tissue="soft", organ=None, over=("right-lung", "left-lung"), strength=0.8)
        bore.paint(canvas, tissue="gas", organ=None, over=("right-lung", "left-lung"))
        tag_tube(canvas, tube, fact=fact, over=("right-lung", "left-lung"))


def _pleura(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = 2.0 + 1.6 * GRADES[fact.severity]
    plaque = fact.key == "pleural-plaque"

    def depth(p: Patch, lung: Depth, side: float) -> np.ndarray:
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
    line = polyline([middle + along_axes(q, axes) for q in ((-34, 22, 30), (-6, 16, 34), (36, -22, 22))], count=60)
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


def _device(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    """A tube, line or wire; a canvas with rays leaves it out: the film adds it line by line."""
    if canvas.rays != "none":
        return
    for points, radius, dense in device_pieces(fact, thorax=torso.thorax):
        tube = tubes(canvas)
        line = even_steps(points, step=1.0)[0] if len(points) > 1 else points
        tube.add(line, radius, squash=(1.0, max(1.0, radius / FLAT_MM), 1.0))
        tube.paint(canvas, tissue="metal", organ="devices", strength=1.0 if dense > 0.3 else 0.35)
        # A wire thinner than a voxel fills half of none: its mask is all voxels that it runs through.
        whole = tubes(canvas)
        wide = max(radius, _REACH * canvas.edge)
        whole.add(line, wide, squash=(1.0, max(1.0, radius / FLAT_MM), 1.0))
        tag_tube(canvas, whole, fact=fact)


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
    **dict.fromkeys(DEVICES, _device),
}
