"""From stored values to the 8-bit pixels that the network is shown.

CT: three HU windows as red, green and blue, rounded to uint8, exactly as in
the MedGemma 1.5 CT notebook (float32: clip, subtract, divide, times 255, round
half to even). MR and other volumes: lowest to highest value of the whole
volume. Grey images: see `grey_range`. Color: as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from osler.errors import DataError
from osler.prepare.contract import Preprocess
from osler.study import Image, Window

_MOST_COLORS = 1 << 16


def ct_to_rgb(
    values: Shaped[np.ndarray, "row column"], *, windows: Sequence[Window]
) -> UInt8[np.ndarray, "row column 3"]:
    """Shows HU through three windows, one a color channel.

    Whole numbers, as most CT holds, are looked up: the colors are the same, in a fifth of the time.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 4:
        lowest, colors = _colors_of_hu(tuple(windows))
        if colors.size:
            packed = np.take(colors, values.astype(np.int64) - lowest, mode="clip")
            return packed.view(np.uint8).reshape(*values.shape, 4)[..., : len(windows)]
    rgb = np.empty((*values.shape, len(windows)), dtype=np.uint8)
    values = values.astype(np.float32, copy=False)
    for channel, window in enumerate(windows):
        rgb[..., channel] = np.round(window.apply(values))
    return rgb


@cache
def _colors_of_hu(windows: tuple[Window, ...]) -> tuple[int, np.ndarray]:
    """The lowest whole HU that any window tells from others, and the color from there on, 4 bytes each.

    No colors where there are more than 4 windows, or they reach further than is worth a table.
    """
    lowest = math.floor(min(window.low for window in windows))
    highest = math.ceil(max(window.high for window in windows))
    if len(windows) > 4 or highest - lowest > _MOST_COLORS:
        return lowest, np.empty(0, dtype=np.uint32)
    hu = np.arange(lowest, highest + 1, dtype=np.float32)
    colors = np.zeros((len(hu), 4), dtype=np.uint8)
    colors[:, : len(windows)] = ct_to_rgb(hu[None], windows=windows)[0]
    return lowest, colors.view(np.uint32)[:, 0]


def range_to_rgb(
    values: Shaped[np.ndarray, "row column"], *, low: float, high: float
) -> UInt8[np.ndarray, "row column 3"]:
    """Shows ``low`` as black and ``high`` as white, the same in all channels.

    A range without extent (a constant volume) gives black.
    """
    if not high > low:
        grey = np.zeros(values.shape, dtype=np.uint8)
    else:
        # float64, because the difference of two large float32 numbers may overflow
        scaled = (np.clip(values.astype(np.float64), low, high) - low) / (float(high) - float(low)) * 255
        grey = np.round(scaled).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def color_to_rgb(values: Shaped[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "row column 3"]:
    """Returns color pixels as uint8; other types are taken as 0..255 and clipped."""
    if values.dtype == np.uint8:
        return values
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)


def grey_range(
    values: Shaped[np.ndarray, "row column"], *, image: Image, preprocess: Preprocess
) -> tuple[float, float, str]:
    """Chooses the values shown black and white for a grey image, and names the rule.

    The file's own display window counts where it has one. Otherwise 8-bit
    pixels are shown as they are, as the published processor takes a picture
    file, and others between the contract's percentiles, which leave out a
    burnt-in marker.
    """
    if image.window is not None:
        return image.window.low, image.window.high, "the file's window"
    if values.dtype == np.uint8:
        return 0.0, 255.0, "as it is"
    low, high = np.percentile(values, preprocess.grey_percentiles).tolist()
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return low, high, "percentiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteRange:
    """Lowest and highest finite value, and how many values are NaN or infinite.

    ``low`` is above ``high`` as long as no finite value was met.
    """

    low: float = np.inf
    high: float = -np.inf
    bad: int = 0
    values: int = 0

    def including(self, values: np.ndarray) -> FiniteRange:
        """Returns the range with more values taken in."""
        finite = values
        if values.dtype.kind == "f" and values.size and not np.isfinite(float(values.min()) + float(values.max())):
            finite = values[np.isfinite(values)]
        bad = values.size - finite.size
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)
        return FiniteRange(
            low=min(self.low, low),
            high=max(self.high, high),
            bad=self.bad + bad,
            values=self.values + values.size,
        )

    def require_some(self, name: str) -> None:
        """Checks that there is a finite value.

        Raises:
            DataError: If there is none.
        """
        if self.values == 0:
            raise DataError(f"{name} has no pixels.", allowed="At least one pixel.")
        if self.bad == self.values:
            raise DataError(
                f"{name} has no finite value: all {self.bad} are NaN or infinite.",
                next_step="Check how the file was written.",
            )


def require_numbers(values: np.ndarray, *, name: str) -> None:
    """Checks that pixels are real numbers.

    Raises:
        DataError: If they are of another type.
    """
    if values.dtype.kind not in "iufb":
        raise DataError(f"{name} has pixels of type {values.dtype}.", allowed="Whole or real numbers.")


def fill(values: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Replaces NaN and minus infinity by ``low`` and infinity by ``high``."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=low, neginf=low, posinf=high)


def normalizer(preprocess: Preprocess) -> Float[np.ndarray, " 256"]:
    """Returns the float32 that the network sees for each uint8.

    The reference computes ``x * (1 / 255)`` in float64, rounds to float32 and
    then takes off the mean and divides by the deviation in float32.
    """
    scaled = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    return (scaled - np.float32(preprocess.mean)) / np.float32(preprocess.std)
