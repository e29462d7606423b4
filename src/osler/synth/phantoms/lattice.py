"""A smooth random field: cubic B-splines on a lattice of random numbers that repeats.

Dimensions: K knots along an axis; Z, Y, X of the grid.
"""

from __future__ import annotations

import numpy as np

from osler.synth.draws import Draws

_KNOTS = 24
MOST = 2.4
"""Greatest value of a field: the splines smooth, so knots of this size bring most of it to -1..1."""


class Lattice:
    """One field on a grid.

    Args:
        x, y, z: Voxel centers (mm), float32.
        mm: Distance of the knots. key, shape: Seed the numbers.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, mm: float, key: str, shape: int) -> None:
        self._weights = tuple(_spline_weights(axis / mm) for axis in (z, y, x))
        used = np.flatnonzero(self._weights[0].any(axis=0))
        numbers = (used[:, None] * _KNOTS**2 + np.arange(_KNOTS**2)).reshape(-1)
        knots = Draws(seed=shape, patients=numbers).uniform(key).astype(np.float32) * 2 - 1
        knots *= np.float32(MOST)
        self._knots = dict(zip(used.tolist(), knots.reshape(-1, _KNOTS, _KNOTS), strict=True))
        self._planes = np.empty((_KNOTS, len(y), len(x)), dtype=np.float32)
        self._made = np.zeros(_KNOTS, dtype=bool)

    def part(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        """The field, about -1 to 1, in a box (z, y, x)."""
        weights, wy, wx = self._weights
        weights = weights[box[0]]
        used = np.flatnonzero(weights.any(axis=0))
        for knot in used[~self._made[used]].tolist():
            np.matmul(wy, np.matmul(self._knots[knot], wx.T), out=self._planes[knot])
            self._made[knot] = True
        whole = slice(used[0], used[-1] + 1)
        chosen = whole if len(used) == whole.stop - whole.start else used
        part = np.ascontiguousarray(self._planes[chosen, box[1], box[2]])
        out = np.ascontiguousarray(weights[:, used]) @ part.reshape(len(used), -1)
        return out.reshape(len(weights), *part.shape[1:])


def _spline_weights(position: np.ndarray) -> np.ndarray:
    """Cubic B-spline weights (N, K) on a lattice that repeats."""
    base = np.floor(position).astype(np.int64)
    f = (position - base).astype(np.float32)
    parts = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    weights = np.zeros((len(position), _KNOTS), dtype=np.float32)
    rows = np.arange(len(position))
    for offset, part in enumerate(parts):
        weights[rows, (base + offset - 1) % _KNOTS] = part / 6
    return weights
