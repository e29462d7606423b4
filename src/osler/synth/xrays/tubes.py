"""Painting of round and curved things as sums of their shadows: bones, vessels, wires.

A tube is a chain of disks along its shadow. Within one tube the greatest value counts,
so that disks merge; tubes on different layers add up, as attenuation does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.synth.painting.library import address, native

Profile = Literal["solid", "flat"]
_OUTSIDE = 1e12
_GROUP_PX = (0.8, 1.6, 2.6, 4.0, 6.0, 9.0, 13.0, 19.0, 28.0, 42.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Disks of one or many tubes.

    Args:
        column, row: Centers (px). radius: px. amount: Greatest value of each disk.
        layer: Number of the layer of each.
    """

    column: np.ndarray
    row: np.ndarray
    radius: np.ndarray
    amount: np.ndarray
    layer: np.ndarray


def paint_chain(chain: Chain, *, rows: int, columns: int, profile: Profile) -> np.ndarray:
    """Sums the layers of a chain's disks, float32 (rows, columns).

    Args:
        chain: Disks, radii up to 42 px.
        rows: Of the image. columns: The same.
        profile: "solid" is a round rod (a circle's chord), "flat" even with soft edges.
    """
    layers = int(chain.layer.max()) + 1 if len(chain.layer) else 1
    canvas = np.zeros(layers * rows * columns, np.float32)
    # Thinner than a pixel: drawn a pixel wide and paler, so that the area stays.
    radius = np.maximum(chain.radius, 0.75)
    amount = chain.amount * np.where(chain.radius < 0.75, (chain.radius / 0.75) ** 2, 1)
    lower = 0.0
    for upper in _GROUP_PX:
        chosen = np.flatnonzero((radius > lower) & (radius <= upper))
        lower = upper
        if len(chosen):
            _stamp(
                canvas,
                chain,
                chosen,
                radius=radius,
                amount=amount,
                reach=int(np.ceil(radius[chosen].max())),
                shape=(rows, columns),
                profile=profile,
            )
    return canvas.reshape(layers, rows, columns).sum(axis=0)


def _stamp(
    canvas: np.ndarray,
    chain: Chain,
    chosen: np.ndarray,
    *,
    radius: np.ndarray,
    amount: np.ndarray,
    reach: int,
    shape: tuple[int, int],
    profile: Profile,
) -> None:
    rows, columns = shape
    # A disk of radius r shows in pixels whose middles lie within r + 1/2 of its own, so within ceil(r) pixels.
    offsets = np.arange(-reach, reach + 1)[:, None]
    column, row = np.floor(chain.column[chosen]).astype(np.int64), np.floor(chain.row[chosen]).astype(np.int64)
    seen = (column >= -reach) & (column < columns + reach) & (row >= -reach) & (row < rows + reach)
    chosen, column, row = chosen[seen], column[seen], row[seen]
    if not len(chosen):
        return
    if (library := native()) is not None:
        places = (chain.column[chosen].astype(np.float64), chain.row[chosen].astype(np.float64))
        thick, most = radius[chosen].astype(np.float32), amount[chosen].astype(np.float32)
        layer = chain.layer[chosen].astype(np.int64)
        library.osler_stamp(
            address(canvas), rows, columns, *map(address, (*places, thick, most, layer)), len(chosen), reach,
            profile == "flat",
        )  # fmt: skip
        return
    # Pixels first, so that loops run along the disks, which are many.
    i, j = column + offsets, row + offsets
    dx = (i + 0.5 - chain.column[chosen]).astype(np.float32)
    dy = (j + 0.5 - chain.row[chosen]).astype(np.float32)
    dx *= dx
    dy *= dy
    dx[(i < 0) | (i >= columns)] = _OUTSIDE
    dy[(j < 0) | (j >= rows)] = _OUTSIDE
    size = radius[chosen].astype(np.float32)
    squared = (dx + dy[:, None]).reshape(-1)
    inside = np.flatnonzero(squared.reshape(-1, len(chosen)) < size * size * 1.0 + size + 0.25)
    pixel = inside // len(chosen)
    n = inside - pixel * len(chosen)
    size = size[n]
    away = np.sqrt(squared[inside]) / size
    values = _profile(away, size=size, profile=profile) * amount[chosen].astype(np.float32)[n]
    first = (chain.layer[chosen] * rows + row) * columns + column
    np.maximum.at(canvas, (offsets * columns + offsets[:, 0]).reshape(-1)[pixel] + first[n], values)


def _profile(away: np.ndarray, *, size: np.ndarray, profile: Profile) -> np.ndarray:
    edge = np.clip((1 - away) * size + 0.5, 0, 1)
    if profile == "flat":
        return edge
    chord = np.sqrt(np.maximum(1 - away * away, 0.02))
    return edge * chord
