"""Lungs with their vessels and airways, mediastinum, heart and great vessels."""

from __future__ import annotations

import numpy as np

from osler.synth.draws import Draws
from osler.synth.elementary import sine
from osler.synth.phantoms.canvas import Bounds, Canvas, Depth, Patch
from osler.synth.phantoms.lines import airways, vessels
from osler.synth.phantoms.lung_tree import vessel_tree
from osler.synth.phantoms.shapes import along_axes, around, box_about, ellipsoid, even_steps, polyline, tilted
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.torso import SIDES, Torso
from osler.synth.phantoms.tubes import tubes

LUNGS = ("right-lung", "left-lung")
_TWIGS_HU = 10.0
_BLEND_MM = 26.0
"""Parts of the heart whose depths differ by less flow into each other, by a quarter of this at most."""
_GROWN = 0.12
"""Growth of the heart per grade of cardiomegaly: from about 0.45 of the chest's width to over a half with the first."""


def lung_wall(torso: Torso, side: float) -> Depth:
    """Depth under the chest wall of a side (-1 right)."""
    thorax = torso.thorax

    def depth(p: Patch) -> np.ndarray:
        taper, middle = p.upright(
            "lung", lambda z: np.stack([thorax.taper(z), thorax.lung_middle(z)]).astype(np.float32)
        )
        a, b = np.float32(thorax.lung_a) * taper, np.float32(thorax.lung_b) * taper
        out = ((np.float32(side) * p.x - middle) / a) ** 2 + ((p.y - np.float32(thorax.lung_y)) / b) ** 2
        np.sqrt(out, out=out)
        np.subtract(np.float32(1), out, out=out)
        out *= a
        return out

    return depth


def lung_depth(torso: Torso, side: float) -> Depth:
    """Depth in the lung of a side (-1 right), the diaphragm included."""
    thorax, wall = torso.thorax, lung_wall(torso, side)

    def depth(p: Patch) -> np.ndarray:
        dome = p.flat(f"dome{side}", lambda: thorax.dome_height(p.x, p.y, side=side).astype(np.float32))
        return np.minimum(wall(p), p.z - dome)

    return depth


def lung_bounds(torso: Torso, side: float) -> Bounds:
    """The box about a lung."""
    low, high = (-torso.w, 6.0) if side < 0 else (-6.0, torso.w)
    return (low, high), (-torso.d, torso.d), (-0.14 * torso.t, torso.thorax.apex + 4)


def paint_lungs(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints both lungs: parenchyma with a gradient to the back, vessels, bronchi."""
    trapped = state.grade("hyperinflation") * -12
    # A canvas with rays holds the smallest vessels as density: they are far finer than its voxels.
    base = np.float32(canvas.palette["lung"] + trapped + (0.0 if canvas.rays == "none" else _TWIGS_HU))
    range_ = np.float32(60 if canvas.palette["lung"] < -100 else 0)
    slope = np.float32(1 / max(torso.thorax.lung_b, 1))

    def parenchyma(p: Patch) -> np.ndarray:
        out = base + range_ * (p.y * slope)
        return out + range_ * np.float32(0.25) * p.wave(15, key="lobules") * np.ones_like(p.z)

    for (_name, side), organ in zip(SIDES, LUNGS, strict=True):
        depth = lung_depth(torso, side)
        canvas.paint(depth, tissue=parenchyma, organ=organ, bounds=lung_bounds(torso, side))
        _fissure(canvas, torso, side=side, organ=organ)
    paint_trees(canvas, torso, congested=congestion(state))


def _fissure(canvas: Canvas, torso: Torso, *, side: float, organ: str) -> None:
    t, d = torso.t, torso.d

    def oblique(p: Patch) -> np.ndarray:
        plane = p.z - (0.09 * t + 0.13 * t * (p.y / np.float32(d))) + np.float32(6) * p.wave(60, key="fissure")
        return np.float32(0.32) - np.abs(plane)

    canvas.paint(oblique, tissue=-300.0, bounds=lung_bounds(torso, side), over=(organ,), strength=0.45)


def congestion(state: Shown) -> float:
    """How swollen the vessels of the lungs are, 0 to 3."""
    return state.grade("pulmonary-edema", "vascular-congestion")


def tree_points(
    torso: Torso, *, congested: float, step: float = 1.0, least_mm: float = 0.25, generations: int = 99
) -> tuple[np.ndarray, ...]:
    """The lungs' vessels as chains of spheres: centers (N, 3), radii (mm), generation, and way (N, 3).

    Args:
        step: Factor on the distance of the spheres.
        least_mm: Branches that begin thinner are left out, 0.25 or more. generations: How many are wanted.
    """
    starts, ends, radii, ages = vessel_tree(torso.thorax)
    drawn = radii > 0.25
    bend = np.zeros(len(radii))
    bend[drawn] = Draws(seed=torso.thorax.shape, patients=np.arange(drawn.sum())).uniform("vessel-bend") - 0.5
    wanted = drawn & (radii > least_mm) & (ages < generations)
    starts, ends, radii, ages, bend = (values[wanted] for values in (starts, ends, radii, ages, bend))
    mm = np.linalg.norm(ends - starts, axis=1)
    count = np.maximum(2, np.ceil(mm / np.clip(radii, 1.0, 2.6) / step).astype(int))
    first = np.repeat(np.cumsum(count) - count, count)
    share = (np.arange(len(first)) - first) / np.repeat(np.maximum(count - 1, 1), count)
    points = np.repeat(ends - starts, count, axis=0)
    points *= share[:, None]
    points += np.repeat(starts, count, axis=0)
    points[:, 2] += 0.3 * sine(np.pi * share) * np.repeat(bend * mm, count)
    radius = np.repeat(1.15 * radii, count) * (1 - 0.12 * share) * (1 + 0.12 * congested)
    return points, radius, np.repeat(ages, count), np.repeat((ends - starts) / mm[:, None], count, axis=0)


def paint_trees(canvas: Canvas, torso: Torso, *, congested: float = 0.0) -> None:
    """Paints the vessels of the lungs, and bronchi beside the larger of them.

    A canvas with rays leaves the vessels out: they are finer than its voxels, and the film adds them line by line.
    """
    if canvas.rays == "none":
        points, radius, ages, _ = tree_points(torso, congested=congested)
        pixel = 0.55 * canvas.edge
        thin = radius < pixel
        for chosen, level in ((thin, 0.7), (~thin, 1.0)):
            tube = tubes(canvas)
            tube.add(points[chosen], np.maximum(radius[chosen], pixel))
            tube.paint(canvas, tissue="pulmonary-blood", organ=None, over=LUNGS, strength=level)
        _twigs(canvas, torso)
    else:
        wide = max(1.2, 0.6 * canvas.edge) / (1.15 * (1 + 0.12 * congested))
        points, radius, ages, _ = tree_points(torso, congested=congested, least_mm=max(wide, 0.25), generations=4)
    big = (ages < 4) & (ages > 0) & (radius > max(1.2, 0.6 * canvas.edge))
    offset = np.array([0.0, -1.0, 0.55]) * (radius[big] * 1.75)[:, None]
    bronchi = tubes(canvas)
    bronchi.add(points[big] + offset, radius[big] * 0.95)
    bronchi.paint(canvas, tissue="soft", organ=None, over=LUNGS, strength=0.7, shift=0.7)
    bronchi.paint(canvas, tissue="gas", organ=None, over=LUNGS)


def _twigs(canvas: Canvas, torso: Torso) -> None:
    """Small vessels: the curves along which two smooth fields are zero."""
    thin = min(1.0, 1.4 / canvas.edge)

    def curves(p: Patch) -> np.ndarray:
        out = p.wave(14, key="twigs") ** 2
        out += p.wave(14, key="twigs-b") ** 2
        np.sqrt(out, out=out)
        out *= np.float32(-9)
        out += np.float32(max(0.8, 0.45 * canvas.edge))
        return out

    for (_, side), organ in zip(SIDES, LUNGS, strict=True):
        canvas.paint(
            curves, tissue="pulmonary-blood", bounds=lung_bounds(torso, side), over=(organ,), strength=0.75 * thin
        )


def paint_mediastinum(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints fat between the lungs, great vessels, trachea, esophagus, thyroid and heart."""
    w, d, t = torso.w, torso.d, torso.t
    grade = state.grade("mediastinal-widening")
    wide = np.float32(27 + (7 + 6 * grade if grade else 0))
    aside = min(0.6 * w, max(float(wide), torso.spine_reach + 7) + 8)
    chest = ((-aside, aside), (-0.85 * d, 0.9 * d), (-0.12 * t, 0.36 * t))

    def fat(p: Patch) -> np.ndarray:
        plate = np.float32(13) - np.abs(p.x) + 3 * p.wave(40, key="plate")
        plate = np.minimum(plate, np.float32(0.76 * d) + p.y)
        spine = np.square(p.x - torso.spine_x(p.z)) + np.square((p.y - torso.spine_y(p.z) - 4) * np.float32(0.7))
        np.sqrt(spine, out=spine)
        np.subtract(torso.spine_half(p.z) + 7, spine, out=spine)
        upper = (1 - np.sqrt((p.x / wide) ** 2 + ((p.y + 0.05 * d) / np.float32(0.48 * d)) ** 2)) * wide
        upper = np.minimum(upper + 2 * p.wave(25, key="upper"), np.float32(0.5) * (p.z - np.float32(0.14 * t)))
        out = np.maximum(np.maximum(plate, spine), upper)
        return np.minimum(out, torso.wall(p) + 1)

    canvas.paint(fat, tissue="soft" if grade else "fat", organ="mediastinum", bounds=chest)
    _heart(canvas, torso, state=state)
    _vessels(canvas, torso, state=state)
    pipe, bore = tubes(canvas), tubes(canvas)
    for start, end, radius in airways(torso.thorax):
        line, _ = even_steps(np.array([start, end]), step=2.5)
        pipe.add(line, radius + 1.2), bore.add(line, radius)
    pipe.paint(canvas, tissue="soft", organ="airways"), bore.paint(canvas, tissue="gas", organ="airways", inside="soft")
    gullet = polyline(
        [
            (3, 0.08 * d, 0.35 * t),
            (4, 0.26 * d, 0.2 * t),
            (5, 0.30 * d, 0.10 * t),
            (0.03 * w, 0.27 * d, 0.02 * t),
            (0.1 * w, 0.10 * d, -0.03 * t),
        ],
        count=120,
    )
    tube = tubes(canvas)
    tube.add(gullet, 7.5, squash=(0.85, 1.2, 0.6))
    (
        tube.paint(canvas, tissue="bowel-wall", organ="esophagus"),
        tube.paint(canvas, tissue="gas", organ="esophagus", shift=-5.5, strength=0.8),
    )
    for _, side in SIDES:
        center = (side * 0.10 * w, -0.20 * d, 0.305 * t)
        half = (9.0, 11.0, 21.0)
        canvas.paint(
            ellipsoid(center, half, rough=1.0), tissue="gland", organ="thyroid", bounds=around(center, half, margin=3)
        )


def _vessels(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Great vessels; numbers 2 to 6 of the list are the aorta, 7 to 10 the pulmonary arteries."""
    wide = {f.site: f.size_mm / 2 for f in state.of("thoracic-aortic-aneurysm") if f.size_mm}
    trunk = max((f.size_mm / 2 for f in state.of("pulmonary-artery-enlargement") if f.size_mm), default=0.0)
    wall, groups = tubes(canvas), {}
    for number, (start, end, radius) in enumerate(vessels(torso.thorax)):
        organ, tissue = ("veins", "venous-blood")
        if 2 <= number <= 6:
            organ, tissue = "aorta", "blood"
            radius = max(
                radius,
                {
                    2: wide.get("ascending-aorta", 0),
                    3: wide.get("ascending-aorta", 0),
                    4: wide.get("aortic-arch", 0),
                    5: wide.get("descending-aorta", 0),
                    6: wide.get("descending-aorta", 0),
                }[number],
            )
        elif 7 <= number <= 10:
            organ, tissue = "pulmonary-artery", "pulmonary-blood"
            radius = max(radius, trunk) if number == 7 else radius
        line, _ = even_steps(np.array([start, end]), step=max(2.0, 0.3 * radius))
        tube = groups.setdefault((organ, tissue), tubes(canvas))
        tube.add(line, radius), wall.add(line, radius + 1.3)
    wall.paint(canvas, tissue="soft", organ=None, over=("mediastinum", "right-lung", "left-lung"))
    # A wide aorta pushes its neighbors aside: it is painted last.
    order = sorted(groups, key=lambda group: bool(wide) and group[0] == "aorta")
    for organ, tissue in order:
        groups[organ, tissue].paint(canvas, tissue=tissue, organ=organ)


def heart_axes(torso: Torso, *, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Center (mm) of the left ventricle, and the heart's axes as rows: long, across, up."""
    thorax = torso.thorax
    long = np.array([0.72, -0.55, -0.42])
    long /= np.sqrt(np.square(long).sum())
    across = np.cross([0.0, 0.0, 1.0], long)
    across /= np.sqrt(np.square(across).sum())
    return np.array([26 + thorax.heart_x + 8 * (size - 1), -0.24 * torso.d, 0.030 * torso.t]), np.stack(
        [long, across, np.cross(long, across)]
    )


def _heart(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    grown = 1 + _GROWN * state.grade("cardiomegaly")
    size = torso.thorax.heart * grown
    middle, axes = heart_axes(torso, size=grown)
    water = 4.0 * state.grade("pericardial-effusion")
    strain = 0.08 * state.grade("right-heart-strain")
    # along the long axis, across, up: offset and half axes of each part (mm)
    parts = {
        "lv": ((18, 5, -2), (52, 33, 33)), "rv": ((6, -30, 2), (46, 30 * (1 + strain), 36)),
        "ra": ((-31, -26, 4), (30, 27, 38)), "la": ((-46, 14, 22), (26, 34, 26)), "out": ((-22, -16, 34), (30, 28, 26)),
    }  # fmt: skip
    centers = {key: tuple(middle + size * along_axes(offset, axes)) for key, (offset, _) in parts.items()}
    halves = {key: tuple(size * h for h in half) for key, (_, half) in parts.items()}

    def whole(extra: float) -> Depth:
        shapes = [tilted(centers[k], axes, tuple(h + extra for h in halves[k])) for k in parts]

        def depth(p: Patch) -> np.ndarray:
            out = shapes[0](p)
            for shape in shapes[1:]:
                other = shape(p)
                gap = out - other
                np.abs(gap, out=gap)
                np.subtract(np.float32(_BLEND_MM), gap, out=gap)
                np.maximum(gap, 0, out=gap)
                np.maximum(out, other, out=out)
                gap *= gap
                gap *= np.float32(1 / (4 * _BLEND_MM))
                out += gap
            return np.minimum(out, torso.wall(p) - 2, out=out)

        return depth

    boxes = [box_about(centers[k], axes, halves[k], margin=5.5 + water + 1.5 * _BLEND_MM) for k in parts]
    low, high = (np.array(boxes)[..., k] for k in (0, 1))
    lowest = float(middle[2] - 94.5 * size)
    box: Bounds = (
        (low[:, 0].min(), high[:, 0].max()),
        (low[:, 1].min(), high[:, 1].max()),
        (max(low[:, 2].min(), lowest), high[:, 2].max()),
    )
    canvas.paint(
        whole(3.5 + water),
        tissue="fat",
        organ="pericardium",
        bounds=box,
        over=(
            "right-lung",
            "left-lung",
            "mediastinum",
            "peritoneum",
            "fat",
            "muscle",
            "outside",
            "skin",
            "pericardium",
            "stomach",
            "liver",
        ),
    )
    if water:
        canvas.paint(whole(2.0 + water), tissue="effusion", organ="pericardium", bounds=box, over=("pericardium",))
    canvas.paint(whole(0.0), tissue="myocardium", organ="heart", bounds=box)
    for key, wall, tissue in (
        ("lv", 10.5, "blood"),
        ("rv", 4.0, "pulmonary-blood"),
        ("ra", 2.5, "venous-blood"),
        ("la", 2.5, "blood"),
        ("out", 4, "pulmonary-blood"),
    ):
        half = tuple(h - wall for h in halves[key])
        depth = tilted(centers[key], axes, half, rough=1.6, mm=22)
        canvas.paint(
            depth,
            tissue=tissue,
            organ="heart",
            bounds=around(centers[key], (max(half),) * 3, margin=4),
            over=("heart",),
        )
    _coronary_grooves(canvas, middle=middle, axes=axes, size=size)


def _coronary_grooves(canvas: Canvas, *, middle: np.ndarray, axes: np.ndarray, size: float) -> None:
    """The fat of the grooves on both sides of the heart, and the artery in the left one."""
    groove = tubes(canvas)
    for side in (-1.0, 1.0):
        line = polyline(
            [
                middle + size * along_axes(q, axes)
                for q in ((-34, side * 30 - 8, 30), (-6, side * 26 - 10, 34), (36, -22, 22), (58, -10, 0))
            ],
            count=60,
        )
        groove.add(line, 3.6)
    groove.paint(canvas, tissue="fat", organ="heart", over=("heart",))
    artery = tubes(canvas)
    artery.add(line, 1.7)
    artery.paint(canvas, tissue="blood", organ="heart", over=("heart", "pericardium"))
