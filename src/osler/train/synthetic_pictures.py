"""Simple drawn pictures for what the data sets show too little of.

They teach coarse appearance only: stained tissue, sections of a head, a trunk.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from osler.train.pictures import Labels, Picture, gray_to_rgb


def smooth_noise(shape: tuple[int, int], *, cell: float, rng: np.random.Generator) -> np.ndarray:
    """Noise with blobs of about ``cell`` pixels, standard deviation about 1."""
    small = rng.normal(size=(max(2, int(shape[0] / cell)), max(2, int(shape[1] / cell)))).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((shape[1], shape[0]), Image.BICUBIC))


def tissue(rng: np.random.Generator) -> Picture:
    """Draws a stained field: stroma, glands, nuclei; hematoxylin with eosin or brown."""
    size = 256
    stroma = np.clip(0.35 + 0.18 * smooth_noise((size, size), cell=rng.uniform(12, 40), rng=rng), 0.03, 1)
    fibers = smooth_noise((size, size), cell=rng.uniform(2, 5), rng=rng) * 0.08
    gaps = smooth_noise((size, size), cell=rng.uniform(15, 60), rng=rng) > rng.uniform(0.6, 1.8)
    eosin = np.where(gaps, 0.02, stroma + fibers)
    nuclei = _nuclei(size, keep=~gaps, rng=rng)
    blue = np.array([0.65, 0.70, 0.29])
    second = np.array([[0.07, 0.99, 0.11], [0.27, 0.57, 0.78], [0.45, 0.75, 0.35]][int(rng.integers(3))])
    density = nuclei[..., None] * blue * rng.uniform(0.8, 2.0) + eosin[..., None] * second * rng.uniform(0.6, 2.0)
    rgb = np.exp(-np.clip(density, 0, 5)) * rng.uniform(0.88, 1.0)
    image = Image.fromarray((np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    labels = Labels(modality="pathology", region="tissue", plane="none")
    return Picture(pixels=np.asarray(image), labels=labels, source="synthetic-tissue", patient="synthetic")


def _nuclei(size: int, *, keep: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((size, size), dtype=np.float32)
    radius = rng.uniform(2.0, 9.0)
    ys, xs = np.mgrid[-12:13, -12:13]
    clumps = smooth_noise((size, size), cell=rng.uniform(20, 60), rng=rng)
    for _ in range(int(rng.uniform(0.1, 0.5) * size * size / (3 * radius**2))):
        y, x = (int(v) for v in rng.integers(12, size - 13, size=2))
        if not keep[y, x] or clumps[y, x] < rng.normal(0, 0.7):
            continue
        a, b, turn = radius * rng.uniform(0.7, 1.3), radius * rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
        u, v = xs * np.cos(turn) + ys * np.sin(turn), -xs * np.sin(turn) + ys * np.cos(turn)
        disk = ((u / a) ** 2 + (v / b) ** 2 < 1) * rng.uniform(0.6, 1.1)
        patch = canvas[y - 12 : y + 13, x - 12 : x + 13]
        np.maximum(patch, disk, out=patch)
    image = Image.fromarray((canvas * 200).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    return np.asarray(image, dtype=np.float32) / 200


def _ellipse(size: int, *, at: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> np.ndarray:
    ys, xs = (np.mgrid[:size, :size] / size - 0.5).astype(np.float32)
    x, y = xs - at[0], ys - at[1]
    u, v = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    return (u / radii[0]) ** 2 + (v / radii[1]) ** 2 < 1


def head_ct(rng: np.random.Generator) -> Picture:
    """Draws an axial head CT: bright skull ring, gray brain, dark ventricles."""
    size, scale = 224, rng.uniform(0.32, 0.46)
    wide, tall, wall = scale * rng.uniform(0.75, 0.9), scale, rng.uniform(0.018, 0.035)
    gray = np.full((size, size), rng.uniform(0, 6), dtype=np.float32)
    gray[_ellipse(size, at=(0, 0), radii=(wide + 0.03, tall + 0.03))] = rng.uniform(30, 70)
    gray[_ellipse(size, at=(0, 0), radii=(wide, tall))] = 250
    inner = _ellipse(size, at=(0, 0), radii=(wide - wall, tall - wall))
    brain = rng.uniform(85, 135) + 10 * smooth_noise((size, size), cell=10, rng=rng)
    gray[inner] = brain[inner]
    width = rng.uniform(0.01, 0.03)
    for side in (-1, 1):
        horn = _ellipse(
            size, at=(side * width * 1.6, -0.02), radii=(width, scale * 0.28), turn=side * rng.uniform(0, 0.35)
        )
        gray[horn & inner] = rng.uniform(25, 60)
    if rng.random() < 0.3:
        blob = _ellipse(size, at=tuple(rng.uniform(-0.15, 0.15, 2)), radii=tuple(rng.uniform(0.03, 0.1, 2)))
        gray[blob & inner] = rng.choice([50.0, 180.0])
    gray += rng.normal(0, rng.uniform(1, 7), gray.shape)
    labels = Labels(modality="ct", region="head", plane="axial")
    return Picture(pixels=gray_to_rgb(gray), labels=labels, source="synthetic-head", patient="synthetic")


def no_content(seed: int, *, index: int, size: int) -> np.ndarray:
    """Draws the ``index``-th square without any content, uint8 (size, size, 3).

    Flat shades of every gray and of many colors, ramps, grain, stripes, checks, clouds and bars.
    """
    rng = np.random.default_rng([seed, index, 77])
    shade = float(rng.choice([0, 127, 128, 255])) if rng.random() < 0.2 else rng.uniform(0, 255)
    makers = (_flat, _flat, _ramp, _grain, _stripes, _checks, _clouds, _bars)
    gray = shade + makers[index % len(makers)](size, rng)
    if rng.random() < 0.35:
        gray = gray + rng.normal(0, rng.uniform(1, 12), gray.shape)
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    if rng.random() < 0.25:
        rgb = rgb + rng.uniform(-70, 70, size=3)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _flat(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((size, size))


def _ramp(size: int, rng: np.random.Generator) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size] / size - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    along = xs * np.cos(turn) + ys * np.sin(turn) if rng.random() < 0.7 else np.hypot(xs, ys)
    return along * rng.uniform(-200, 200)


def _grain(size: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.3:
        return rng.choice([-255.0, 0.0, 255.0], size=(size, size), p=[0.1, 0.8, 0.1])
    cells = int(rng.choice([size, size // 2, size // 4]))
    grain = rng.normal(0, rng.uniform(5, 90), (cells, cells))
    return np.kron(grain, np.ones((size // cells, size // cells)))


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size]
    turn = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
    wave = np.sin((xs * np.cos(turn) + ys * np.sin(turn)) * 2 * np.pi / rng.uniform(4, 80))
    return (np.sign(wave) if rng.random() < 0.4 else wave) * rng.uniform(10, 110)


def _checks(size: int, rng: np.random.Generator) -> np.ndarray:
    cell = int(rng.integers(4, 65))
    ys, xs = np.mgrid[:size, :size] // cell
    return ((ys + xs) % 2 - 0.5) * rng.uniform(20, 255)


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    return smooth_noise((size, size), cell=rng.uniform(60, 200), rng=rng) * rng.uniform(5, 40)


def _bars(size: int, rng: np.random.Generator) -> np.ndarray:
    gray = np.zeros((size, size))
    for _ in range(int(rng.integers(1, 4))):
        edge, wide = (int(v) for v in rng.integers(0, size, size=2))
        across = slice(edge, edge + wide)
        gray[(across, slice(None)) if rng.random() < 0.5 else (slice(None), across)] += rng.uniform(-150, 150)
    return gray
