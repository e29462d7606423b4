"""Random fields of a slide that depend on the position only, never on the tile.

Every value is a hash of (slide, stream, lattice cell), so a tile cut anywhere, alone or
among thousands, shows the same tissue. Slow fields are computed on a lattice of 2 µm
that is tied to the slide's origin, then brought to the pixels with a cubic B-spline,
four taps each way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.extras import import_extra
from osler.synth.draws import mix, stream_key

LATTICE_UM = 2.0
TEXTURE_SIDE = 512
_HALF_OF_16_BITS = 1.0 / 65536.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """Points 2 µm apart that cover a window.

    Args:
        column: Number of the first point along x, in steps of 2 µm from the slide's origin.
        row: The same along y.
        shape: Points down and across.
    """

    column: int
    row: int
    shape: tuple[int, int]

    @property
    def x(self) -> np.ndarray:
        """(columns,) µm."""
        return (self.column + np.arange(self.shape[1])) * LATTICE_UM

    @property
    def y(self) -> np.ndarray:
        """(rows,) µm."""
        return (self.row + np.arange(self.shape[0])) * LATTICE_UM

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """x (1, columns) and y (rows, 1) of the points; they broadcast."""
        return self.x[None, :], self.y[:, None]

    def sample(self, field: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Bilinear values of a field at points (µm); outside, of the nearest point inside."""
        u = np.clip(x / LATTICE_UM - self.column, 0, self.shape[1] - 1.001)
        v = np.clip(y / LATTICE_UM - self.row, 0, self.shape[0] - 1.001)
        i, j = u.astype(np.intp), v.astype(np.intp)
        return _bilinear(field, i, j, s=u - i, t=v - j)

    def to_pixels(self, field: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values of a field on a pixel grid with columns at x and rows at y (µm), float32, smoothed."""
        down = _between_rows(field, y / LATTICE_UM - self.row)
        # Columns are blended as rows, which lie side by side in memory.
        across = _between_rows(np.ascontiguousarray(down.T), x / LATTICE_UM - self.column)
        return np.ascontiguousarray(across.T, dtype=np.float32)


def lattice_over(x0: float, y0: float, *, width: float, height: float, margin: float) -> Lattice:
    """The lattice that covers a window (µm) and a margin around it."""
    column = int(np.floor((x0 - margin) / LATTICE_UM)) - 2
    row = int(np.floor((y0 - margin) / LATTICE_UM)) - 2
    across = int(np.ceil((x0 + width + margin) / LATTICE_UM)) + 3 - column
    down = int(np.ceil((y0 + height + margin) / LATTICE_UM)) + 3 - row
    return Lattice(column=column, row=row, shape=(down, across))


def _between_rows(field: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A field (rows, columns) at places (N,) between its rows, (N, columns)."""
    first, weights = _taps(at)
    out = field.take(first, axis=0)
    out *= weights[0][:, None]
    for k in (1, 2, 3):
        part = field.take(first + k, axis=0)
        part *= weights[k][:, None]
        out += part
    return out


def _taps(at: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    first = np.floor(at).astype(np.intp)
    t = at - first
    t2, t3, g = t * t, t * t * t, 1 - t
    weights = (g * g * g / 6, (3 * t3 - 6 * t2 + 4) / 6, (-3 * t3 + 3 * t2 + 3 * t + 1) / 6, t3 / 6)
    return first - 1, weights


def cell_bits(key: int, stream: str, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """64 random bits of each cell of a named grid, uint64; columns and rows are broadcast."""
    base = mix(np.array([key], dtype=np.uint64) ^ stream_key(stream))
    return mix(mix(base ^ columns.astype(np.uint64)) ^ rows.astype(np.uint64))


def quarters(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four uniform numbers in [0, 1) out of each 64 bits."""
    return tuple(
        ((bits >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.float64) * _HALF_OF_16_BITS for s in (0, 16, 32, 48)
    )  # type: ignore[return-value]


def smooth_noise(key: int, stream: str, *, x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """Smooth noise in [-1, 1] with features of about ``period`` µm, at any points; x and y are broadcast."""
    u, v = x / period, y / period
    i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    i0, j0 = int(i.min()), int(j.min())
    columns, rows = np.arange(i0, int(i.max()) + 2), np.arange(j0, int(j.max()) + 2)
    table = quarters(cell_bits(key, stream, columns[None, :], rows[:, None]))[0] * 2 - 1
    s, t = u - i, v - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    i -= i0
    j -= j0
    if not x.ndim == y.ndim == 2 or x.shape[0] > 1 or y.shape[1] > 1:
        return _bilinear(table, i, j, s=s, t=t)
    # On a grid, all rows between two of the table share its blends across.
    across = table.take(i[0], axis=1) * (1 - s) + table.take(i[0] + 1, axis=1) * s
    top, low = across.take(j[:, 0], axis=0), across.take(j[:, 0] + 1, axis=0)
    top *= 1 - t
    low *= t
    top += low
    return top


def _bilinear(table: np.ndarray, i: np.ndarray, j: np.ndarray, *, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Values between the entries at column i, row j and their next ones, s and t of the way to these."""
    width, flat = table.shape[1], table.reshape(-1)
    first = j * width + i
    back, up = 1 - s, 1 - t
    top = flat.take(first) * back + flat.take(first + 1) * s
    first += width
    low = flat.take(first) * back + flat.take(first + 1) * s
    top *= up
    low *= t
    top += low
    return top


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The nearest seed of a jittered grid at each point.

    Args:
        to_center: Distance to the nearest seed (µm).
        to_edge: Distance to the border with the next seed's cell (µm).
        chance: Four uniform numbers of the nearest seed.
    """

    to_center: np.ndarray
    to_edge: np.ndarray
    chance: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def nearest_cells(key: int, stream: str, *, x: np.ndarray, y: np.ndarray, spacing: float, jitter: float) -> Cells:
    """Cellular noise (Worley 1996): distances to the nearest seed and to its cell's border; x and y are broadcast."""
    i, j = np.floor(x / spacing).astype(np.int64), np.floor(y / spacing).astype(np.int64)
    i0, j0 = int(i.min()) - 1, int(j.min()) - 1
    columns, rows = np.arange(i0, int(i.max()) + 2)[None, :], np.arange(j0, int(j.max()) + 2)[:, None]
    chances = quarters(cell_bits(key, stream, columns, rows))
    # Every second row is shifted by half a cell, which packs the seeds nearly like a honeycomb.
    seeds_x = (columns + 0.5 + 0.5 * (rows & 1) - 0.25 + jitter * (chances[0] - 0.5)) * spacing
    seeds_y = (rows + 0.5 + jitter * (chances[1] - 0.5)) * spacing
    width = seeds_x.shape[1]
    here = (j - j0) * width + (i - i0)
    first, second = np.full(here.shape, np.inf), np.full(here.shape, np.inf)
    nearest, runner_up = np.zeros(here.shape, np.intp), np.zeros(here.shape, np.intp)
    flat_x, flat_y = seeds_x.ravel(), seeds_y.ravel()
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            seed = here + (dj * width + di)
            squared, down = flat_x.take(seed), flat_y.take(seed)
            squared -= x
            squared *= squared
            down -= y
            down *= down
            squared += down
            nearer = squared < first
            np.copyto(runner_up, seed, where=squared < second)
            np.copyto(runner_up, nearest, where=nearer)
            np.copyto(nearest, seed, where=nearer)
            np.maximum(first, squared, out=down)
            np.minimum(second, down, out=second)
            np.minimum(first, squared, out=first)
    apart = np.hypot(flat_x.take(nearest) - flat_x.take(runner_up), flat_y.take(nearest) - flat_y.take(runner_up))
    edge = (second - first) / (2 * np.maximum(apart, 1e-6))
    return Cells(
        to_center=np.sqrt(first), to_edge=edge, chance=tuple(chance.ravel().take(nearest) for chance in chances)
    )  # type: ignore[arg-type]


@cache
def texture(stream: str, *, along: float, across: float) -> np.ndarray:
    """A periodic texture of mean 0 and deviation 1, (512, 512) float32, smoothed by Gaussians (texels)."""
    gaussian_filter = import_extra("scipy.ndimage", extra="synth").gaussian_filter

    side = np.arange(TEXTURE_SIDE)
    parts = quarters(cell_bits(0, stream, side[None, :], side[:, None]))
    smooth = gaussian_filter(sum(parts), (across, along), mode="wrap")
    return ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)


def look_up(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Values of a periodic texture at (u across, v down) in texels."""
    mask = TEXTURE_SIDE - 1
    rows, columns = np.floor(v).astype(np.int32) & mask, np.floor(u).astype(np.int32) & mask
    return image.reshape(-1).take(rows * TEXTURE_SIDE + columns)
