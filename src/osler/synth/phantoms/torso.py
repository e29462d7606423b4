"""The trunk's wall and bones: skin, fat, muscle, spine, ribs, shoulder girdle, pelvis.

Lengths are those of `thorax`; a radiograph projects what is painted here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from osler.synth.elementary import cosine, exp, power, sine
from osler.synth.facts import PatientFacts
from osler.synth.phantoms.canvas import Bounds, Canvas, Patch
from osler.synth.phantoms.pose import CT_POSE, Pose
from osler.synth.phantoms.shapes import around, ellipsoid, once, polyline
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.thorax import Thorax, thorax_of
from osler.synth.phantoms.tubes import tubes

SIDES = (("right", -1.0), ("left", 1.0))
# Vertebrae T1 to L5 and S1: height / trunk length, depth / half depth of the body's center.
_LEVELS = np.array(
    [
        (0.305, 0.40),
        (0.270, 0.47),
        (0.235, 0.52),
        (0.200, 0.55),
        (0.165, 0.565),
        (0.130, 0.57),
        (0.095, 0.57),
        (0.060, 0.565),
        (0.020, 0.555),
        (-0.020, 0.54),
        (-0.060, 0.52),
        (-0.100, 0.50),
        (-0.150, 0.47),
        (-0.200, 0.44),
        (-0.250, 0.42),
        (-0.300, 0.42),
        (-0.360, 0.45),
        (-0.415, 0.52),
    ]
)
_LIFTED_MM = 44.0
"""Radius of an upper arm."""
VERTEBRAE = tuple([f"t{n}" for n in range(1, 13)] + [f"l{n}" for n in range(1, 6)] + ["s1"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Torso:
    """Lengths (mm) of one trunk.

    Args:
        thorax: Of the chest. fat: Thickness of the fat under the skin.
        female: Whether breasts and a female pelvis are drawn. age: In years.
        pose: Of the exam. bend_mm: How far the spine bends to the side.
    """

    thorax: Thorax
    fat: float
    female: bool
    age: float
    pose: Pose = CT_POSE
    bend_mm: float = 0.0

    @property
    def w(self) -> float:
        """Half width."""
        return self.thorax.width

    @property
    def d(self) -> float:
        """Half depth."""
        return self.thorax.depth

    @property
    def t(self) -> float:
        """Length."""
        return self.thorax.trunk

    def at(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A point given in units of the trunk, in mm."""
        return x * self.w, y * self.d, z * self.t

    def spine_y(self, z: np.ndarray) -> np.ndarray:
        """Depth (y, mm) of the vertebral bodies' centers at a height."""
        return np.interp(-z, -_LEVELS[:, 0] * self.t, _LEVELS[:, 1] * self.d).astype(np.float32)

    def spine_x(self, z: np.ndarray) -> np.ndarray:
        """Distance (x, mm) of the vertebral bodies' centers from the midline at a height."""
        share = np.clip((z / self.t + 0.30) / 0.62, 0, 1)
        return (self.bend_mm * sine(np.pi * share)).astype(np.float32)

    def spine_half(self, z: np.ndarray) -> np.ndarray:
        """Half width (mm) of the vertebral bodies."""
        size = (self.t / 620) ** 0.7
        return (np.interp(z / self.t, [-0.42, -0.3, -0.1, 0.1, 0.3], [25, 23.5, 19, 15, 13]) * size).astype(np.float32)

    @property
    def spine_reach(self) -> float:
        """Greatest distance (mm) of a vertebral body's edge from the midline."""
        return abs(self.bend_mm) + float(self.spine_half(np.array([-0.42 * self.t]))[0])

    def wall(self, p: Patch) -> np.ndarray:
        """Depth (mm) in the cavity of chest and belly, inside ribs and muscle."""
        a, b, middle = p.upright("wall", self._wall_at)
        out = (p.x / a) ** 2 + ((p.y - middle) / b) ** 2
        np.sqrt(out, out=out)
        np.subtract(np.float32(1), out, out=out)
        out *= np.minimum(a, b)
        return out

    def _wall_at(self, z: np.ndarray) -> np.ndarray:
        """Half width and half depth (mm) of that cavity, and the place of its middle front to back, at some heights."""
        taper = self.thorax.taper(z)
        z = z / np.float32(self.t)
        low = np.clip((-z - 0.02) / 0.16, 0, 1)
        a = (0.85 * self.w * taper) * (1 - low) + low * (self.w - 0.75 * self.fat - 14)
        front = (0.76 * self.d * taper) * (1 - low) + low * (self.d - self.fat - 11)
        back = 0.84 * self.d * taper * (1 - low) + low * 0.70 * self.d
        pelvis = np.clip((-z - 0.40) / 0.2, 0, 1)
        a, back = a * (1 - 0.42 * pelvis), back * (1 - 0.1 * pelvis)
        return np.stack([a, (back + front) / 2, (back - front) / 2]).astype(np.float32)

    def roof(self, p: Patch) -> np.ndarray:
        """Height (mm) of the diaphragm, (1, Y, X)."""
        return p.flat("roof", lambda: self._roof(p.x, p.y))

    def _roof(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        domes = np.maximum(self.thorax.dome_height(x, y, side=-1.0), self.thorax.dome_height(x, y, side=1.0))
        middle = (
            self.thorax.dome[0] - 30 - 16 * ((y + 0.25 * self.d) / (0.6 * self.d)) ** 2 - 9 * (x / (0.3 * self.w)) ** 2
        )
        return np.maximum(domes, middle).astype(np.float32)


def torso_of(patient: PatientFacts, *, pose: Pose = CT_POSE, state: Shown | None = None) -> Torso:
    """Derives the trunk from the patient's anatomy, its pose, and the findings that move organs."""
    anatomy = patient.anatomy
    thorax = thorax_of(anatomy, sex=patient.sex, age=float(patient.age))
    index = anatomy.weight_kg / (anatomy.height_cm / 100) ** 2
    fat = float(np.clip(1.5 * (index - 18) + (5 if patient.sex == "female" else 2), 4, 42))
    bend = 0.0
    lifted = np.array([pose.breath_mm, pose.breath_mm])
    flat = 0.0
    if state is not None:
        grade = state.grade("scoliosis")
        bend = (3 + 7 * grade) * (1 if thorax.chance[40] > 0.3 else -1) if grade else 0.0
        flat = state.grade("hyperinflation", "emphysema") / 3
        lifted += [28.0 * (state.grade("elevated-hemidiaphragm", side=name) > 0) - 20 * flat for name, _ in SIDES]
    dome = (float(thorax.dome[0] + lifted[0]), float(thorax.dome[1] + lifted[1]))
    moved = replace(thorax, dome=dome, sulcus=thorax.sulcus * (1 - 0.5 * flat), heart=thorax.heart * pose.heart)
    return Torso(thorax=moved, fat=fat, female=patient.sex == "female", age=float(patient.age), pose=pose, bend_mm=bend)


def paint_wall(canvas: Canvas, torso: Torso) -> None:
    """Paints skin, fat, muscle and breasts."""
    w, d, t = torso.w, torso.d, torso.t

    def outline(p: Patch) -> np.ndarray:
        return power(power(np.abs(p.x / np.float32(w)), 2.4) + power(np.abs(p.y / np.float32(d)), 2.4), 1 / 2.4)

    def body(p: Patch) -> np.ndarray:
        z = p.z / np.float32(t)
        size = np.interp(
            z,
            [-0.75, -0.62, -0.5, -0.35, -0.2, 0.22, 0.26, 0.29, 0.32, 0.36],
            [0.92, 1.0, 1.0, 0.95, 0.97, 1.0, 0.97, 0.84, 0.66, 0.5],
        ).astype(np.float32)
        out = (size - p.flat("outline", lambda: outline(p))) * np.float32(d)
        if torso.pose.arms != "forward" and canvas.axes.z[p.box[0]].max() > 0.17 * t:
            wings = 1 - np.sqrt(((p.x / np.float32(w + 46)) ** 2) ** 2 + ((p.y - 0.06 * d) / np.float32(0.60 * d)) ** 2)
            top = (0.325 * t - np.clip(np.abs(p.x) - 55, 0, None) * 0.30) - p.z
            arch = p.z - (0.175 * t + np.clip(w + 10 - np.abs(p.x), 0, 60) * 0.8)
            out = np.maximum(out, np.minimum(np.minimum(wings * 58, top), arch))
        if torso.pose.arms == "down":
            _add_arms(out, p, torso)
        elif torso.pose.arms == "forward":
            _add_lifted_arms(out, p, torso)
        return out + np.float32(2.0) * p.wave(90)

    fat = torso.fat

    def under_fat(p: Patch) -> np.ndarray:
        # fat is thickest in front of the belly and on the flanks, thin over the chest and along the back
        low = np.clip((-p.z / np.float32(t) - 0.0) / 0.15, 0, 1)
        thick = fat * (0.55 + 0.45 * low) + 2
        back = np.clip(p.y / np.float32(d), -0.2, 1)
        return (thick * (1 - 0.35 * np.clip(back, 0, 1))).astype(np.float32)

    canvas.paint_shells(body, shells=((0.0, "skin", "skin"), (2.2, "fat", "fat"), (under_fat, "muscle", "muscle")))
    if torso.female:
        _breasts(canvas, torso)

    # planes of fat between the muscles
    def planes(p: Patch) -> np.ndarray:
        return np.float32(1.3) - np.abs(p.wave(34, key="planes")) * np.float32(14)

    canvas.paint(planes, tissue="fat", over=("muscle",), strength=0.75)


def _add_arms(out: np.ndarray, p: Patch, torso: Torso) -> None:
    """Raises a depth (mm) to that in the upper arms beside the trunk, in place."""
    w, d, t = torso.w, torso.d, torso.t
    top = np.float32(0.235 * t)
    share = np.clip((top - p.z) / np.float32(0.4 * t), -0.1, 1)
    beside = np.abs(p.x.reshape(-1)) > w - 40
    for half in (p.x.reshape(-1) < 0, p.x.reshape(-1) > 0):
        columns = np.flatnonzero(beside & half)
        if not len(columns):
            continue
        part = slice(int(columns[0]), int(columns[-1]) + 1)
        away = np.hypot(
            np.abs(p.x[..., part]) - np.float32(w + 16) - np.float32(82) * share, p.y - np.float32(0.08 * d)
        )
        arm = np.minimum(np.float32(45) - away, top + 30 - p.z)
        np.maximum(out[..., part], arm, out=out[..., part])


def _add_lifted_arms(out: np.ndarray, p: Patch, torso: Torso) -> None:
    """Raises a depth (mm) to that in the upper arms lifted in front of the face, in place."""
    start, end = lifted_arm(torso, side=1.0)
    way = end - start
    if float(p.z.max()) < start[2] - _LIFTED_MM:
        return
    aside, back, up = np.abs(p.x) - np.float32(start[0]), p.y - np.float32(start[1]), p.z - np.float32(start[2])
    share = np.clip((aside * way[0] + back * way[1] + up * way[2]) / np.float32(np.square(way).sum()), 0, 1).astype(
        np.float32
    )
    away = (aside - share * way[0]) ** 2 + (back - share * way[1]) ** 2 + (up - share * way[2]) ** 2
    np.maximum(out, np.float32(_LIFTED_MM) - np.sqrt(away.astype(np.float32)), out=out)


def lifted_arm(torso: Torso, *, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Shoulder and elbow (mm) of an arm that is lifted forward for a lateral film."""
    w, d, t = torso.w, torso.d, torso.t
    return np.array([side * 0.82 * w, -0.02 * d, 0.282 * t]), np.array([side * 0.80 * w, -0.95 * d, 0.52 * t])


def _breasts(canvas: Canvas, torso: Torso) -> None:
    size = torso.thorax.breast
    for _, side in SIDES:
        center = (side * 0.46 * torso.w, -0.86 * torso.d, 0.055 * torso.t)
        half = (0.86 * size, 0.30 * torso.d + 8, size)
        outer = once(ellipsoid(center, half))
        bounds = around(center, half, margin=3)
        over = ("outside", "skin", "fat", "breast")
        canvas.paint(outer, tissue="skin", organ="breast", bounds=bounds, over=over)
        canvas.paint(lambda p, f=outer: f(p) - np.float32(2), tissue="fat", organ="breast", bounds=bounds, over=over)
        gland = ellipsoid((center[0], center[1] - 4, center[2]), (0.5 * half[0], 0.62 * half[1], 0.5 * half[2]))
        share = np.float32(0.25 - 0.005 * (torso.age - 50))
        canvas.paint(
            lambda p, f=gland, s=share: np.minimum(f(p), (p.wave(12, key="gland") + s) * np.float32(8)),
            tissue="breast",
            organ="breast",
            bounds=bounds,
            over=over,
        )


def paint_spine(canvas: Canvas, torso: Torso, *, crushed: dict[str, float], worn: float, bone: float = 1.0) -> None:
    """Paints the vertebral column with discs, canal and processes.

    Args:
        crushed: Vertebra -> share of its height that is lost. worn: 0 to 3, degenerative change.
        bone: Factor on the density of marrow.
    """
    heights = _LEVELS[:, 0] * torso.t
    between = (heights[:-1] + heights[1:]) / 2
    reach = 34.0
    aside = 1.25 * torso.spine_reach + 3
    bounds: Bounds = ((-aside, aside), (0.1 * torso.d, 0.95 * torso.d + 12), (float(heights[-1]) - 14, 0.40 * torso.t))
    loss = np.array([crushed.get(name, 0.0) for name in VERTEBRAE])

    def column(p: Patch) -> np.ndarray:
        z = p.z
        half = torso.spine_half(z)
        waist = 1 - 0.09 * cosine(2 * np.pi * _phase(z, between))[..., :] ** 2
        lips = 1 + 0.06 * worn * exp(-((_gap(z, between) / 5) ** 2))
        a = (half * waist * lips).astype(np.float32)
        b = (0.78 * a).astype(np.float32)
        out = ((p.x - torso.spine_x(z)) / a) ** 2 + ((p.y - torso.spine_y(z)) / b) ** 2
        np.sqrt(out, out=out)
        return (np.float32(1) - out) * b

    def wedge(p: Patch) -> np.ndarray:
        """mm that the nearest vertebra's upper end plate has sunk, more in front."""
        number = np.abs(p.z.reshape(-1, 1) - heights).argmin(axis=1)
        sunk = (loss[number] * np.abs(heights[0] - heights[1]) * 0.7).reshape(p.z.shape).astype(np.float32)
        front = np.clip((torso.spine_y(p.z) + 10 - p.y) / 24, 0, 1)
        return sunk * front * np.float32(1)

    def disc(p: Patch) -> np.ndarray:
        thick = np.interp(p.z / torso.t, [-0.4, -0.15, 0.1, 0.3], [5.2, 4.4, 2.6, 2.2]) * (1 - 0.13 * worn)
        out = (thick - np.abs(_gap(p.z, between))).astype(np.float32)
        if loss.any():
            above = np.clip(-_signed_gap(p.z, between), 0, None).astype(np.float32)
            out = np.maximum(out, wedge(p) - above + np.float32(2))
        return out

    column, disc = once(column), once(disc)
    canvas.paint(column, tissue="cortex", organ="spine", bounds=bounds, edge=2.0, strength=0.55)
    sponge = canvas.palette["marrow"] * bone
    canvas.paint(
        lambda p: np.minimum(column(p) - np.float32(1.4), np.float32(-1.2) - disc(p)),
        tissue=lambda p: np.float32(sponge) * (1 + np.float32(0.18) * p.wave(7, key="sponge")),
        organ="spine",
        bounds=bounds,
    )
    canvas.paint(
        lambda p: np.minimum(column(p) - np.float32(0.3), disc(p)), tissue="disc", organ="spine", bounds=bounds
    )
    _arches(canvas, torso, heights=heights, bounds=bounds, reach=reach)


def vertebral_bodies(torso: Torso) -> list[tuple[list[np.ndarray], float]]:
    """The outlines of the vertebral bodies in the midline, and half their width.

    Each has four lines (3, 3) mm: upper end plate, back, lower end plate, front, all a little hollow.
    """
    heights = _LEVELS[:, 0] * torso.t
    between = (heights[:-1] + heights[1:]) / 2
    bodies = []
    for above, below in pairwise(between):
        gap = float(np.interp((above + below) / 2 / torso.t, [-0.4, -0.15, 0.1, 0.3], [5.2, 4.4, 2.6, 2.2])) + 0.6
        ends = np.array([above - gap, below + gap])
        half = float(torso.spine_half(ends.mean(keepdims=True))[0])
        (x1, x2), (y1, y2), (z1, z2) = torso.spine_x(ends), torso.spine_y(ends), ends
        b, x, y, z = 0.74 * half, (x1 + x2) / 2, (y1 + y2) / 2, (z1 + z2) / 2
        lines = [
            [(x1, y1 - b, z1 - 1), (x1, y1, z1 - 1.6), (x1, y1 + b, z1)],
            [(x1, y1 + b, z1), (x, y + b - 1.2, z), (x2, y2 + b, z2)],
            [(x2, y2 + b, z2), (x2, y2, z2 + 1.6), (x2, y2 - b, z2 + 1)],
            [(x2, y2 - b, z2 + 1), (x, y - b + 2.2, z), (x1, y1 - b, z1 - 1)],
        ]
        bodies.append(([np.array(line, dtype=float) for line in lines], half))
    return bodies


def _phase(z: np.ndarray, between: np.ndarray) -> np.ndarray:
    number = np.arange(len(between))
    return np.interp(-z, -between, number).astype(np.float32) / 2


def _gap(z: np.ndarray, between: np.ndarray) -> np.ndarray:
    flat = z.reshape(-1)
    nearest = np.abs(flat[:, None] - between[None]).min(axis=1)
    return nearest.reshape(z.shape)


def _signed_gap(z: np.ndarray, between: np.ndarray) -> np.ndarray:
    flat = z.reshape(-1)
    away = flat[:, None] - between[None]
    return away[np.arange(len(flat)), np.abs(away).argmin(axis=1)].reshape(z.shape)


def _arches(canvas: Canvas, torso: Torso, *, heights: np.ndarray, bounds: Bounds, reach: float) -> None:
    shell, inner = (tubes(canvas) for _ in range(2))
    for z in heights[:-1]:
        y = float(torso.spine_y(np.array([z]))[0])
        half = float(torso.spine_half(np.array([z]))[0])
        back = y + 0.78 * half
        aside = np.array([float(torso.spine_x(np.array([z]))[0]), 0.0, 0.0])
        spike = polyline([(0, back + 15, z), (0, back + 26, z - 6), (0, back + 36, z - 13)], count=12) + aside
        shell.add(spike, 3.6, squash=(1.3, 1, 0.6)), inner.add(spike, 1.8, squash=(1.3, 1, 0.6))
        for side in (-1.0, 1.0):
            arch = polyline(
                [(side * 0.62 * half, back - 3, z + 4), (side * 11.5, back + 8, z + 2), (0, back + 16, z - 3)], count=14
            )
            wing = polyline(
                [
                    (side * 11, back + 7, z + 2),
                    (side * (half + 12), back + 12, z + 3),
                    (side * (half + 19), back + 15, z + 2),
                ],
                count=14,
            )
            for line, radius in ((arch, 3.6), (wing, 3.4)):
                shell.add(line + aside, radius, squash=(1, 1, 0.6))
                inner.add(line + aside, radius - 1.7, squash=(1, 1, 0.6))
    shell.paint(canvas, tissue=0.55 * canvas.palette["cortex"], organ="spine")
    inner.paint(canvas, tissue="marrow", organ="spine", inside=0.55 * canvas.palette["cortex"])

    def canal(p: Patch) -> np.ndarray:
        middle = torso.spine_y(p.z) + np.float32(0.78) * torso.spine_half(p.z) + np.float32(8.5)
        return np.float32(8.2) - np.hypot((p.x - torso.spine_x(p.z)) * np.float32(0.86), p.y - middle)

    aside = abs(torso.bend_mm) + 11
    bounds = ((-aside, aside), *bounds[1:])
    canvas.paint(canal, tissue="csf", organ="spinal-canal", bounds=bounds)
    canvas.paint(lambda p: canal(p) - np.float32(3.4), tissue="white", organ="spinal-canal", bounds=bounds)


def paint_table(canvas: Canvas, torso: Torso) -> None:
    """Paints the CT table: a curved shell of foam and carbon under the back."""
    radius, top = np.float32(420.0), np.float32(torso.d + 5)

    def shell(p: Patch) -> np.ndarray:
        return p.flat("table", lambda: np.hypot(p.x, p.y - top + radius) - radius)

    canvas.paint(
        lambda p: np.minimum(shell(p), 46 - shell(p)),
        tissue="cushion",
        organ="table",
        bounds=((-230, 230), (-60, top + 60), (-1e4, 1e4)),
        over=("outside",),
    )
    canvas.paint(
        lambda p: np.float32(1.4) - np.abs(shell(p) - 4),
        tissue="table",
        organ="table",
        bounds=((-225, 225), (-60, top + 60), (-1e4, 1e4)),
        over=("outside", "table"),
    )
