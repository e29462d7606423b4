"""Random changes that leave a picture's labels true.

Laterality: a section (CT, MR) may be mirrored, because files store sections in
either order and no training question on these pictures names a side. Slides have
no side: they are turned upside down and by quarters, which also mirrors them.
X-rays are never mirrored. When sides are taught, mirroring must go.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from osler.train.pictures import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How strong and how often.

    Args:
        rotate_degrees: Greatest rotation either way.
        zoom_low: Smallest and zoom_high: greatest magnification.
        aspect: Greatest relative change of the aspect.
        gamma: Greatest relative change of gamma.
        contrast: Greatest relative change of contrast and brightness.
        rare: Chance of each rare change: blur, noise, JPEG, low resolution, text, border.
        flip_sections: Chance of turning a CT or MR section or a slide upside down; sections are mirrored left to
            right half of the time, whatever it is.
    """

    rotate_degrees: float = 10.0
    zoom_low: float = 0.7
    zoom_high: float = 1.35
    aspect: float = 0.15
    gamma: float = 0.35
    contrast: float = 0.25
    rare: float = 0.2
    flip_sections: float = 0.3


def augment(picture: Picture, *, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Returns a changed copy of the pixels, uint8 (row, column, 3)."""
    image = Image.fromarray(picture.pixels)
    longest = max(image.size)
    if longest > 384 or longest < 192:
        ratio = (384 if longest > 384 else 192) / longest
        image = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), Image.BILINEAR)
    if picture.labels.modality in ("ct", "mr", "pathology") and rng.random() < config.flip_sections:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if picture.labels.modality in ("ct", "mr") and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if picture.labels.modality == "pathology":
        image = image.rotate(90 * int(rng.integers(4)), expand=True)
    image = _move(image, config=config, rng=rng)
    image = _tone(image, config=config, rng=rng, color=picture.labels.modality == "pathology")
    for change in (_blur, _noise, _low_resolution, _write, _border, _jpeg):
        if rng.random() < config.rare:
            image = change(image, rng)
    return np.asarray(image.convert("RGB"))


def _move(image: Image.Image, *, config: AugmentConfig, rng: np.random.Generator) -> Image.Image:
    angle = np.deg2rad(rng.uniform(-1, 1) * config.rotate_degrees * (rng.random() < 0.6))
    zoom = np.exp(rng.uniform(np.log(config.zoom_low), np.log(config.zoom_high)))
    stretch = np.exp(rng.uniform(-1, 1) * config.aspect)
    width, height = image.size
    out_w = max(16, round(width * np.sqrt(stretch)))
    out_h = max(16, round(height / np.sqrt(stretch)))
    shift = rng.uniform(-0.08, 0.08, size=2) * (width, height)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    a, b, d, e = cos * width / out_w, sin * height / out_h, -sin * width / out_w, cos * height / out_h
    c = width / 2 + shift[0] - a * out_w / 2 - b * out_h / 2
    f = height / 2 + shift[1] - d * out_w / 2 - e * out_h / 2
    fill = tuple(int(v) for v in np.asarray(image).reshape(-1, 3)[0]) if rng.random() < 0.5 else (0, 0, 0)
    return image.transform((out_w, out_h), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.BILINEAR, fillcolor=fill)


def _tone(image: Image.Image, *, config: AugmentConfig, rng: np.random.Generator, color: bool) -> Image.Image:
    x = np.asarray(image).astype(np.float32) / 255
    gamma = np.exp(rng.uniform(-1, 1) * config.gamma)
    gain = 1 + rng.uniform(-1, 1) * config.contrast
    offset = rng.uniform(-1, 1) * config.contrast * 0.4
    x = np.clip((x**gamma - 0.5) * gain + 0.5 + offset * x.mean() * 2, 0, 1)
    if color:
        density = -np.log(np.clip(x, 0.02, 1))
        x = np.exp(-np.clip(density * rng.uniform(0.6, 1.6, size=3) @ (np.eye(3) + rng.normal(0, 0.08, (3, 3))), 0, 6))
    return Image.fromarray((np.clip(x, 0, 1) * 255).astype(np.uint8))


def _blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.8)))


def _noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    x = np.asarray(image).astype(np.float32)
    grain = rng.normal(0, rng.uniform(2, 16), x.shape[:2]).astype(np.float32)
    return Image.fromarray(np.clip(x + grain[..., None], 0, 255).astype(np.uint8))


def _low_resolution(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    ratio = rng.uniform(0.25, 0.7)
    small = image.resize((max(8, int(image.width * ratio)), max(8, int(image.height * ratio))), Image.BILINEAR)
    return small.resize(image.size, Image.BILINEAR if rng.random() < 0.7 else Image.NEAREST)


def _write(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    letters = "ABCDEFGHLMPRSTX0123456789 :./-"
    for _ in range(int(rng.integers(1, 5))):
        text = "".join(rng.choice(list(letters), size=int(rng.integers(1, 14))))
        x, y = rng.uniform(0, 0.85) * image.width, rng.choice([0.01, 0.04, 0.9, 0.94]) * image.height
        shade = int(rng.integers(150, 256))
        draw.text((x, y), text, fill=(shade, shade, shade))
    return image


def _border(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    left, top, right, bottom = (rng.uniform(0, 0.15, size=4) * max(image.size)).astype(int)
    shade = 0 if rng.random() < 0.7 else int(rng.integers(0, 256))
    canvas = Image.new("RGB", (image.width + left + right, image.height + top + bottom), (shade, shade, shade))
    canvas.paste(image, (int(left), int(top)))
    return canvas


def _jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
