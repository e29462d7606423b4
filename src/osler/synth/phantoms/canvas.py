"""A grid of voxels on which tissues are painted with soft edges.

Organs are implicit functions: an approximate distance in mm to the organ's surface,
negative inside. A voxel that the surface cuts takes part of the tissue's value, as a
scanner averages over a voxel. Functions are evaluated only in the part of the grid that
an organ can reach.

Legend of suffixes: Z slices (feet to head), Y rows (front to back), X columns (patient's
right to left).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Point = tuple[float, float, float]
Blocks = tuple[np.ndarray, np.ndarray, np.ndarray]
Surface = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the voxels of a phantom lie: along the body axes, slices toward the head.

    Args:
        shape: (slices, rows, columns).
        spacing: Distance of voxel centers (column, row, slice), mm.
        origin: Center of the first voxel in the body frame, LPS mm.
    """

    shape: tuple[int, int, int]
    spacing: Point
    origin: Point

    def axis(self, number: int) -> np.ndarray:
        """Centers along x (0), y (1) or z (2), mm, float32."""
        count = self.shape[2 - number]
        return (self.origin[number] + self.spacing[number] * np.arange(count)).astype(np.float32)

    @property
    def edge_mm(self) -> float:
        """Width over which a surface is blurred: the mean spacing."""
        return float(np.mean(self.spacing))


def _waves(axis_mm: np.ndarray, *, count: int, period_mm: float) -> np.ndarray:
    """Cosine basis (len(axis), count) of half the period and its fractions; fixed to the body, not the grid."""
    return np.cos(np.pi * np.arange(count)[None] * (axis_mm[:, None] + 500.0) / period_mm).astype(np.float32)


def smooth_field(grid: Grid, *, seed: int, period_mm: float, modes: tuple[int, int], reach_mm: float) -> np.ndarray:
    """Draws a smooth random field with unit variance.

    Args:
        grid: Where it is needed; the field itself belongs to the body, whatever the grid.
        seed: Of the field.
        period_mm: Half period of the first wave.
        modes: Lowest and highest number of the waves (exclusive).
        reach_mm: Wavelengths shorter than this are damped.

    Returns:
        (Z, Y, X) float32.
    """
    low, high = modes
    rng = np.random.default_rng(seed)
    number = np.arange(high)
    size = np.sqrt(number[:, None, None] ** 2 + number[None, :, None] ** 2 + number[None, None, :] ** 2)
    keep = (size >= low) & (size < high)
    damp = np.exp(-0.5 * (size * reach_mm / (2 * period_mm)) ** 2) * keep
    weights = rng.standard_normal((high, high, high)) * damp
    inner = (number > 0).astype(np.float64)
    norm = np.sqrt((damp**2 * (0.5 ** (inner[:, None, None] + inner[None, :, None] + inner[None, None, :]))).sum())
    weights = (weights / norm).astype(np.float32)
    bases = [_waves(grid.axis(i), count=high, period_mm=period_mm) for i in range(3)]
    planes = np.tensordot(bases[2], weights, axes=(1, 0))
    rows = np.matmul(bases[1][None], planes)
    return np.matmul(rows, bases[0].T[None])


@dataclass(slots=True, kw_only=True, eq=False)
class Canvas:
    """Values and labels in the making.

    Args:
        grid: Where the voxels are.
        unit: Millimeters of one unit along x, y, z.
        palette: Value of each tissue (HU, or MR signal).
        labels: Number of each organ.
        value: (Z, Y, X) float32.
        organs: (Z, Y, X) uint8.
        lesions: (Z, Y, X) uint8.
        warp: Displacement in units along x, y, z, each (Z, Y, X), or empty.
    """

    grid: Grid
    unit: Point
    palette: Mapping[str, float]
    labels: Mapping[str, int]
    value: np.ndarray
    organs: np.ndarray
    lesions: np.ndarray
    units: Blocks = field(default=())  # type: ignore[assignment]

    @classmethod
    def blank(
        cls,
        grid: Grid,
        *,
        unit: Point,
        palette: Mapping[str, float],
        labels: Mapping[str, int],
        warp_seed: int,
        warp_mm: float,
    ) -> Canvas:
        """Starts with air, and with coordinates that are gently and smoothly bent."""
        units = []
        for number, shape in enumerate([(1, 1, -1), (1, -1, 1), (-1, 1, 1)]):
            bend = smooth_field(grid, seed=warp_seed + number, period_mm=220.0, modes=(1, 5), reach_mm=40.0)
            bend *= warp_mm / unit[number]
            bend += (grid.axis(number) / unit[number]).reshape(shape)
            units.append(bend)
        return cls(
            grid=grid,
            unit=unit,
            palette=palette,
            labels=labels,
            value=np.full(grid.shape, palette["air"], dtype=np.float32),
            organs=np.zeros(grid.shape, dtype=np.uint8),
            lesions=np.zeros(grid.shape, dtype=np.uint8),
            units=(units[0], units[1], units[2]),
        )

    def block(self, center: Point, half: Point, *, margin_mm: float = 12.0) -> tuple[slice, slice, slice]:
        """The part of the grid around ``center`` (units) that ``half`` (units) and a margin reach."""
        slices = []
        for number in (2, 1, 0):
            axis = self.grid.axis(number)
            middle, reach = center[number] * self.unit[number], half[number] * self.unit[number] + margin_mm
            first, last = np.searchsorted(axis, [middle - reach, middle + reach])
            slices.append(slice(int(first), int(last)))
        return slices[0], slices[1], slices[2]

    def whole(self) -> tuple[slice, slice, slice]:
        """The whole grid."""
        return slice(None), slice(None), slice(None)

    def at(self, block: tuple[slice, slice, slice]) -> Blocks:
        """Unit coordinates of a block."""
        return self.units[0][block], self.units[1][block], self.units[2][block]

    def paint(
        self,
        tissue: str,
        surface: Surface | np.ndarray,
        block: tuple[slice, slice, slice],
        *,
        organ: str = "",
        edge_mm: float | None = None,
        texture: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """Lays a tissue over what is there.

        Args:
            tissue: In the palette.
            surface: Distance (mm) as a function of the unit coordinates, or the distances in the block.
            block: Where to look.
            organ: Label to write where at least half of the voxel is covered; none if empty.
            edge_mm: Width of the soft edge; that of the grid if not given.
            texture: Added to the tissue's value, shape of the block.

        Returns:
            Coverage 0 to 1 in the block, ``None`` where the block is empty.
        """
        target = self.value[block]
        if target.size == 0:
            return None
        far = surface(*self.at(block)) if callable(surface) else surface
        cover = cover_of(far, edge_mm=edge_mm or self.grid.edge_mm)
        goal = np.float32(self.palette[tissue])
        step = goal - target if texture is None else goal + texture - target
        step *= cover
        target += step
        if organ:
            self.organs[block][cover >= 0.5] = self.labels[organ]
        return cover

    def mm(self, block: tuple[slice, slice, slice]) -> Blocks:
        """Straight (not bent) coordinates of a block in the body frame, mm, broadcastable."""
        x, y, z = (self.grid.axis(n)[block[2 - n]] for n in range(3))
        return x[None, None, :], y[None, :, None], z[:, None, None]


def cover_of(far: np.ndarray, *, edge_mm: float) -> np.ndarray:
    """Share of a voxel inside a surface at that distance (mm): 1 inside, 0 outside, straight between."""
    cover = far * np.float32(-1.0 / edge_mm)
    cover += np.float32(0.5)
    return np.clip(cover, 0.0, 1.0, out=cover)
