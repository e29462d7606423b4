"""What the scanner adds: kernel and noise, streaks from metal, motion; for MR, shading and Rician noise."""

from __future__ import annotations

import math

import numpy as np

from osler.synth.draws import Draws
from osler.synth.facts import Acquisition, Region
from osler.synth.noise import fill_normal
from osler.synth.phantoms.canvas import Axes

_KERNELS = {"soft": 0.0, "brain": 0.0, "lung": 0.8, "bone": 1.0}
_METAL_FROM, _METAL_FULL = 400.0, 3000.0
_CT_MOTION: dict[Region, tuple[float, float, float]] = {
    "chest": (0.12, 2.0, 5.0),
    "abdomen": (0.08, 2.0, 5.0),
    "head": (0.05, 1.5, 4.0),
}
"""Share of exams with motion, and how far (mm) it goes: assumed, seldom enough that most volumes are clean."""
_MR_GHOSTS: dict[Region, float] = {"head": 0.08, "abdomen": 0.2, "knee": 0.06}


def generator(key: int, *, stream: str) -> np.random.Generator:
    """A generator for one purpose of one exam."""
    seed = int(Draws(seed=abs(key) % 2**62, patients=np.zeros(1, np.int64)).bits(stream)[0])
    return np.random.Generator(np.random.SFC64(seed))


def smooth_plane(plane: np.ndarray) -> None:
    """Binomial smoothing (1 2 1) along rows and columns of one slice, in place."""
    middle = plane[:, 1:-1] * 2
    middle += plane[:, :-2]
    middle += plane[:, 2:]
    plane[:, 1:-1] = middle
    middle = plane[1:-1] * 2
    middle += plane[:-2]
    middle += plane[2:]
    plane[1:-1] = middle
    plane *= np.float32(1 / 16)


def ct_noise(value: np.ndarray, *, acquisition: Acquisition, axes: Axes, key: int, reach: float) -> None:
    """Adds the noise of a CT, correlated by the kernel, its size by dose, slice thickness and body size.

    Args:
        value: (Z, Y, X) HU, changed in place. acquisition: kVp, mAs, kernel. axes: Spacing.
        key: Of the exam. reach: Mean half width of the body (mm).
    """
    sharp = _KERNELS.get(acquisition.kernel or "soft", 0.0)
    dose = (acquisition.mas or 120) * ((acquisition.kvp or 120) / 120) ** 2.4
    thick = min(max(axes.spacing[2], 1.0), 5.0)
    pixel = min(max(axes.spacing[0], 0.4), 3.0)
    level = 10.5 * (120 / dose) ** 0.5 * (2.5 / thick) ** 0.5 * (reach / 150) ** 1.3 * (0.75 / pixel) ** 0.35
    # The binomial filter leaves 0.375 of white noise.
    size = np.float32(level * 2.6 if sharp < 0.5 else level * (1.2 + sharp))
    bits = generator(key, stream="ct-noise").bit_generator
    noise = np.empty(value.shape[1:], dtype=np.float32)
    for plane in value:  # a slice at a time stays in the cache
        fill_normal(noise, bits=bits)
        if sharp < 0.5:
            smooth_plane(noise)
        noise *= size
        plane += noise


def metal_of(value: np.ndarray, *, devices: np.ndarray) -> np.ndarray:
    """How much metal (0 to 1) voxels hold: wires are thinner than a voxel, so half filled ones count by share.

    Args:
        value: (Z, Y, X) HU without artifacts. devices: (Z, Y, X) bool, voxels that may hold metal.
    """
    return np.clip((value - _METAL_FROM) / np.float32(_METAL_FULL - _METAL_FROM), 0, 1) * devices


def streaks(value: np.ndarray, *, devices: np.ndarray, axes: Axes, key: int) -> None:
    """Adds the streaks of metal to the planes that hold it: fans from its middle, dark along its long axis.

    Their size grows with the metal's area and falls with distance; air outside of the body stays air.

    Args:
        value: (Z, Y, X) HU, changed in place. devices: (Z, Y, X) bool. axes: Of the voxels.
        key: Of the exam: where the rays of the fan lie.
    """
    phases = generator(key, stream="streaks").uniform(0, 2 * np.pi, 3)
    area = axes.spacing[0] * axes.spacing[1]
    for z in np.flatnonzero(devices.any(axis=(1, 2))):
        share = metal_of(value[z], devices=devices[z])
        rows, columns = np.nonzero(share)
        if not len(rows):
            continue
        weight = share[rows, columns].astype(np.float64)
        y, x = axes.y[rows], axes.x[columns]
        total = weight.sum()
        center_x, center_y = (weight * x).sum() / total, (weight * y).sum() / total
        aside, back = x - center_x, y - center_y
        across = 2 * (weight * aside * back).sum()
        twice_along = math.atan2(across, (weight * (aside * aside - back * back)).sum())
        dx, dy = axes.x[None] - np.float32(center_x), axes.y[:, None] - np.float32(center_y)
        away = np.sqrt(dx * dx + dy * dy)
        fan = _fan(dx, dy, away=away, twice_along=twice_along, phases=phases + 0.3 * float(axes.z[z]))
        size = np.float32(min(900.0, 40.0 * float(total * area) ** 0.5))
        fan *= size / (1 + away / np.float32(4.0))
        value[z] += np.where(value[z] > -930, fan, 0)


def _fan(dx: np.ndarray, dy: np.ndarray, *, away: np.ndarray, twice_along: float, phases: np.ndarray) -> np.ndarray:
    """Rays about a middle, (Y, X): dark along an axis, and 9, 17 and 29 that begin at some phases.

    The cosine of a multiple of an angle is the real part of a power of its direction.
    """
    none = away == 0
    away = away + none
    once = (dx + none) / away, dy / away
    twice = _turned(once, once)
    fourth = _turned(twice, twice)
    eighth = _turned(fourth, fourth)
    seventeenth = _turned(_turned(eighth, eighth), once)
    rays = _turned(eighth, once), seventeenth, _turned(_turned(seventeenth, eighth), fourth)
    fan = _ray(twice, turn=-twice_along, size=-0.7)
    for ray, phase in zip(rays, phases.tolist(), strict=True):
        fan += _ray(ray, turn=phase, size=0.5)
    return fan


def _turned(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Directions (cosine and sine) of the sum of two angles."""
    (a, b), (c, d) = first, second
    return a * c - b * d, a * d + b * c


def _ray(way: tuple[np.ndarray, np.ndarray], *, turn: float, size: float) -> np.ndarray:
    """Some size times the cosine of an angle and a turn."""
    return np.float32(size * math.cos(turn)) * way[0] - np.float32(size * math.sin(turn)) * way[1]


def drawn(key: int, *, stream: str, chance: float) -> np.random.Generator | None:
    """The generator of an artifact that an exam has with a chance; nothing if it has none."""
    rng = generator(key, stream=stream)
    return rng if float(rng.random()) < chance else None


def ct_motion(value: np.ndarray, *, region: Region, axes: Axes, key: int) -> None:
    """Moves the patient while a few slices are taken, in some exams: contours there are doubled.

    Breathing and heartbeat move a trunk front to back, a restless head also sideways.

    Args:
        value: (Z, Y, X) HU, changed in place. region: How far and how often. axes: Of the voxels. key: Of the exam.
    """
    chance, least, most = _CT_MOTION.get(region, (0.0, 0.0, 0.0))
    rng = drawn(key, stream="ct-motion", chance=chance)
    if rng is None:
        return
    middle = axes.z[0] + rng.uniform(0.2, 0.8) * (axes.z[-1] - axes.z[0])
    reach, size, share = rng.uniform(8, 20), rng.uniform(least, most), rng.uniform(0.3, 0.5)
    axis = 1 if region == "head" and rng.random() < 0.5 else 0
    pixels = size / axes.spacing[1 - axis]
    for z in np.flatnonzero(np.abs(axes.z - middle) < reach):
        here = share * math.cos(np.pi / 2 * float(axes.z[z] - middle) / reach)
        value[z] += np.float32(here) * (_shifted(value[z], pixels=pixels, axis=axis) - value[z])


def _shifted(plane: np.ndarray, *, pixels: float, axis: int) -> np.ndarray:
    """A plane moved by a part of pixels; what moves in repeats the edge."""
    whole, part = int(pixels), np.float32(pixels - int(pixels))
    index = np.arange(plane.shape[axis])
    near, far = (np.take(plane, np.maximum(index - step, 0), axis=axis) for step in (whole, whole + 1))
    return near + part * (far - near)


def mr_ghosts(value: np.ndarray, *, region: Region, axes: Axes, key: int) -> None:
    """Adds ghosts along the phase axis in some exams: faint copies of the body, evenly spaced, that wrap around.

    The phase axis is front to back, in a knee head to foot.

    Args:
        value: (Z, Y, X) signal, changed in place. region: How often. axes: Of the voxels. key: Of the exam.
    """
    rng = drawn(key, stream="mr-ghosts", chance=_MR_GHOSTS.get(region, 0.0))
    if rng is None:
        return
    axis = 0 if region == "knee" else 1
    length = value.shape[axis]
    step = max(1, round(length / rng.uniform(4, 8)))
    strength = rng.uniform(0.04, 0.10)
    ghosts = np.roll(value, step, axis=axis)
    ghosts += np.roll(value, -step, axis=axis)
    ghosts *= np.float32(strength)
    value *= np.float32(1 - strength)
    value += ghosts


def mr_finish(value: np.ndarray, *, acquisition: Acquisition, axes: Axes, key: int, shading: np.ndarray) -> np.ndarray:
    """Adds the coil's shading and Rician noise to an MR signal, in place."""
    field_ = acquisition.field_t or 1.5
    voxel = float(np.prod(axes.spacing))
    level = 10.0 * (1.5 / field_) * (4.0 / np.clip(voxel, 0.5, 20)) ** 0.35
    level = np.float32(level)
    bits = generator(key, stream="mr-noise").bit_generator
    noise = np.empty(value.shape[1:], dtype=np.float32)
    for plane, shade in zip(value, shading, strict=True):  # a slice at a time stays in the cache
        plane *= 1 + np.float32(0.07 * field_ / 1.5) * shade
        fill_normal(noise, bits=bits)
        noise *= level
        plane += noise
    for plane in value:
        fill_normal(noise, bits=bits)
        noise *= level
        noise *= noise
        plane *= plane
        plane += noise
        np.sqrt(plane, out=plane)
    return value
