"""Bones of the chest as shadows: ribs, spine, clavicles, shoulder blades, arms, sternum."""

from __future__ import annotations

import numpy as np

from osler.synth.xrays.beam import Beam
from osler.synth.xrays.organs import SHOULDER_MM
from osler.synth.xrays.thorax import LEFT, RIGHT, Thorax
from osler.synth.xrays.tubes import Chain, along, paint_chain, smooth_line

RIBS = 12
_STEP_MM = 2.2


def rib_line(thorax: Thorax, *, number: int, side: float) -> np.ndarray:
    """The course of a rib (1 to 12) from its vertebra to its front end, (N, 3) mm."""
    t, gap = thorax.trunk, thorax.rib_gap
    start = 0.302 * t - (number - 1) * gap
    end_angle = np.interp(number, [1, 2, 7, 8, 10, 11, 12], [150, 146, 138, 132, 118, 82, 62])
    angle = np.radians(np.linspace(9, end_angle, 48))
    drop = (34 + 11.5 * min(number, 9)) * thorax.slope
    fall = drop * (1 - np.cos(angle)) / 2 + 5 * np.sin(angle) * (number > 2)
    z = start + 3 - fall
    taper = np.maximum(thorax.taper(z), 0.30)
    across = np.maximum(thorax.lung_middle(z) + thorax.lung_a * taper + 5, 46)
    deep = thorax.lung_b * np.maximum(taper, 0.5) + 4
    x = across * np.sin(angle) ** 0.86
    y = thorax.lung_y + deep * np.cos(angle) * np.where(np.cos(angle) > 0, 0.92, 1.0)
    return np.stack([side * np.maximum(x, 18), y, z], axis=1)


def _step(beam: Beam) -> float:
    """Distance (mm) of the disks along a bone: finer than a rib is wide, and than what is seen."""
    return max(_STEP_MM, 1.4 * beam.pixel_mm)


def _chain(beam: Beam, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]) -> Chain:
    """Disks of polylines: points (N, 3), radius (mm), amount and layer of each."""
    points = np.concatenate([part[0] for part in parts])
    column, row, magnified = beam.project(points)
    return Chain(
        column=column,
        row=row,
        radius=np.concatenate([np.broadcast_to(part[1], len(part[0])) for part in parts]) * magnified,
        amount=np.concatenate([np.broadcast_to(part[2], len(part[0])) for part in parts]),
        layer=np.concatenate([np.full(len(part[0]), part[3]) for part in parts]),
    )


def _along_ray(points: np.ndarray, *, beam: Beam) -> np.ndarray:
    """How much longer a ray's way through a tube is where the tube runs along the ray, 1 to 2.4."""
    direction = np.gradient(points, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
    axis = 0 if beam.view == "lateral" else 1
    return 1 / np.sqrt(np.clip(1 - direction[:, axis] ** 2, 0.17, 1))


def paint_ribs(thorax: Thorax, *, beam: Beam, broken: tuple[tuple[float, int, float], ...] = ()) -> np.ndarray:
    """Bone (mm) of all ribs.

    Args:
        broken: Fractures: side, rib and place along it, 0 to 1.
    """
    parts, step = [], _step(beam)
    size = 1.0 if thorax.sex == "male" else 0.9
    old = 1 - 0.0035 * max(0.0, thorax.age - 45)
    for side in (RIGHT, LEFT):
        for number in range(1, RIBS + 1):
            line, reached = along(rib_line(thorax, number=number, side=side), step_mm=step)
            high = (5.6 if number > 1 else 6.6) * size * np.interp(reached, [0, 0.12, 0.7, 1], [0.72, 0.95, 1.05, 1.2])
            amount = (
                3.0 * old * _along_ray(line, beam=beam) * np.interp(reached, [0, 0.1, 0.75, 1], [0.8, 1.1, 0.9, 0.65])
            )
            for broken_side, broken_rib, place in broken:
                if broken_side == side and broken_rib == number:
                    line, amount, high = _break(line, amount, high, reached=reached, place=place)
            # Ribs two apart never overlap within one side, except where they run along the ray.
            parts.append((line, high, amount, (number % 3) + (3 if side > 0 else 0)))
    return paint_chain(_chain(beam, parts), rows=beam.rows, columns=beam.columns, profile="shell")


def _break(
    line: np.ndarray, amount: np.ndarray, high: np.ndarray, *, reached: np.ndarray, place: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A fracture: a gap, a step of half the rib's height, and callus around it."""
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    away = (reached - place) * length
    shifted = line.copy()
    shifted[away > 0, 2] -= 5.0
    amount = np.where(np.abs(away) < 1.6, 0.0, amount)
    near = np.exp(-((away / 6) ** 2))
    return shifted, amount * (1 + 0.3 * near), high * (1 + 0.25 * near)


def paint_spine(
    thorax: Thorax, *, beam: Beam, bent: float = 0.0, crushed: tuple[tuple[int, float], ...] = (), spurs: float = 0.0
) -> np.ndarray:
    """Bone (mm) of the vertebrae.

    Args:
        bent: Greatest sideways deviation (mm) of the curve.
        crushed: Collapsed vertebrae (1 is the first thoracic) and how far, 0 to 1.
        spurs: Size of bony spurs, 0 to 1.
    """
    lost = dict(crushed)
    gap, step = thorax.rib_gap, _step(beam)
    rods, shells = [], []
    old = 1 - 0.005 * max(0.0, thorax.age - 50)
    for number in range(-3, 17):
        side = bent * np.sin(np.pi * np.clip((number + 1) / 15, 0, 1))
        wide = np.interp(number, [-3, 1, 12, 16], [11, 13, 18, 22])
        _, y, z = vertebra_center(thorax, number=number)
        half = np.interp(number, [1, 12, 16], [0.39, 0.46, 0.6]) * gap * (1 - 0.6 * lost.get(number, 0.0))
        center = np.array([side, y, z - (0.39 * gap - half) * (number in lost)])
        rods += _block(center, wide=wide, half=half, deep=0.85 * wide, beam=beam, amount=9.5 * old, layer=number % 2)
        for hand in (RIGHT, LEFT):
            if spurs > 0 and number > 4:
                corner = center + np.array([hand * (wide + 1.5), -0.5 * wide, half])
                shells.append((corner[None], np.array([1.5 + 3.5 * spurs]), np.array([3.0 + 3 * spurs]), 4))
            pedicle = center + np.array([hand * 0.62 * wide, 1.2 * wide, 0.25 * half])
            shells.append((pedicle[None], np.array([4.6]), np.array([5.0]), 2))
            tip = center + np.array([hand * (wide + 13), 1.5 * wide, 3.0])
            line, _ = along(np.stack([pedicle, tip]), step_mm=step)
            shells.append((line, np.array(4.2), np.array(2.6), 3))
        spike = center + np.array([0, 1.9 * wide, -0.4 * gap])
        line, _ = along(
            np.stack([center + np.array([0, 1.4 * wide, 0]), spike + np.array([0, 0.7 * wide, -5])]), step_mm=step
        )
        shells.append((line, np.array(3.4), np.array(3.6), 2))
    bodies = paint_chain(_chain(beam, rods), rows=beam.rows, columns=beam.columns, profile="flat")
    return bodies + paint_chain(_chain(beam, shells), rows=beam.rows, columns=beam.columns, profile="shell")


def _block(
    center: np.ndarray, *, wide: float, half: float, deep: float, beam: Beam, amount: float, layer: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """A vertebral body: even bone between denser end plates, seen from the front or the side."""
    reach = deep if beam.view == "lateral" else wide
    axis = np.array([0.0, 1.0, 0.0]) if beam.view == "lateral" else np.array([1.0, 0.0, 0.0])
    parts = []
    steps = np.arange(-reach, reach + 0.1, _step(beam))
    for height, radius, factor, above in (
        (0.0, 0.93 * half, 1.0, 0),
        (half - 1.5, 1.9, 0.35, 2),
        (1.5 - half, 1.9, 0.35, 2),
    ):
        waist = 1 - 0.1 * (height == 0)
        line = center + steps[:, None] * waist * axis + np.array([0, 0, height])
        parts.append((line, np.array(radius), np.array(amount * factor), layer + above))
    return parts


def vertebra_center(thorax: Thorax, *, number: int) -> np.ndarray:
    """Middle of a vertebral body (1 is the first thoracic), mm."""
    z = 0.302 * thorax.trunk - (number - 1) * thorax.rib_gap * np.interp(number, [-3, 1, 12, 16], [0.8, 1, 1.0, 1.12])
    return np.array([0.0, 0.58 * thorax.depth + 10 * np.sin(np.pi * (number - 1) / 12) - 6, z])


def clavicle_line(thorax: Thorax, *, side: float, raised: float = 0.0) -> np.ndarray:
    """The course of a clavicle from the sternum to the shoulder, (N, 3) mm."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    tilt = 4 * (thorax.chance[30] - 0.5) * side
    return smooth_line([
        (side * 14, -0.80 * d, 0.258 * t + tilt), (side * 0.30 * w, -0.86 * d, 0.278 * t + raised * 0.5),
        (side * 0.62 * w, -0.45 * d, 0.305 * t + raised), (side * (0.93 * w + 2), -0.02 * d, 0.304 * t + raised),
    ])  # fmt: skip


def paint_shoulders(thorax: Thorax, *, beam: Beam, broken: tuple[float, ...] = ()) -> np.ndarray:
    """Bone (mm) of clavicles, shoulder blades, upper arms and sternum.

    Args:
        broken: Sides with a broken clavicle.
    """
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    step = _step(beam)
    shells: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []
    flats: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []
    rounds: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []
    out = {"PA": 0.14 * w, "AP": 0.0, "lateral": 0.05 * w}[beam.view]
    raised = {"PA": -6.0, "AP": 8.0, "lateral": 10.0}[beam.view]
    for number, side in enumerate((RIGHT, LEFT)):
        clavicle = clavicle_line(thorax, side=side, raised=raised)
        line, reached = along(clavicle, step_mm=step)
        thick = np.interp(reached, [0, 0.08, 0.3, 0.7, 1], [8.5, 7.0, 5.3, 5.4, 7.2])
        amount = 4.2 * np.ones_like(thick)
        if side in broken:
            line, amount, thick = _break(line, amount, thick, reached=reached, place=0.55)
        shells.append((line, thick, amount, number))
        joint = np.array([side * (w + SHOULDER_MM - 66), 0.1 * d, 0.255 * t + 0.5 * raised])
        head = joint + np.array([side * 22.0, -4.0, 2.0])
        shaft = head + np.array([side * 62.0, 0.0, -200.0])
        arm, _ = along(np.stack([head + np.array([side * 6, 0, -12]), shaft]), step_mm=step)
        if beam.view != "lateral":
            rounds.append((head[None], np.array([22.0]), np.array([9.0]), number))
            shells.append((arm, np.array(11.0), np.array(6.0), number))
        shells += _blade(thorax, side=side, out=out, joint=joint, layer=2 + number, step=step)
        flats += _blade_plate(thorax, side=side, out=out, joint=joint)
    breastbone = smooth_line([(0, -0.84 * d, 0.25 * t), (0, -0.95 * d, 0.18 * t), (0, -0.95 * d, 0.03 * t)])
    line, _ = along(breastbone, step_mm=step)
    if beam.view == "lateral":
        shells.append((line, np.array(5.0), np.array(4.5), 0))
    else:
        flats.append((line, np.array(15.0), np.array(1.1), 0))
    total = paint_chain(_chain(beam, shells), rows=beam.rows, columns=beam.columns, profile="shell")
    if rounds:
        total += paint_chain(_chain(beam, rounds), rows=beam.rows, columns=beam.columns, profile="solid")
    return total + paint_chain(_chain(beam, flats), rows=beam.rows, columns=beam.columns, profile="flat")


def _blade_corners(thorax: Thorax, *, side: float, out: float, joint: np.ndarray) -> tuple[np.ndarray, ...]:
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    upper = np.array([side * (0.60 * w + out), 0.72 * d, 0.285 * t])
    lower = np.array([side * (0.68 * w + 1.1 * out), 0.88 * d, 0.095 * t])
    return upper, lower, joint + np.array([-side * 4.0, 10.0, -2.0])


def _blade(
    thorax: Thorax, *, side: float, out: float, joint: np.ndarray, layer: int, step: float
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """The borders of a shoulder blade, its spine, acromion and coracoid."""
    upper, lower, socket = _blade_corners(thorax, side=side, out=out, joint=joint)

    def near(point: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
        return point + np.array([side * x, y, z])

    lines = (
        ([upper, near((upper + lower) / 2, -4, 0, 0), lower], 1.9, 1.6),
        ([lower, near((lower + socket) / 2, 5, 0, -4), socket], 3.4, 2.6),
        ([upper, socket], 1.6, 0.8),
        ([(3 * upper + lower) / 4, near((upper + socket) / 2, 0, 10, 6), near(joint, 12, 4, 24)], 3.8, 2.4),
        ([near(socket, -6, -12, 6), near(socket, -8, -34, 12), near(socket, 4, -44, 8)], 4.5, 3.0),
    )
    parts = []
    for points, radius, amount in lines:
        line, _ = along(smooth_line([tuple(point) for point in points], count=30), step_mm=step)
        parts.append((line, np.array(radius), np.array(amount), layer))
    parts.append((socket[None], np.array([11.0]), np.array([3.2]), layer))
    return parts


def _blade_plate(
    thorax: Thorax, *, side: float, out: float, joint: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """The thin plate between the borders."""
    upper, lower, socket = _blade_corners(thorax, side=side, out=out, joint=joint)
    parts = []
    for share in np.linspace(0.06, 0.94, 12):
        line, _ = along(np.stack([upper + share * (lower - upper), socket + share * (lower - socket)]), step_mm=5.0)
        parts.append((line, np.array(9.0), np.array(0.8), 1))
    return parts
