"""A smooth random field: cubic B-splines on a lattice of random numbers that repeats.

BLAS adds up a matrix product in an order that depends on the processor and on the shape. So that a voxel is the same
everywhere, knots and weights are whole numbers of a small unit, and every sum of their products fits the 24 bits of a
float32: nothing is rounded in a product, and its order does not matter.

Dimensions: K knots along an axis; Z, Y, X of the grid.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from osler.synth.draws import Draws, mix, stream_key
from osler.synth.painting.library import address, native

_KNOTS = 24
_UNIT = np.float32(2.0**-11)
"""Of knots and of weights: their products are whole numbers of its square, below 4, which takes 24 bits."""
MOST = 2.4
"""Greatest value of a field: the splines smooth, so knots of this size bring most of it to -1..1."""


class Lattice:
    """One field on a grid.

    Args:
        x, y, z: Voxel centers (mm), float32.
        mm: Distance of the knots. key, shape: Seed the numbers.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, mm: float, key: str, shape: int) -> None:
        self._lines = tuple(_spline_weights(axis.tobytes(), mm=mm) for axis in (z, y))
        self._weights, self._rows = (line.whole for line in self._lines)
        used = self._lines[0].used(slice(None))
        numbers = (used[:, None] * _KNOTS**2 + np.arange(_KNOTS**2)).reshape(-1)
        columns = _spline_weights(x.tobytes(), mm=mm)
        self._across = np.empty((_KNOTS, _KNOTS, len(x)), dtype=np.float32)
        self._across[used] = _across(_knots(numbers, key=key, shape=shape), columns).reshape(len(used), _KNOTS, len(x))
        self._planes = np.empty((_KNOTS, len(y), len(x)), dtype=np.float32)
        self._made = {knot: (len(y), 0, len(x), 0) for knot in used.tolist()}

    def part(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        """The field, about -1 to 1, in a box (z, y, x): each voxel the same, whatever the box."""
        weights = self._weights[box[0]]
        used = self._lines[0].used(box[0])
        self._make(used.tolist(), y=box[1], x=box[2])
        if (library := native()) is not None:
            return self._compiled(library, box)
        whole = slice(used[0], used[-1] + 1)
        chosen = whole if len(used) == whole.stop - whole.start else used
        part = np.ascontiguousarray(self._planes[chosen, box[1], box[2]])
        out = np.ascontiguousarray(weights[:, used]) @ part.reshape(len(used), -1)
        return out.reshape(len(weights), *part.shape[1:])

    def _compiled(self, library: ctypes.CDLL, box: tuple[slice, slice, slice]) -> np.ndarray:
        z, y, x = box
        out = np.empty([part.stop - part.start for part in box], dtype=np.float32)
        line = self._lines[0]
        _, rows, columns = self._planes.shape
        library.osler_lattice_part(
            address(self._planes[0, y, x]), rows * columns, columns, address(line.knots[z]), address(line.four[z]),
            address(out), *out.shape,
        )  # fmt: skip
        return out

    def _make(self, knots: list[int], *, y: slice, x: slice) -> None:
        """Makes the planes of knots along z in some rows and columns, where they are not made."""
        missing, places = [], [(y.start, y.stop, x.start, x.stop)]
        for knot in knots:
            top, bottom, left, right = made = self._made[knot]
            if top > y.start or bottom < y.stop or left > x.start or right < x.stop:
                missing.append(knot)
                places.append(made)
        if not missing:
            return
        tops, bottoms, lefts, rights = zip(*places, strict=True)
        place = min(tops), max(bottoms), min(lefts), max(rights)
        rows, columns = slice(*place[:2]), slice(*place[2:])
        if (library := native()) is not None:
            line, width = self._lines[1], self._planes.shape[2]
            index, four = address(line.knots[rows]), address(line.four[rows])
            for knot in missing:
                library.osler_lattice_plane(
                    address(self._across[knot, :, columns]), width, index, four,
                    address(self._planes[knot, rows, columns]), width, rows.stop - rows.start,
                    columns.stop - columns.start, _UNIT,
                )  # fmt: skip
        else:
            self._planes[missing, rows, columns] = _whole(self._rows[rows] @ self._across[missing][:, :, columns])
        self._made.update(dict.fromkeys(missing, place))


def _knots(numbers: np.ndarray, *, key: str, shape: int) -> np.ndarray:
    """Random numbers of the knots with some numbers, rows of K."""
    if (library := native()) is not None:
        out = np.empty(len(numbers), dtype=np.float32)
        seed = int(mix(np.array([shape], dtype=np.uint64))[0])
        library.osler_lattice_knots(
            seed, int(stream_key(key)), address(numbers), address(out), len(out), MOST, _UNIT
        )  # fmt: skip
    else:
        out = Draws(seed=shape, patients=numbers).uniform(key).astype(np.float32) * 2 - 1
        out = _whole(out * np.float32(MOST))
    return out.reshape(-1, _KNOTS)


def _across(knots: np.ndarray, columns: _Splines) -> np.ndarray:
    """Rows of knots between the knots, (rows, X)."""
    if (library := native()) is None:
        return _whole(knots @ columns.whole.T)
    out = np.empty((len(knots), len(columns.whole)), dtype=np.float32)
    library.osler_lattice_across(
        address(knots), _KNOTS, address(columns.knots), address(columns.four), address(out), *out.shape, _UNIT
    )  # fmt: skip
    return out


def _whole(values: np.ndarray) -> np.ndarray:
    """Values rounded to whole numbers of the unit."""
    return np.rint(values / _UNIT) * _UNIT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Splines:
    """Cubic B-spline weights of places on a lattice that repeats; those of a place add up to 1.

    Args:
        whole: (N, K). four: (N, 4), those of the knots about each. knots: (N, 4) int32, these knots.
    """

    whole: np.ndarray
    four: np.ndarray
    knots: np.ndarray

    def used(self, part: slice) -> np.ndarray:
        """Numbers of the knots about some of the places, rising."""
        return np.flatnonzero(np.bincount(self.knots[part].reshape(-1), minlength=_KNOTS))


@lru_cache(maxsize=256)
def _spline_weights(axis: bytes, *, mm: float) -> _Splines:
    """Weights at places (float32, mm)."""
    position = np.frombuffer(axis, np.float32) / mm
    base = np.floor(position).astype(np.int64)
    f = (position - base).astype(np.float32)
    f2, g = f * f, 1 - f
    first, second, last = g * g * g, 3 * f2 * f - 6 * f2 + 4, f2 * f
    first, second, last = (_whole(part / np.float32(6)) for part in (first, second, last))
    four = np.stack([first, second, 1 - first - second - last, last], axis=1)
    knots = (base[:, None] + np.arange(-1, 3)) % _KNOTS
    whole = np.zeros((len(position), _KNOTS), dtype=np.float32)
    np.put_along_axis(whole, knots, four, axis=1)
    return _Splines(whole=whole, four=four, knots=knots.astype(np.int32))
