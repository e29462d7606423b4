"""Hematoxylin and eosin by optical density.

Light that passes a stained section is dimmed by Beer and Lambert's law: the optical
density of each color channel is the amount of each stain times its absorption vector.
The vectors are those of Ruifrok and Johnston, "Quantification of histochemical
staining by color deconvolution" (2001); each slide leans some way toward those that
Macenko et al. (2009) estimate from scanned slides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.elementary import exp

_RUIFROK = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
_MACENKO = np.array([[0.563, 0.720, 0.406], [0.216, 0.801, 0.558]])
_LN10 = 2.302585092994046


@dataclass(frozen=True, slots=True, kw_only=True)
class Stain:
    """The staining and scanning of one slide.

    Args:
        lean: 0 for the vectors of Ruifrok and Johnston, 1 for those of Macenko.
        hematoxylin: Strength of the first stain. eosin: Of the second.
        white: Brightness of empty glass per channel, 0 to 255.
        blur_um: Deviation of the optics' Gaussian blur.
        noise: Deviation of the camera's noise in gray levels.
    """

    lean: float = 0.5
    hematoxylin: float = 1.0
    eosin: float = 1.0
    white: tuple[float, float, float] = (244.0, 243.0, 245.0)
    blur_um: float = 0.28
    noise: float = 1.6

    @property
    def vectors(self) -> np.ndarray:
        """(2, 3) unit absorption vectors: hematoxylin and eosin over red, green, blue."""
        mixed = (1 - self.lean) * _RUIFROK + self.lean * _MACENKO
        return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def stain_of(chances: np.ndarray) -> Stain:
    """Draws the stain of a slide from eight uniform numbers."""
    a, b, c, d, e, f, g, h = (float(chance) for chance in chances)
    return Stain(
        lean=0.4 + 0.6 * a,
        hematoxylin=0.85 + 0.4 * b,
        eosin=0.75 + 0.5 * c,
        white=(241 + 8 * d, 240 + 8 * e, 241 + 8 * f),
        blur_um=0.2 + 0.25 * g,
        noise=1.0 + 1.5 * h,
    )


def colors(hematoxylin: np.ndarray, eosin: np.ndarray, *, stain: Stain) -> np.ndarray:
    """Light through amounts of the two stains.

    Args:
        hematoxylin: (rows, columns) float32, optical density along the stain's vector.
        eosin: The same.

    Returns:
        (rows, columns, 3) float32, 0 to 255, not rounded.
    """
    vectors = stain.vectors
    red_green_blue = []
    for channel in range(3):
        first = np.float32(vectors[0, channel] * stain.hematoxylin * -_LN10)
        second = np.float32(vectors[1, channel] * stain.eosin * -_LN10)
        red_green_blue.append(exp(hematoxylin * first + eosin * second) * np.float32(stain.white[channel]))
    return np.stack(red_green_blue, axis=-1)
