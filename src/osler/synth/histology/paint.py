"""From the map and the nuclei to amounts of hematoxylin and eosin per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.elementary import cosine, sine
from osler.synth.histology.fields import look_up, texture
from osler.synth.histology.layout import Layout
from osler.synth.histology.nuclei import DEBRIS, MITOSIS, Nuclei


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelGrid:
    """Centers of pixels: x (columns,) and y (rows,) in µm, and the first pixel's number."""

    x: np.ndarray
    y: np.ndarray
    column: int
    row: int
    pixel_um: float


def paint(layout: Layout, *, nuclei: Nuclei, grid: PixelGrid) -> tuple[np.ndarray, np.ndarray]:
    """Amounts of hematoxylin and eosin, float32 (rows, columns) each."""
    hematoxylin, eosin = _ground(layout, grid=grid)
    goblets = nuclei.where(nuclei.goblet > 0)
    if len(goblets):
        _paint_goblets(hematoxylin, eosin, goblets=goblets, grid=grid)
    own = nuclei.where(nuclei.halo > 0)
    if len(own):
        _paint_cytoplasm(hematoxylin, eosin, cells=own, grid=grid)
    if len(nuclei):
        _paint_nuclei(hematoxylin, eosin, nuclei=nuclei, grid=grid)
    return hematoxylin, eosin


def _ramp(values: np.ndarray, *, width: float) -> np.ndarray:
    return np.clip(values * np.float32(1 / width) + np.float32(0.5), 0, 1)


_GROUND = {
    "lamina": (0.05, 0.24, 0.09), "collagen": (0.02, 0.42, 0.13), "muscle": (0.04, 0.46, 0.12),
    "desmoplastic": (0.07, 0.31, 0.12), "fat": (0.02, 0.36, 0.08), "septa": (0.06, 0.34, 0.08),
}  # fmt: skip
_LUMEN = {
    "empty": (0.0, 0.0), "mucin": (0.10, 0.05), "secretion": (0.01, 0.06), "debris": (0.08, 0.26), "colloid": (0.0, 0.4)
}  # fmt: skip


def _ground(layout: Layout, *, grid: PixelGrid) -> tuple[np.ndarray, np.ndarray]:
    """Everything but cells with an outline of their own."""
    up = lambda field: layout.lattice.to_pixels(field, x=grid.x, y=grid.y)  # noqa: E731
    depth, lumen, fiber = up(layout.depth), up(np.clip(layout.lumen, -60, 60)), up(layout.fiber)
    columns = np.clip(np.rint(grid.x / 2).astype(np.intp) - layout.lattice.column, 0, layout.lattice.shape[1] - 1)
    rows = np.clip(np.rint(grid.y / 2).astype(np.intp) - layout.lattice.row, 0, layout.lattice.shape[0] - 1)
    kind = layout.kind[np.ix_(rows, columns)]
    x, y = grid.x.astype(np.float32)[None, :], grid.y.astype(np.float32)[:, None]
    of_kind = lambda levels: [np.array(level, np.float32).take(kind) for level in zip(*levels, strict=True)]  # noqa: E731
    grounds = of_kind([_GROUND[pattern.ground] for pattern in layout.patterns])
    walls = of_kind([pattern.cytoplasm for pattern in layout.patterns])
    lumens = of_kind([_LUMEN[pattern.lumen] for pattern in layout.patterns])
    fine = look_up(texture("granules", along=1.6, across=1.6), x * 2.6, y * 2.6)
    soft = look_up(texture("clouds", along=9, across=9), x * 1.1, y * 1.1)
    fiber = fiber + 0.5 * soft + 0.12 * fine
    strands = look_up(texture("strands", along=5, across=2.0), (x - 0.6 * y) * 0.4, fiber * 3.1)
    bundles = look_up(texture("bundles", along=10, across=3.5), (x - 0.6 * y) * 0.35, fiber * 1.5)
    eosin = grounds[1] * (1 + 0.12 * soft) + grounds[2] * (0.55 * strands + 0.65 * bundles) + 0.025 * fine
    # Clefts between bundles of fibers are nearly empty.
    eosin *= np.clip(1.55 + 0.75 * bundles + 0.25 * strands, 0.2, 1)
    hematoxylin = grounds[0] * np.clip(1.5 + bundles, 0, 1.3) + 0.012 * fine
    inside = _ramp(depth, width=1.2)
    wall_h, wall_e = walls[0] * (1 + 0.25 * soft + 0.16 * fine), walls[1] * (1 + 0.14 * soft + 0.12 * fine)
    # The brush of the cells' tops stains a little more.
    top = np.clip(1 - np.abs(lumen + 1.2) / 1.5, 0, 1)
    hematoxylin += inside * (wall_h - hematoxylin)
    eosin += inside * (wall_e + 0.1 * top - eosin)
    empty = _ramp(lumen, width=1.0)
    filled = np.clip(1 + 0.9 * soft + 0.25 * fine, 0, 2.2) * _ramp(lumen - 4, width=6.0)
    hematoxylin += empty * (lumens[0] * filled - hematoxylin)
    eosin += empty * (lumens[1] * filled - eosin)
    if layout.fat.max() > -5:
        fat = _ramp(up(np.clip(layout.fat, -6, 6)), width=1.2)
        hematoxylin *= 1 - fat
        eosin *= 1 - fat
    if layout.necrosis.max() > 0:
        dead = _ramp(up(np.clip(layout.necrosis, -12, 12)), width=10.0)
        hematoxylin += dead * (0.05 + 0.03 * soft - hematoxylin)
        eosin += dead * (0.44 + 0.1 * soft + 0.09 * fine - eosin)
    if layout.tissue.min() < 4:
        section = _ramp(up(np.clip(layout.tissue, -8, 8)), width=2.0)
        hematoxylin *= section
        eosin *= section
    return np.maximum(hematoxylin, 0), np.maximum(eosin, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stamps:
    """Pixels covered by ellipses: flat pixel numbers, ellipse of each, place within it (unit circle)."""

    pixel: np.ndarray
    owner: np.ndarray
    along: np.ndarray
    across: np.ndarray
    radius: np.ndarray


def _stamp(
    x: np.ndarray,
    y: np.ndarray,
    *,
    long: np.ndarray,
    short: np.ndarray,
    angle: np.ndarray,
    grid: PixelGrid,
    reach: float,
) -> _Stamps:
    """All pixels within ``reach`` times the half axes of each ellipse, in the order of the ellipses."""
    width, height = len(grid.x), len(grid.y)
    size = np.maximum(long, short) * reach / grid.pixel_um
    turns = cosine(angle).astype(np.float32), sine(angle).astype(np.float32)
    parts: list[tuple[np.ndarray, ...]] = []
    half = np.ceil(size).astype(np.intp) + 1
    for limit in np.unique(half):
        chosen = np.flatnonzero(half == limit)
        offsets = np.arange(-limit, limit + 1)
        column = np.rint((x[chosen] - grid.x[0]) / grid.pixel_um).astype(np.intp)
        row = np.rint((y[chosen] - grid.y[0]) / grid.pixel_um).astype(np.intp)
        i, j = column[:, None] + offsets, row[:, None] + offsets
        dx = (grid.x[0] + i * grid.pixel_um - x[chosen, None]).astype(np.float32)[:, None, :]
        dy = (grid.y[0] + j * grid.pixel_um - y[chosen, None]).astype(np.float32)[:, :, None]
        forward, aside = (turn[chosen, None, None] for turn in turns)
        along = (dx * forward + dy * aside) / long[chosen].astype(np.float32)[:, None, None]
        across = (dy * forward - dx * aside) / short[chosen].astype(np.float32)[:, None, None]
        radius = along * along + across * across
        held = radius < reach * reach
        held &= ((i >= 0) & (i < width))[:, None, :]
        held &= ((j >= 0) & (j < height))[:, :, None]
        flat = np.flatnonzero(held)
        n, place = np.divmod(flat, len(offsets) ** 2)
        pixel = (row * width + column)[n] + (offsets[:, None] * width + offsets).reshape(-1)[place]
        along, across, radius = (values.reshape(-1)[flat] for values in (along, across, radius))
        parts.append((pixel, chosen[n], along, across, np.sqrt(radius)))
    columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
    # Numbers of 16 bits are sorted without comparing them.
    order = np.argsort(columns[1].astype(np.min_scalar_type(len(x))), kind="stable")
    pixel, owner, along, across, radius = (values[order] for values in columns)
    return _Stamps(pixel=pixel, owner=owner, along=along, across=across, radius=radius)


def _paint_goblets(hematoxylin: np.ndarray, eosin: np.ndarray, *, goblets: Nuclei, grid: PixelGrid) -> None:
    """Mucin vacuoles on the lumen's side of their nuclei."""
    away = goblets.long + 6.5
    x, y = goblets.x + cosine(goblets.angle) * away, goblets.y + sine(goblets.angle) * away
    size = 4.0 + 1.6 * goblets.chance
    stamps = _stamp(x, y, long=size * 1.25, short=size * 0.85, angle=goblets.angle, grid=grid, reach=1.15)
    cover = np.clip((1.12 - stamps.radius) * 4, 0, 1)
    for image, level in ((hematoxylin, 0.11), (eosin, 0.035)):
        flat = image.reshape(-1)
        flat[stamps.pixel] += cover * (level - flat[stamps.pixel])


def _paint_cytoplasm(hematoxylin: np.ndarray, eosin: np.ndarray, *, cells: Nuclei, grid: PixelGrid) -> None:
    """The bodies of cells that lie alone: plasma cells, single tumor cells, dividing cells."""
    shift = np.where(cells.kind == MITOSIS, 0, 0.9)
    x, y = cells.x + cosine(7 * cells.angle) * shift, cells.y + sine(7 * cells.angle) * shift
    stamps = _stamp(x, y, long=cells.halo * 1.1, short=cells.halo / 1.1, angle=cells.angle, grid=grid, reach=1.1)
    cover = np.clip((1.05 - stamps.radius) * 5, 0, 1)
    clear = (cells.kind == MITOSIS)[stamps.owner]
    for image, plain, pale in ((hematoxylin, 0.13, 0.03), (eosin, 0.24, 0.17)):
        flat = image.reshape(-1)
        level = np.where(clear, np.float32(pale), np.float32(plain))
        flat[stamps.pixel] += cover * (level - flat[stamps.pixel])


def _paint_nuclei(hematoxylin: np.ndarray, eosin: np.ndarray, *, nuclei: Nuclei, grid: PixelGrid) -> None:
    nuclei = nuclei.where(np.argsort(nuclei.rank, kind="stable"))
    stamps = _stamp(nuclei.x, nuclei.y, long=nuclei.long, short=nuclei.short, angle=nuclei.angle, grid=grid, reach=1.25)
    chromatin = texture("chromatin", along=2.6, across=2.6)
    outline = texture("outline", along=12, across=12)
    owner = stamps.owner
    place = (nuclei.chance * 7919).astype(np.float32)[owner]
    long, short = nuclei.long.astype(np.float32)[owner], nuclei.short.astype(np.float32)[owner]
    u, v = stamps.along * long, stamps.across * short
    wobble = look_up(outline, u * 4 + place * 3.1, v * 4 + place * 1.7)
    uneven = np.where(nuclei.kind == MITOSIS, 0.16, np.where(nuclei.kind == DEBRIS, 0.15, 0.055)).astype(np.float32)
    radius = stamps.radius * (1 + uneven[owner] * wobble)
    grain = look_up(chromatin, u * 7 + place, v * 7 + place * 0.37)
    opened = nuclei.open_chromatin.astype(np.float32)[owner]
    soft = np.float32(0.5) / np.maximum(short, 1)
    cover = np.clip((1 - radius) / (2 * soft) + 0.5, 0, 1)
    rim = np.clip(1 - np.abs(radius - 0.9) * 6, 0, 1)
    level = 1 - 0.42 * opened + (0.1 + 0.2 * opened) * grain + (0.1 + 0.35 * opened) * rim
    dot = np.hypot(u - 0.3 * (place % 1 - 0.5) * short, v) < 0.95
    level = np.where(dot & (nuclei.nucleolus[owner] > 0), 1.35, level)
    amount = nuclei.dark.astype(np.float32)[owner] * np.clip(level, 0.2, 1.6)
    purple = np.where(nuclei.nucleolus[owner] > 0, 0.16 + 0.25 * dot, 0.16).astype(np.float32)
    # Numbers repeat where nuclei overlap; the last, of highest rank, stays.
    for image, values in ((hematoxylin, amount), (eosin, purple)):
        flat = image.reshape(-1)
        blended = flat[stamps.pixel] + cover * (values - flat[stamps.pixel])
        flat[stamps.pixel] = blended.astype(np.float32)


def paint_dust(
    hematoxylin: np.ndarray, eosin: np.ndarray, *, x: np.ndarray, y: np.ndarray, radius: np.ndarray, grid: PixelGrid
) -> None:
    """Grains of soot: so dense in both stains' light that they look black."""
    if not len(x):
        return
    stamps = _stamp(x, y, long=radius, short=radius, angle=np.zeros(len(x)), grid=grid, reach=1.3)
    cover = np.clip((1.2 - stamps.radius) * 3, 0, 1)
    for image, level in ((hematoxylin, 2.6), (eosin, 1.6)):
        flat = image.reshape(-1)
        flat[stamps.pixel] += cover * (level - flat[stamps.pixel])
