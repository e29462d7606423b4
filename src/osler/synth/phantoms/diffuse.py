"""Findings without one place: fluid, air and texture in chest and belly, and changes of whole organs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Bounds, Canvas, Patch
from osler.synth.phantoms.chest import lung_bounds, lung_depth
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.shapes import Tubes, around, ellipsoid, even_steps, polyline
from osler.synth.phantoms.state import GRADES
from osler.synth.phantoms.torso import SIDES, Torso
from osler.synth.xrays.organs import vessels

Draw = Callable[[Canvas, Torso, FindingFact], None]

ORGAN_CHANGES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": ("heart",), "pericardial-effusion": ("pericardium",), "right-heart-strain": ("heart",), "thoracic-aortic-aneurysm": ("aorta",),
    "pulmonary-artery-enlargement": ("pulmonary-artery",), "abdominal-aortic-aneurysm": ("aorta",), "hepatic-steatosis": ("liver",), "hepatomegaly": ("liver",),
    "cirrhotic-liver-morphology": ("liver",), "splenomegaly": ("spleen",), "acute-cholecystitis": ("gallbladder",), "acute-pancreatitis": ("pancreas",), "hydronephrosis": ("kidney",),
    "renal-atrophy": ("kidney",), "bladder-wall-thickening": ("bladder",), "small-bowel-obstruction": ("small-bowel",), "prostate-enlargement": ("prostate",),
    "vertebral-compression-fracture": ("spine",), "degenerative-spine-disease": ("spine",), "osteopenia": ("spine", "ribs"), "hip-fracture": ("femora",),
    "biliary-dilatation": ("bile-ducts",), "cerebral-atrophy": ("csf",), "hydrocephalus": ("ventricles",), "hippocampal-atrophy": ("hippocampus",),
}  # fmt: skip
"""Findings that are drawn with the organ itself; its voxels carry them where no other lesion lies."""


def of_sides(fact: FindingFact) -> list[tuple[str, float]]:
    """The sides a finding is on."""
    return [(name, side) for name, side in SIDES if fact.side in (name, "both", "none", "midline")]


def tag(canvas: Canvas, where: np.ndarray, box: tuple[slice, slice, slice] | None, *, fact: FindingFact) -> None:
    """Marks voxels of a finding in the lesion map where no other lies."""
    target = canvas.lesion if box is None else canvas.lesion[box]
    target[where & (target == 0)] = fact.lesion


def overlay(
    canvas: Canvas,
    fact: FindingFact,
    depth: Callable[[Patch], np.ndarray],
    *,
    tissue: str | float,
    bounds: Bounds,
    over: tuple[str, ...],
    strength: float = 1.0,
    organ: str | None = None,
    edge: float | None = None,
) -> None:
    """Paints a change of an organ and marks it."""
    codes = [ORGAN_CODES[name] for name in over]
    for p in canvas.patches(bounds):
        inside = (depth(p) >= 0) & np.isin(p.label, codes)
        tag(canvas, inside, p.box, fact=fact)
    canvas.paint(depth, tissue=tissue, bounds=bounds, over=over, strength=strength, organ=organ, edge=edge)


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
    b, d, t = torso.thorax.lung_b, torso.d, torso.t
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

    net = lambda p: np.float32(0.5 + 0.15 * grade) - np.abs(p.wave(9, key="fibrosis")) * 6  # noqa: E731
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
    from osler.synth.xrays.bronchovascular import vessel_tree

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
        _tag_flat(canvas, tube, fact=fact, over=("right-lung", "left-lung"))


def _tag_flat(canvas: Canvas, tube: Tubes, *, fact: FindingFact, over: tuple[str, ...] = ()) -> None:
    index, depth = tube.gathered()
    index = index[depth >= 0]
    if over:
        index = index[np.isin(canvas.label.reshape(-1)[index], [ORGAN_CODES[name] for name in over])]
    flat = canvas.lesion.reshape(-1)
    flat[index[flat[index] == 0]] = fact.lesion


def _pleura(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = 2.0 + 1.6 * GRADES[fact.severity]
    plaque = fact.key == "pleural-plaque"

    def depth(p: Patch, lung: Callable) -> np.ndarray:
        out = np.minimum(np.float32(thick) - lung(p), lung(p) + 2)
        patchy = (p.wave(22, key="plaque") - (0.35 if plaque else -0.1)) * 8
        outside = np.abs(p.x) - np.float32(0.42 * torso.w)
        return np.minimum(np.minimum(out, patchy), outside)

    _lungs(canvas, torso, fact, depth=depth, tissue="calcium" if plaque else "soft", strength=0.6 if plaque else 1.0)


def _wall_chips(canvas: Canvas, line: np.ndarray, *, radius: float, fact: FindingFact, key: str) -> None:
    """Flecks of calcium along a vessel's wall."""
    grade = round(GRADES[fact.severity])
    rng = np.random.Generator(np.random.SFC64(canvas.shape % 2**60 + len(key)))
    count = (6, 16, 36)[grade - 1]
    spots = line[rng.integers(0, len(line), count)]
    angle = rng.uniform(0, 2 * np.pi, count)
    spots = spots + radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    chips = Tubes(canvas.axes, edge=canvas.edge)
    chips.add(spots, rng.uniform(1.0, 1.8 + 0.4 * grade, count))
    chips.paint(canvas, tissue="calcium", organ=None)
    _tag_flat(canvas, chips, fact=fact)


def _aortic_calcium(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    lines = [even_steps(np.array([a, b]), step=2)[0] for a, b, _ in vessels(torso.thorax)[3:7]]
    _wall_chips(canvas, np.concatenate(lines), radius=torso.thorax.aorta + 0.5, fact=fact, key="aortic")


def _abdominal_calcium(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    line = even_steps(
        polyline([torso.at(0.06, 0.22, -0.12), torso.at(0.06, 0.16, -0.22), torso.at(0.05, 0.15, -0.345)]), step=2
    )[0]
    _wall_chips(canvas, line, radius=torso.thorax.aorta - 2, fact=fact, key="abdominal")


def _coronary_calcium(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    from osler.synth.phantoms.chest import heart_axes

    middle, axes = heart_axes(torso, size=1.0)
    line = polyline([middle + np.array(q) @ axes for q in ((-34, 22, 30), (-6, 16, 34), (36, -22, 22))], count=60)
    _wall_chips(canvas, line, radius=1.0, fact=fact, key="coronary")


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


def _ascites(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = (5.0, 14.0, 32.0)[round(GRADES[fact.severity]) - 1]
    bounds = ((-torso.w, torso.w), (-torso.d, torso.d), (-0.72 * torso.t, 0.05 * torso.t))

    def depth(p: Patch) -> np.ndarray:
        low = np.clip(-0.30 - p.z / np.float32(torso.t), 0, 0.4) * 55
        flank = np.clip(np.abs(p.x) / np.float32(torso.w), 0.2, 1) * np.float32(thick)
        return flank + low - torso.wall(p) + 4 * p.wave(40, key="ascites")

    overlay(canvas, fact, depth, tissue="effusion", bounds=bounds, over=("peritoneum",))


def _free_air(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = (4.0, 9.0, 18.0)[round(GRADES[fact.severity]) - 1]
    bounds = ((-0.6 * torso.w, 0.6 * torso.w), (-torso.d, 0.0), (-0.4 * torso.t, 0.04 * torso.t))

    def depth(p: Patch) -> np.ndarray:
        return np.minimum(
            np.float32(thick) * np.clip(-p.y / np.float32(0.6 * torso.d), 0, 1.3)
            - torso.wall(p)
            + 3 * p.wave(22, key="free"),
            -p.y - np.float32(0.35 * torso.d),
        )

    overlay(canvas, fact, depth, tissue="gas", bounds=bounds, over=("peritoneum", "liver", "small-bowel"))


def _diverticula(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    line = even_steps(
        polyline(
            [
                torso.at(0.62, 0.10, -0.34),
                torso.at(0.50, 0.0, -0.45),
                torso.at(0.30, -0.10, -0.50),
                torso.at(0.12, -0.02, -0.545),
            ]
        ),
        step=2,
    )[0]
    rng = np.random.Generator(np.random.SFC64(canvas.shape % 2**60 + 3))
    count = round(8 * GRADES[fact.severity])
    way = rng.standard_normal((count, 3))
    spots = line[rng.integers(0, len(line), count)] + 15 * way / np.linalg.norm(way, axis=1, keepdims=True)
    wall, bore = Tubes(canvas.axes, edge=canvas.edge), Tubes(canvas.axes, edge=canvas.edge)
    wall.add(spots, 4.2), bore.add(spots, 2.8)
    wall.paint(canvas, tissue="bowel-wall", organ="colon"), bore.paint(canvas, tissue="gas", organ="colon")
    _tag_flat(canvas, wall, fact=fact)


def _hernia(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    size = 14 + 7 * GRADES[fact.severity]
    center = (8.0, 0.20 * torso.d, torso.thorax.dome[1] - 8 + 0.4 * size)
    half = (size, 0.8 * size, size)
    sac = ellipsoid(center, half, rough=1.5, mm=22.0)
    bounds = around(center, half, margin=4)
    canvas.paint(sac, tissue="bowel-wall", organ="stomach", bounds=bounds)
    (
        canvas.paint(lambda p: sac(p) - 4, tissue="bowel", bounds=bounds),
        canvas.paint(lambda p: np.minimum(sac(p) - 4, center[1] - 3 - p.y), tissue="gas", bounds=bounds),
    )
    for p in canvas.patches(bounds):
        tag(canvas, sac(p) >= 0, p.box, fact=fact)


def _portal_clot(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    center = torso.at(-0.10, -0.04, -0.12)
    overlay(
        canvas,
        fact,
        ellipsoid(center, (22, 16, 20)),
        tissue="soft",
        bounds=around(center, (22, 16, 20)),
        over=("portal-vein",),
    )


def _varices(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    line = even_steps(
        polyline(
            [
                torso.at(0.03, 0.22, 0.01),
                torso.at(0.10, 0.08, -0.035),
                torso.at(0.2, 0.02, -0.05),
                torso.at(0.42, 0.2, -0.07),
            ]
        ),
        step=1.5,
    )[0]
    wiggle = (
        np.stack(
            [
                np.sin(np.arange(len(line)) * 0.9),
                np.cos(np.arange(len(line)) * 1.1),
                np.sin(np.arange(len(line)) * 0.7),
            ],
            axis=1,
        )
        * 6
    )
    tube = Tubes(canvas.axes, edge=canvas.edge)
    tube.add(line + wiggle, 1.6 + 0.7 * GRADES[fact.severity])
    tube.paint(canvas, tissue="venous-blood", organ="veins")
    _tag_flat(canvas, tube, fact=fact)


def _stranding(organ: str, keys: tuple[float, float, float], half: tuple[float, float, float]) -> Draw:
    def draw(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
        for _, side in of_sides(fact) if "kidney" in organ else [("", 1.0)]:
            center = torso.at(keys[0] * side, keys[1], keys[2])
            size = (half[0] * torso.w, half[1] * torso.d, half[2] * torso.t)
            shape = ellipsoid(center, size)
            overlay(
                canvas, fact, lambda p, f=shape: np.minimum(f(p), (0.35 - np.abs(p.wave(9, key="strands"))) * 8), tissue="edema",
                bounds=around(center, size), over=("peritoneum",), strength=0.3 + 0.15 * GRADES[fact.severity],
            )  # fmt: skip

    return draw


def _chronic_pancreatitis(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    bounds = ((-0.3 * torso.w, 0.5 * torso.w), (-torso.d, torso.d), (-0.22 * torso.t, -0.06 * torso.t))
    overlay(
        canvas,
        fact,
        lambda p: (p.wave(6, key="calculi") - np.float32(1.15 - 0.15 * GRADES[fact.severity])) * 4,
        tissue="calcium",
        bounds=bounds,
        over=("pancreas",),
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
        _tag_flat(canvas, tube, fact=fact)


DIFFUSE: dict[str, Draw] = {
    "pleural-effusion": _effusion, "empyema": _effusion, "pneumothorax": _pneumothorax, "emphysema": _emphysema, "ground-glass-opacity": _ground_glass, "pulmonary-edema": _edema,
    "interlobular-septal-thickening": _septa, "pulmonary-fibrosis": _fibrosis, "honeycombing": _fibrosis, "mosaic-attenuation": _mosaic, "bronchial-wall-thickening": _bronchial_walls,
    "pleural-thickening": _pleura, "pleural-plaque": _pleura, "aortic-calcification": _aortic_calcium, "abdominal-aortic-calcification": _abdominal_calcium,
    "coronary-artery-calcification": _coronary_calcium, "aortic-dissection": _dissection, "ascites": _ascites, "free-air": _free_air, "diverticulosis": _diverticula, "hiatal-hernia": _hernia,
    "portal-vein-thrombosis": _portal_clot, "varices": _varices, "acute-pancreatitis": _stranding("pancreas", (0.1, -0.05, -0.14), (0.45, 0.35, 0.06)),
    "acute-cholecystitis": _stranding("gallbladder", (-0.3, -0.42, -0.145), (0.3, 0.35, 0.06)), "pyelonephritis": _stranding("kidney", (0.42, 0.40, -0.21), (0.32, 0.38, 0.12)),
    "chronic-pancreatitis": _chronic_pancreatitis, "central-venous-catheter": _catheter, "cardiac-pacemaker": _catheter, "sternotomy-wires": _catheter,
}  # fmt: skip


def tag_organs(canvas: Canvas, fact: FindingFact) -> None:
    """Marks the organ that a finding changes as a whole."""
    for organ in ORGAN_CHANGES[fact.key]:
        names = [f"{name}-kidney" for name, _ in of_sides(fact)] if organ == "kidney" else [organ]
        for name in names:
            where = canvas.label == ORGAN_CODES[name]
            if fact.center_mm is not None:
                reach = max(25.0, (fact.size_mm or 0) * 1.2)
                where = where & (np.abs(canvas.axes.z - np.float32(fact.center_mm[2])) < reach)[:, None, None]
            tag(canvas, where, None, fact=fact)
