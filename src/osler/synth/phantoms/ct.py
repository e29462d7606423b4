"""From tissues to a CT image: blur and grain of the kernel, dose, streaks of metal, the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.phantoms.canvas import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Grain:
    """Noise of a reconstruction kernel.

    Args:
        sigma_hu: Standard deviation in soft tissue at 100 mAs, 120 kVp and 3 mm slices.
        correlation: Weight of the neighbors in the plane: 0 is sharp and white.
    """

    sigma_hu: float
    correlation: float


KERNELS = {
    "soft": Grain(sigma_hu=13.0, correlation=0.55),
    "lung": Grain(sigma_hu=38.0, correlation=0.10),
    "bone": Grain(sigma_hu=45.0, correlation=0.05),
}


def dose_factor(*, mas: float, kvp: float, slice_mm: float) -> float:
    """How noise scales: with one over the root of the photons (mAs, tube voltage squared, slice thickness)."""
    photons = (mas / 100.0) * (kvp / 120.0) ** 2 * (slice_mm / 3.0)
    return float(np.clip(photons**-0.5, 0.3, 3.0))


def add_noise(value: np.ndarray, *, grid: Grid, kernel: str, factor: float, seed: int) -> None:
    """Adds correlated noise in place; ``value`` (Z, Y, X) HU."""
    grain = KERNELS.get(kernel, KERNELS["soft"])
    rng = np.random.Generator(np.random.SFC64(seed))
    noise = rng.standard_normal(value.shape, dtype=np.float32)
    c = np.float32(grain.correlation)
    gain = 1.0
    if c > 0:
        noise[:, 1:-1] += c * (noise[:, :-2] + noise[:, 2:])
        noise[:, :, 1:-1] += c * (noise[:, :, :-2] + noise[:, :, 2:])
        gain = 1.0 + 2.2 * float(c)
    noise *= np.float32(grain.sigma_hu * factor / gain)
    value += noise


def add_streaks(
    value: np.ndarray, *, grid: Grid, centers_mm: list[tuple[float, float, float]], radius_mm: float
) -> None:
    """Adds dark and bright rays around metal, in the slices that hold it, in place."""
    x, y, z = (grid.axis(n) for n in range(3))
    for cx, cy, cz in centers_mm:
        near = np.flatnonzero(np.abs(z - cz) <= radius_mm)
        if near.size == 0:
            continue
        dx, dy = x[None, :] - cx, y[:, None] - cy
        distance = np.sqrt(dx * dx + dy * dy)
        angle = np.arctan2(dy, dx)
        rays = np.cos(angle * 9) ** 7 * 420 * np.exp(-distance / 55.0)
        value[near] += rays.astype(np.float32)[None]


def to_hu(value: np.ndarray) -> np.ndarray:
    """Rounds to int16 HU in the range of a scanner, -1024 to 3071."""
    return np.clip(np.rint(value), -1024, 3071).astype(np.int16)
