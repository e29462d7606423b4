"""Lengths of the rays within body, lungs, air and fluid, summed slab by slab.

Depth is cut into slabs at right angles to the beam. Within a slab x and y follow from the
column alone and z from the row alone, so most of each implicit shape is a sum of a row and
a column: a slab costs a few passes over the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.synth.xrays.beam import Beam
from osler.synth.xrays.thorax import LEFT, RIGHT, Thorax

SLAB_MM = 6.0
STEP_PX = 2
_SOFT_EDGE_MM = 3.0
SHOULDER_MM = 58.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disease:
    """What of an exam's findings changes organs as a whole; index 0 is right, 1 left.

    Args:
        heart: Factor on the heart's size.
        fluid: Share of each pleural space that is filled, 0 to 1.
        air: How far each lung has come off the chest wall (mm).
        raised: How far each half of the diaphragm is raised (mm).
        flat: Share by which both halves are flattened.
        supine: Whether fluid layers behind the lungs.
        free_gas: Thickness of gas under the right diaphragm (mm).
        hernia: Radius of a hiatal hernia (mm).
        rind: Thickness of each thickened pleura (mm).
        wide: How much wider the upper mediastinum is on each side (mm).
    """

    heart: float = 1.0
    fluid: tuple[float, float] = (0.0, 0.0)
    air: tuple[float, float] = (0.0, 0.0)
    raised: tuple[float, float] = (0.0, 0.0)
    flat: float = 0.0
    supine: bool = False
    free_gas: float = 0.0
    hernia: float = 0.0
    rind: tuple[float, float] = (0.0, 0.0)
    wide: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paths:
    """Lengths (mm) of the rays in each organ, (rows, columns) float32 at half resolution.

    Args:
        body: In the whole body, air spaces included.
        lung: In aerated lung, right and left.
        gas: In air that is not lung: airways, stomach, pneumothorax.
        fluid: In pleural fluid, right and left. loose: In pleural air, right and left.
        heart: In the heart. free: In gas under the diaphragm. rind: In thickened pleura, right and left.
        hernia: In a hiatal hernia.
    """

    body: np.ndarray
    lung: tuple[np.ndarray, np.ndarray]
    gas: np.ndarray
    fluid: tuple[np.ndarray, np.ndarray]
    loose: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    free: np.ndarray
    rind: tuple[np.ndarray, np.ndarray]
    hernia: np.ndarray


def _ramp(distance: np.ndarray, *, edge: float = _SOFT_EDGE_MM) -> np.ndarray:
    return np.clip(distance * np.float32(1 / edge) + np.float32(0.5), 0, 1)


def ray_paths(thorax: Thorax, *, beam: Beam, disease: Disease) -> Paths:
    """Integrates the organs along the rays of a beam."""
    reach = thorax.width + SHOULDER_MM + 30 if beam.view == "lateral" else thorax.depth + 12
    slabs = np.arange(-reach + SLAB_MM / 2, reach, SLAB_MM)
    arms: Literal["down", "raised"] = "raised" if beam.view == "lateral" else "down"
    shape = (-(-beam.rows // STEP_PX), -(-beam.columns // STEP_PX))
    sums = {
        name: np.zeros(shape, np.float32)
        for name in ("body", "gas", "heart", "free", "rl", "ll", "rf", "lf", "ra", "la", "rp", "lp", "hernia")
    }
    for depth in slabs:
        x, y, z = beam.plane(float(depth), step=STEP_PX)
        _add_slab(sums, thorax=thorax, disease=disease, arms=arms, x=x, y=y, z=z)
    for total in sums.values():
        total *= np.float32(SLAB_MM)
    return Paths(
        body=sums["body"], gas=sums["gas"], heart=sums["heart"], free=sums["free"], lung=(sums["rl"], sums["ll"]),
        fluid=(sums["rf"], sums["lf"]), loose=(sums["ra"], sums["la"]),
        rind=(sums["rp"], sums["lp"]), hernia=sums["hernia"],
    )  # fmt: skip


def _add_slab(
    sums: dict[str, np.ndarray],
    *,
    thorax: Thorax,
    disease: Disease,
    arms: Literal["down", "raised"],
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
) -> None:
    body = _body(thorax, arms=arms, x=x, y=y, z=z)
    if body is None:
        return
    sums["body"] += body
    if disease.hernia > 0:
        center = (6.0, 0.25 * thorax.depth, thorax.dome[1] + 0.4 * disease.hernia)
        sac = np.full(body.shape, -9.0, np.float32)
        hernia = _ramp(_near_line(sac, start=center, end=center, radius=disease.hernia, x=x, y=y, z=z))
        sums["hernia"] += hernia
        # A bubble of air over the fluid in the sac.
        sums["gas"] += 0.8 * hernia * (z > center[2] + 0.35 * disease.hernia) * _ramp(sac - 4)
    heart = _heart(thorax, disease=disease, x=x, y=y, z=z)
    solid = _mediastinum(thorax, disease=disease, x=x, y=y, z=z)
    if disease.hernia > 0:
        solid = np.maximum(solid, hernia)
    if heart is not None:
        beat = _ramp(heart)
        sums["heart"] += beat
        solid = np.maximum(solid, beat)
    open_ = 1 - solid
    for side, mark, number in ((RIGHT, "r", 0), (LEFT, "l", 1)):
        columns = _columns_of(side, x=x)
        if columns is None:
            continue
        parts = _lung(thorax, disease=disease, side=side, number=number, x=x[:, columns], y=y[:, columns], z=z)
        if parts is None:
            continue
        rows, shares = parts
        clear = open_[rows, columns]
        for name, share in shares.items():
            sums[mark + name][rows, columns] += share * clear
    _airways(sums["gas"], thorax=thorax, x=x, y=y, z=z)
    _abdominal_gas(sums, thorax=thorax, disease=disease, x=x, y=y, z=z)


def _columns_of(side: float, *, x: np.ndarray) -> slice | None:
    inside = np.flatnonzero(side * x[0] > -6)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) > 1 else None


def _body(
    thorax: Thorax, *, arms: Literal["down", "raised"], x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray | None:
    """Share of a slab's pixels within the body: trunk, shoulders, neck and upper arms."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    radius = (np.abs(x / w) ** 2.8 + np.abs(y / d) ** 2.8) ** np.float32(1 / 2.8)
    trunk = (1 - radius) * d
    shoulder = 1 - np.sqrt((x / (w + SHOULDER_MM - 16)) ** 4 + ((y - 0.1 * d) / (0.62 * d)) ** 2)
    shoulder = shoulder * 60
    neck = 61 - np.hypot(x, (y - 8) * 1.05)
    if max(trunk.max(), shoulder.max(), neck.max()) < -4:
        return None
    outer = np.abs(x) - 60
    slope = t * 0.392 - 0.19 * (outer + np.sqrt(outer * outer + 1600)) - np.clip(np.abs(x) - w, 0, None) ** 2 * 0.008
    top = slope - z
    torso = np.minimum(trunk, top + 12)
    whole = np.maximum(torso, np.broadcast_to(neck, torso.shape))
    if arms == "raised":
        wings = np.minimum(np.minimum(shoulder, top), 0.2 * (z - 0.30 * t))
        return _ramp(np.maximum(whole, wings))
    wings = np.minimum(np.minimum(shoulder, top), z - 0.235 * t)
    whole = np.maximum(whole, wings).astype(np.float32)
    for side in (RIGHT, LEFT):
        start, end = (side * (w + 18), 0.1 * d, 0.235 * t), (side * (w + 120), 0.1 * d, -0.16 * t)
        whole = _near_line(whole, start=start, end=end, radius=47.0, x=x, y=y, z=z)
    return _ramp(whole)


def _lung(
    thorax: Thorax, *, disease: Disease, side: float, number: int, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[slice, dict[str, np.ndarray]] | None:
    """Rows touched, and shares of a slab's pixels of one side: lung (l), fluid (f), loose air (a), rind (p)."""
    taper = thorax.taper(z)
    ahead = (y - np.float32(thorax.lung_y)) / np.float32(thorax.lung_b)
    lowest = thorax.dome[number] + disease.raised[number] - 2.2 * thorax.sulcus
    inside = np.flatnonzero(
        (taper[:, 0] > float(np.abs(ahead).min())) & (z[:, 0] > lowest) & (z[:, 0] < thorax.apex + 3)
    )
    if len(inside) < 2:
        return None
    rows = slice(int(inside[0]), int(inside[-1]) + 1)
    z, taper = z[rows], taper[rows].astype(np.float32)
    middle = thorax.lung_middle(z).astype(np.float32)
    u = (np.float32(side) * x - middle) / (np.float32(thorax.lung_a) * taper)
    wall = (1 - np.sqrt(u * u + (ahead / taper) ** 2)) * (np.float32(thorax.lung_a) * taper)
    sulcus = thorax.sulcus * (1 - 0.5 * disease.flat)
    shape = thorax.dome_height(x, y, side=side)
    top = thorax.dome[0] if side < 0 else thorax.dome[1]
    dome = top + disease.raised[number] - 22 * disease.flat + (shape - top) * (sulcus / thorax.sulcus)
    above = z - dome.astype(np.float32)
    space = _ramp(np.minimum(wall, above))
    if not space.any():
        return None
    shares = {"l": space}
    if disease.rind[number] > 0:
        rind = np.float32(disease.rind[number]) * np.clip(1.2 - (z - thorax.middle) / (0.22 * thorax.trunk), 0, 1)
        peel = space * (1 - _ramp(wall - rind, edge=1.5)) * (rind > 0.5)
        shares |= {"p": peel, "l": shares["l"] - peel}
    if disease.fluid[number] > 0:
        depth = _fluid_depth(thorax, disease=disease, number=number, wall=wall, y=y, z=z)
        wet = shares["l"] * _ramp(depth, edge=6)
        shares |= {"f": wet, "l": shares["l"] - wet}
    if disease.air[number] > 0:
        higher = np.clip((z - 0.03 * thorax.trunk) / (0.25 * thorax.trunk), 0, 1)
        off = np.float32(disease.air[number]) * (0.06 + 0.94 * higher) * np.clip((u + 0.2) / 0.6, 0, 1)
        came_off = _ramp(wall - off)
        # The visceral pleura is a thin sheet of tissue between lung and air.
        sheet = 1 - 0.8 * np.clip(1 - np.abs(wall - off) / 1.3, 0, 1) * (off > 1)
        shares |= {"a": shares["l"] * (1 - came_off) * sheet, "l": shares["l"] * came_off * sheet}
    return rows, shares


def _fluid_depth(
    thorax: Thorax, *, disease: Disease, number: int, wall: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """How deep (mm) a place lies in pleural fluid."""
    amount = disease.fluid[number]
    base = thorax.dome[number] + disease.raised[number] - thorax.sulcus
    if disease.supine:
        front = thorax.lung_b * (0.9 - 1.5 * amount) + thorax.lung_y
        return (y - front) + 0.25 * amount * (0.1 * thorax.trunk - z)
    level = base + 18 + amount * (thorax.apex - base) * 0.92
    # The meniscus climbs along the wall of the chest.
    climb = 30 * (1 - amount) * np.exp(-np.maximum(wall, 0) / 9)
    return level + climb - z


def _heart(thorax: Thorax, *, disease: Disease, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray | None:
    """Signed depth (mm) in the heart: left ventricle, right heart and outflow."""
    grown = disease.heart - 1
    shift, t, d = thorax.heart_x, thorax.trunk, thorax.depth
    parts = (
        # center x, y, z; half axes along the long axis, across it, front to back; tilt
        (30 + shift, -0.30 * d, 0.028 * t, 62.0, 40.0, 47.0, -0.62),
        (-2 + shift, -0.27 * d, 0.042 * t, 38.0, 52.0, 46.0, 0.12),
        (18 + shift, -0.34 * d, 0.095 * t, 30.0, 36.0, 36.0, 0.3),
    )
    depth: np.ndarray | None = None
    for (cx, cy, cz, long, short, deep, tilt), share in zip(parts, (1.0, 0.75, 0.35), strict=True):
        size = np.float32(thorax.heart * (1 + share * grown))
        ahead = ((y - cy) / (deep * size)) ** 2
        if float(ahead.min()) > 1.1:
            continue
        cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        dx, dz = x - np.float32(cx + 14 * grown), z - np.float32(cz - 4 * grown)
        p, q = (cosine * dx + sine * dz) / (long * size), (cosine * dz - sine * dx) / (short * size)
        one = (1 - np.sqrt(p * p + q * q + ahead)) * (short * size)
        depth = one if depth is None else _blend(depth, one)
    if depth is None or depth.max() < -2:
        return None
    return depth.astype(np.float32)


def _blend(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Union with rounded joins."""
    h = np.clip(12 - np.abs(a - b), 0, None)
    return np.maximum(a, b) + h * h * np.float32(1 / 48)


def vessels(thorax: Thorax) -> tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...]:
    """The great vessels as thick lines: two ends and a radius each."""
    w, d, t, r = thorax.width, thorax.depth, thorax.trunk, thorax.aorta
    knob = r + 1.0
    return (
        ((-22, -0.2 * d, 0.10 * t), (-23, -0.12 * d, 0.225 * t), 10.5),
        ((-23, -0.12 * d, 0.225 * t), (-30, -0.2 * d, 0.29 * t), 8.5),
        ((-0.06 * w - 4, -0.2 * d, 0.10 * t), (-0.05 * w - 4, -0.14 * d, 0.18 * t), r + 2.5),
        ((-0.05 * w - 4, -0.14 * d, 0.18 * t), (0.04 * w, -0.02 * d, 0.203 * t), r + 1.0),
        ((0.04 * w, -0.02 * d, 0.203 * t), (0.125 * w, 0.26 * d, 0.192 * t), knob),
        ((0.125 * w, 0.26 * d, 0.192 * t), (0.12 * w, 0.42 * d, 0.10 * t), r),
        ((0.12 * w, 0.42 * d, 0.10 * t), (0.04 * w, 0.46 * d, -0.10 * t), r - 1.5),
        ((0.10 * w, -0.2 * d, 0.13 * t), (0.15 * w, 0.02 * d, 0.155 * t), 14.0),
        ((0.15 * w, 0.02 * d, 0.155 * t), (0.29 * w, 0.14 * d, 0.142 * t), 9.5),
        ((0.29 * w, 0.14 * d, 0.142 * t), (0.315 * w, 0.2 * d, 0.085 * t), 7.0),
        ((0.05 * w, -0.08 * d, 0.14 * t), (-0.17 * w, 0.0, 0.135 * t), 10.0),
        ((-0.17 * w, 0.0, 0.135 * t), (-0.27 * w, 0.08 * d, 0.118 * t), 9.0),
        ((-0.27 * w, 0.08 * d, 0.118 * t), (-0.315 * w, 0.14 * d, 0.062 * t), 7.0),
        ((-26, -0.25 * d, 0.29 * t), (-38, -0.2 * d, 0.33 * t), 9.0),
        ((24, -0.2 * d, 0.23 * t), (38, -0.1 * d, 0.33 * t), 8.0),
    )


def _mediastinum(thorax: Thorax, *, disease: Disease, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Share of a slab that is mediastinum or spine."""
    d, t = thorax.depth, thorax.trunk
    waist = 11 + 11 * np.exp(-(((y + 0.05 * d) / (0.4 * d)) ** 2))
    plate = np.where(y < 0.75 * d, waist - np.abs(x), -10.0)
    spine = 0.45 * (18 - np.hypot(x, (y - 0.62 * d) * 0.7))
    flat = np.maximum(plate, spine).astype(np.float32)
    # The upper mediastinum widens toward the neck and toward the great vessels.
    bulge = 25.0 + disease.wide + 5 * np.cos((z - 0.16 * t) * (6.3 / (0.2 * t)))
    thymus = np.minimum(bulge - np.abs(x), 0.36 * d - np.abs(y + 0.05 * d))
    depth = np.maximum(flat, np.minimum(thymus, 0.5 * (z - 0.13 * t))).astype(np.float32)
    for start, end, radius in vessels(thorax):
        depth = _near_line(depth, start=start, end=end, radius=radius, x=x, y=y, z=z)
    return _ramp(depth + 1, edge=9)


def _near_line(
    depth: np.ndarray,
    *,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
) -> np.ndarray:
    """Raises a depth map to the inside of a thick line."""
    reach = radius + 4
    low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
    columns = np.flatnonzero((x[0] > low[0]) & (x[0] < high[0]) & (y[0] > low[1]) & (y[0] < high[1]))
    rows = np.flatnonzero((z[:, 0] > low[2]) & (z[:, 0] < high[2]))
    if not len(columns) or not len(rows):
        return depth
    a, b = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    dx, dy, dz = x[:, b] - start[0], y[:, b] - start[1], z[a] - start[2]
    line = np.subtract(end, start)
    length = float(line @ line)
    share = np.clip((dx * line[0] + dy * line[1] + dz * line[2]) / max(length, 1e-6), 0, 1) if length > 0 else 0.0
    away = np.sqrt((dx - share * line[0]) ** 2 + (dy - share * line[1]) ** 2 + (dz - share * line[2]) ** 2)
    depth[a, b] = np.maximum(depth[a, b], radius - away)
    return depth


def airways(thorax: Thorax) -> tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...]:
    """Trachea and main bronchi as lines: two ends and a radius each."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    carina = (2.0, 0.12 * d, 0.172 * t)
    return (
        ((0.0, -0.12 * d, 0.40 * t), carina, 9.5),
        (carina, (-0.17 * w, 0.16 * d, 0.135 * t), 6.5),
        (carina, (0.2 * w, 0.18 * d, 0.130 * t), 6.0),
        ((-0.17 * w, 0.16 * d, 0.135 * t), (-0.24 * w, 0.22 * d, 0.095 * t), 4.5),
        ((0.2 * w, 0.18 * d, 0.130 * t), (0.24 * w, 0.24 * d, 0.095 * t), 4.0),
    )


def _airways(gas: np.ndarray, *, thorax: Thorax, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    depth = np.full(gas.shape, -5.0, np.float32)
    for start, end, radius in airways(thorax):
        depth = _near_line(depth, start=start, end=end, radius=radius, x=x, y=y, z=z)
    gas += _ramp(depth)


def _abdominal_gas(
    sums: dict[str, np.ndarray], *, thorax: Thorax, disease: Disease, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    """The stomach's bubble under the left diaphragm, and free gas under the right."""
    w, d = thorax.width, thorax.depth
    size = 9 + 18 * thorax.chance[20]
    top = thorax.dome[1] + disease.raised[1] - 22 * disease.flat - 7
    cx, cy = (0.30 + 0.2 * thorax.chance[21]) * w, 0.05 * d
    ahead = ((y - cy) / 26) ** 2
    if float(ahead.min()) < 1:
        radius = np.sqrt(((x - cx) / (1.6 * size)) ** 2 + ((z - (top - size)) / size) ** 2 + ahead)
        bubble = (1 - radius) * size
        if not disease.supine:
            bubble = np.minimum(bubble, z - (top - 1.25 * size))
        sums["gas"] += _ramp(bubble)
    if disease.free_gas > 0:
        under = thorax.dome_height(x, y, side=RIGHT) + disease.raised[0] - 3 - z
        crescent = np.minimum(under, disease.free_gas - under)
        inside = np.minimum(0.75 * w + x, -0.12 * w - x)
        sums["free"] += _ramp(np.minimum(np.minimum(crescent, inside), 0.5 * d - np.abs(y)))
