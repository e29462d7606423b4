"""What the scanner adds: kernel and noise, streaks from metal, motion; for MR, shading and Rician noise."""

from __future__ import annotations

import numpy as np

from osler.synth.draws import Draws
from osler.synth.facts import Acquisition
from osler.synth.phantoms.canvas import Axes

_KERNELS = {"soft": 0.0, "brain": 0.0, "lung": 0.8, "bone": 1.0}


def generator(key: int, *, stream: str) -> np.random.Generator:
    """A generator for one purpose of one exam."""
    seed = int(Draws(seed=abs(key) % 2**62, patients=np.zeros(1, np.int64)).bits(stream)[0])
    return np.random.Generator(np.random.SFC64(seed))


def smooth_plane(array: np.ndarray) -> np.ndarray:
    """Binomial smoothing (1 2 1) along rows and columns, in place slice by slice."""
    for plane in array:
        middle = plane[:, 1:-1] * 2
        middle += plane[:, :-2]
        middle += plane[:, 2:]
        plane[:, 1:-1] = middle
        middle = plane[1:-1] * 2
        middle += plane[:-2]
        middle += plane[2:]
        plane[1:-1] = middle
    array *= np.float32(1 / 16)
    return array


def ct_noise(
    shape: tuple[int, int, int], *, acquisition: Acquisition, axes: Axes, key: int, reach: float
) -> np.ndarray:
    """Noise (HU) of a CT, correlated by the kernel, its size by dose, slice thickness and body size.

    Args:
        shape: (Z, Y, X). acquisition: kVp, mAs, kernel. axes: Spacing.
        key: Of the exam. reach: Mean half width of the body (mm).
    """
    sharp = _KERNELS.get(acquisition.kernel or "soft", 0.0)
    dose = (acquisition.mas or 120) * ((acquisition.kvp or 120) / 120) ** 2.4
    thick = min(max(axes.spacing[2], 1.0), 5.0)
    pixel = min(max(axes.spacing[0], 0.4), 3.0)
    level = 10.5 * (120 / dose) ** 0.5 * (2.5 / thick) ** 0.5 * (reach / 150) ** 1.3 * (0.75 / pixel) ** 0.35
    noise = generator(key, stream="ct-noise").standard_normal(shape, dtype=np.float32)
    if sharp < 0.5:
        smooth_plane(noise)
        noise *= np.float32(level * 2.6)  # the binomial filter leaves 0.375 of white noise
    else:
        noise *= np.float32(level * (1.2 + sharp))
    return noise


def streaks(value: np.ndarray, *, metal: float) -> None:
    """Adds streaks in the planes that hold metal: bright and dark fans along the rows through it."""
    found = np.argwhere(value > metal)
    for z in np.unique(found[:, 0]):
        points = found[found[:, 0] == z][:, 1:]
        center = points.mean(axis=0)
        y = np.arange(value.shape[1], dtype=np.float32)[:, None] - center[0]
        x = np.arange(value.shape[2], dtype=np.float32)[None] - center[1]
        angle = np.arctan2(y, x)
        away = np.hypot(x, y) + 3
        fan = np.cos(angle * 11 + z) * np.exp(-((np.sin(angle)) ** 2) * 2)
        size = min(len(points), 60) * 14
        value[z] += np.where(value[z] > -900, fan * size * 8 / away, 0).astype(np.float32)


def ripple(value: np.ndarray, *, axes: Axes, key: int, size: float) -> None:
    """Shifts slices as breathing and heartbeat do: doubled edges of up to ``size`` mm."""
    pixel = max(1, round(size / axes.spacing[1]))
    phase = float(generator(key, stream="motion").random()) * 6
    for number, plane in enumerate(value):
        share = 0.35 * max(0.0, np.sin(0.8 * number + phase))
        if share > 0.1:
            plane[pixel:] += np.float32(share) * (plane[:-pixel] - plane[pixel:])


def mr_finish(value: np.ndarray, *, acquisition: Acquisition, axes: Axes, key: int, shading: np.ndarray) -> np.ndarray:
    """Adds the coil's shading and Rician noise to an MR signal, in place."""
    field_ = acquisition.field_t or 1.5
    voxel = float(np.prod(axes.spacing))
    level = 16.0 * (1.5 / field_) * (4.0 / np.clip(voxel, 0.5, 20)) ** 0.35
    value *= 1 + np.float32(0.07 * field_ / 1.5) * shading
    rng = generator(key, stream="mr-noise")
    value += rng.standard_normal(value.shape, dtype=np.float32) * np.float32(level)
    other = rng.standard_normal(value.shape, dtype=np.float32)
    other *= np.float32(level)
    other *= other
    value *= value
    value += other
    return np.sqrt(value, out=value)
