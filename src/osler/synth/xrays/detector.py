"""From attenuation to the picture a viewer shows: photons, scatter, noise, tone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.extras import import_extra
from osler.synth.elementary import exp, log, sine
from osler.synth.noise import fill_normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How the image was taken and processed.

    Args:
        photons: Per pixel without a patient.
        scatter: Scattered over primary light behind 10 cm of tissue; a grid lowers it.
        equalize: Share of the slow brightness differences that the processing removes.
        contrast: Slope of the tone curve relative to the usual one. brightness: Its shift, about -0.1 to 0.1.
        grid: Strength of the anti-scatter grid's faint lines.
        seed: Of the noise.
    """

    photons: float = 3.0e4
    scatter: float = 0.25
    equalize: float = 0.3
    contrast: float = 1.0
    brightness: float = 0.0
    grid: float = 0.0
    seed: int = 0


def develop(attenuation: np.ndarray, *, exposure: Exposure, pixel_mm: float) -> np.ndarray:
    """Turns line integrals of attenuation into gray levels.

    Args:
        attenuation: (rows, columns) float32, the exponent of Beer and Lambert's law.
        exposure: Of the image.
        pixel_mm: Pixel size.

    Returns:
        (rows, columns) float32, 0 (dark, air) to 1 (bright, bone).
    """
    gaussian_filter = import_extra("scipy.ndimage", extra="synth").gaussian_filter

    primary = exp(-attenuation)
    # What is scattered was taken from the beam: light that met nothing sends none beside (Ohnesorge et al., "Efficient
    # object scatter correction algorithm for third and fourth generation CT scanners", European Radiology 1999).
    source = primary[::4, ::4] * attenuation[::4, ::4]
    spread = _enlarge(gaussian_filter(source, 26 / pixel_mm / 4, mode="nearest"), shape=primary.shape)
    light = primary + exposure.scatter * (0.75 * spread + 0.25 * np.float32(spread.mean()))
    noise = np.empty(light.shape, dtype=np.float32)
    fill_normal(noise, bits=np.random.PCG64(exposure.seed))
    noise = gaussian_filter(noise, 0.6)
    light = light * (1 + noise * 1.7 / np.sqrt(exposure.photons * light))
    density = -log(np.maximum(light, 1e-4))
    if exposure.grid > 0:
        density += exposure.grid * sine(np.arange(density.shape[1], dtype=np.float32) * 2.2)
    slow = _enlarge(gaussian_filter(density[::4, ::4], 30 / pixel_mm / 4, mode="nearest"), shape=density.shape)
    # Edges are raised a little, as every digital system does.
    fine = density - gaussian_filter(density, 1.6 / pixel_mm, truncate=2.5)
    flat = density - exposure.equalize * (slow - np.float32(2.2)) + 0.35 * fine
    return _tone(flat, body=attenuation > 0.35, exposure=exposure)


def _tone(density: np.ndarray, *, body: np.ndarray, exposure: Exposure) -> np.ndarray:
    """The tone curve: an S laid over the densities of the body, as the system's own processing does."""
    seen = density[::4, ::4][body[::4, ::4]]
    low, high = np.percentile(seen, [3, 97.5]) if seen.size > 50 else (0.5, 3.0)
    x = (density - np.float32(low)) / np.float32(max(high - low, 0.3))
    return 1 / (1 + exp(-(2.85 * exposure.contrast) * (x - np.float32(0.41 - exposure.brightness))))


def _enlarge(small: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    return enlarge(small, step=4, shape=shape)


def enlarge(small: np.ndarray, *, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear enlargement; sample k of the small image stands for pixels k step to (k + 1) step."""
    rows, columns = (
        _places(shape[0], step=step, count=small.shape[0]),
        _places(shape[1], step=step, count=small.shape[1]),
    )
    (i, s), (j, t) = rows, columns
    down = small[i] * (1 - s)[:, None] + small[i + 1] * s[:, None]
    return (down[:, j] * (1 - t) + down[:, j + 1] * t).astype(np.float32)


def _places(length: int, *, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.clip((np.arange(length) + 0.5) / step - 0.5, 0, count - 1.001)
    first = at.astype(np.intp)
    return first, (at - first).astype(np.float32)
