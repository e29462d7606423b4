"""Lengths of the rays within body, lungs, air and fluid, summed slab by slab.

Depth is cut into slabs at right angles to the beam. Within a slab x and y follow from the
column alone and z from the row alone, so most of each implicit shape is a sum of a row and
a column: a slab costs a few passes over the image.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    heart: float = 1.0
    fluid: tuple[float, float] = (0.0, 0.0)
    air: tuple[float, float] = (0.0, 0.0)
    raised: tuple[float, float] = (0.0, 0.0)
    flat: float = 0.0
    supine: bool = False
    free_gas: float = 0.0
    hernia: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paths:
    """Lengths (mm) of the rays in each organ, (rows, columns) float32 at half resolution.

    Args:
        body: In the whole body, air spaces included.
        lung: In aerated lung, right and left.
        gas: In air that is not lung: airways, stomach, pneumothorax.
        fluid: In pleural fluid, right and left. loose: In pleural air, right and left.
        heart: In the heart. free: In gas under the diaphragm.
    """

    body: np.ndarray
    lung: tuple[np.ndarray, np.ndarray]
    gas: np.ndarray
    fluid: tuple[np.ndarray, np.ndarray]
    loose: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    free: np.ndarray


def _ramp(distance: np.ndarray, *, edge: float = _SOFT_EDGE_MM) -> np.ndarray:
    return np.clip(distance * np.float32(1 / edge) + np.float32(0.5), 0, 1)


def ray_paths(thorax: Thorax, *, beam: Beam, disease: Disease) -> Paths:
    """Integrates the organs along the rays of a beam."""
    reach = thorax.width + SHOULDER_MM + 30 if beam.view == "lateral" else thorax.depth + 12
    slabs = np.arange(-reach + SLAB_MM / 2, reach, SLAB_MM)
    shape = (beam.rows // STEP_PX, beam.columns // STEP_PX)
    sums = {name: np.zeros(shape, np.float32) for name in ("body", "gas", "heart", "free", "rl", "ll", "rf", "lf", "ra", "la")}
    for depth in slabs:
        x, y, z = beam.plane(float(depth), step=STEP_PX)
        _add_slab(sums, thorax=thorax, disease=disease, x=x, y=y, z=z)
    for total in sums.values():
        total *= np.float32(SLAB_MM)
    return Paths(
        body=sums["body"], gas=sums["gas"], heart=sums["heart"], free=sums["free"], lung=(sums["rl"], sums["ll"]),
        fluid=(sums["rf"], sums["lf"]), loose=(sums["ra"], sums["la"]),
    )  # fmt: skip


def _add_slab(
    sums: dict[str, np.ndarray], *, thorax: Thorax, disease: Disease, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    body = _body(thorax, x=x, y=y, z=z)
    if body is None:
        return
    sums["body"] += body
    heart = _heart(thorax, disease=disease, x=x, y=y, z=z)
    solid = _mediastinum(thorax, disease=disease, x=x, y=y, z=z)
    if heart is not None:
        beat = _ramp(heart)
        sums["heart"] += beat
        solid = np.maximum(solid, beat)
    open_ = 1 - solid
    for side, lung, fluid, loose, number in ((RIGHT, "rl", "rf", "ra", 0), (LEFT, "ll", "lf", "la", 1)):
        columns = _columns_of(side, x=x)
        if columns is None:
            continue
        parts = _lung(thorax, disease=disease, side=side, number=number, x=x[:, columns], y=y[:, columns], z=z)
        if parts is None:
            continue
        rows, aired, wet, free = parts
        clear = open_[rows, columns]
        sums[lung][rows, columns] += aired * clear
        if wet is not None:
            sums[fluid][rows, columns] += wet * clear
        if free is not None:
            sums[loose][rows, columns] += free * clear
    _airways(sums["gas"], thorax=thorax, x=x, y=y, z=z)
    _abdominal_gas(sums, thorax=thorax, disease=disease, x=x, y=y, z=z)


def _columns_of(side: float, *, x: np.ndarray) -> slice | None:
    inside = np.flatnonzero(side * x[0] > -6)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) > 1 else None


def _body(thorax: Thorax, *, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray | None:
    """Share of a slab's pixels within the body: trunk, shoulders, neck and upper arms."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    radius = (np.abs(x / w) ** 2.4 + np.abs(y / d) ** 2.4) ** np.float32(1 / 2.4)
    trunk = (1 - radius) * d
    shoulder = 1 - np.sqrt((x / (w + SHOULDER_MM)) ** 4 + ((y - 0.1 * d) / (0.62 * d)) ** 2)
    shoulder = shoulder * 60
    neck = 61 - np.hypot(x, (y - 8) * 1.05)
    if max(trunk.max(), shoulder.max(), neck.max()) < -4:
        return None
    slope = t * 0.385 - np.clip(np.abs(x) - 58, 0, None) * 0.38
    slope -= np.clip(np.abs(x) - w, 0, None) ** 2 * 0.012
    top = slope - z
    torso = np.minimum(trunk, top + 12)
    # Armpits: the shoulders end below in a rounded arch.
    arch = z - (0.185 * t + np.clip(w + 12 - np.abs(x), 0, 60) * 0.9)
    wings = np.minimum(np.minimum(shoulder, top), arch)
    arm = 44 - np.hypot(np.abs(x) - (w + 58), y - 0.1 * d) + np.minimum(0, (0.25 * t - z) * 0.0)
    arm = np.minimum(arm, 0.26 * t - z)
    return _ramp(np.maximum(np.maximum(torso, wings), np.maximum(np.broadcast_to(neck, torso.shape), arm)))


def _lung(
    thorax: Thorax, *, disease: Disease, side: float, number: int, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[slice, np.ndarray, np.ndarray | None, np.ndarray | None] | None:
    """Rows touched, and shares of aerated lung, fluid and loose air in a slab of one side."""
    taper = thorax.taper(z)
    ahead = (y - np.float32(thorax.lung_y)) / np.float32(thorax.lung_b)
    lowest = thorax.dome[number] + disease.raised[number] - 2.2 * thorax.sulcus
    inside = np.flatnonzero((taper[:, 0] > float(np.abs(ahead).min())) & (z[:, 0] > lowest) & (z[:, 0] < thorax.apex + 3))
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
    aired, wet, loose = space, None, None
    if disease.fluid[number] > 0:
        wet = space * _ramp(_fluid_depth(thorax, disease=disease, number=number, side=side, wall=wall, x=x, y=y, z=z), edge=6)
        aired = space - wet
    if disease.air[number] > 0:
        off = np.float32(disease.air[number]) * (0.35 + 0.65 * np.clip((z - 0.03 * thorax.trunk) / (0.25 * thorax.trunk), 0, 1))
        lateral = np.clip((u + 0.45) / 0.5, 0, 1)
        came_off = _ramp(wall - off * lateral)
        # The visceral pleura is a thin sheet of tissue between lung and air.
        sheet = np.clip(1 - np.abs(wall - off * lateral) / 1.3, 0, 1) * (lateral > 0.1)
        loose = aired * (1 - came_off) * (1 - 0.8 * sheet)
        aired = aired * came_off * (1 - 0.8 * sheet)
    return rows, aired, wet, loose


def _fluid_depth(
    thorax: Thorax, *, disease: Disease, number: int, side: float, wall: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
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
    size = np.float32(thorax.heart * disease.heart)
    shift, t, d = thorax.heart_x, thorax.trunk, thorax.depth
    parts = (
        # center x, y, z; half axes along the long axis, across it, front to back; tilt
        (30 + shift, -0.30 * d, 0.028 * t, 62.0, 40.0, 47.0, -0.62),
        (-3 + shift, -0.27 * d, 0.045 * t, 38.0, 50.0, 46.0, 0.15),
        (18 + shift, -0.34 * d, 0.095 * t, 30.0, 36.0, 36.0, 0.3),
    )
    grown = disease.heart - 1
    depth: np.ndarray | None = None
    for cx, cy, cz, long, short, deep, tilt in parts:
        ahead = ((y - cy) / (deep * size)) ** 2
        if float(ahead.min()) > 1.1:
            continue
        cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        dx, dz = x - np.float32(cx + 16 * grown), z - np.float32(cz + 8 * grown)
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
        ((0.15 * w, 0.02 * d, 0.155 * t), (0.25 * w, 0.14 * d, 0.135 * t), 9.0),
        ((0.05 * w, -0.08 * d, 0.14 * t), (-0.17 * w, 0.0, 0.135 * t), 10.0),
        ((-0.17 * w, 0.0, 0.135 * t), (-0.245 * w, 0.08 * d, 0.105 * t), 8.0),
        ((-26, -0.25 * d, 0.29 * t), (-38, -0.2 * d, 0.33 * t), 9.0),
        ((24, -0.2 * d, 0.23 * t), (38, -0.1 * d, 0.33 * t), 8.0),
    )


def _mediastinum(
    thorax: Thorax, *, disease: Disease, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Share of a slab that is mediastinum or spine."""
    d, t = thorax.depth, thorax.trunk
    plate = np.where(y < 0.75 * d, 15.0 - np.abs(x), -10.0)
    spine = 25 - np.hypot(x, (y - 0.66 * d) * 0.8)
    flat = np.maximum(plate, spine).astype(np.float32)
    thymus = np.minimum(26.0 - np.abs(x), 0.30 * d - np.abs(y + 0.05 * d))
    upper = np.minimum(thymus, z - 0.20 * t).astype(np.float32)
    depth = np.maximum(flat, upper)
    for start, end, radius in vessels(thorax):
        depth = _near_line(depth, start=start, end=end, radius=radius, x=x, y=y, z=z)
    if disease.hernia > 0:
        center = (6.0, 0.25 * d, thorax.dome[1] + 0.4 * disease.hernia)
        depth = _near_line(depth, start=center, end=center, radius=disease.hernia, x=x, y=y, z=z)
    return _ramp(depth)


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
        ((0.0, -0.12 * d, 0.40 * t), carina, 8.5),
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
    size = 17 + 17 * thorax.chance[20]
    top = thorax.dome[1] + disease.raised[1] - 7
    cx, cy = (0.30 + 0.2 * thorax.chance[21]) * w, 0.05 * d
    ahead = ((y - cy) / 38) ** 2
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
