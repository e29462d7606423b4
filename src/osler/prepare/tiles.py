"""Which tiles of a slide are shown, and where each lies.

*Published* (MedGemma 1.5 technical report, section 2.3.2, and its pathology
notebook): patches of 896 px side by side at 10x (1 micron a pixel), those with
tissue by the gray rule of `osler.prepare.tissue`; of more than the cap of 126,
a random sample without replacement in the order of the slide, row by row. The
grid and its averages are EZ-WSI's: ``width // 896`` times ``height // 896``
cells over the whole picture.

*Spread* (Osler's own): tiles of 896 px, from the finest magnification of 20x,
10x, 5x, 2.5x and 1.25x at which all tissue fits into the budget, so that
nothing is left out; each image then stands for the 4 to 256 tiles of 20x that
it covers. What is left of the budget goes to tiles at 20x, each as far from
those chosen before as can be. Nothing is random; a mirrored slide gives
mirrored tiles. Pooling by area was chosen over averaging the features of
neighboring tiles: no weights were ever shown averaged features, and a coarser
image is one that every tower and engine takes as it is.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from osler.prepare.contract import SlideTiles
from osler.prepare.tissue import (
    OVERVIEW_MICRONS,
    Overview,
    area_means,
    chroma_of,
    chroma_threshold,
    gray_of,
    overview_of,
    published_tissue,
)
from osler.study import Box2D, Slide

PATCH = 896
"""Side of a patch, px of its magnification."""

PUBLISHED_MICRONS = 1.0
SPREAD_MICRONS = (0.5, 1.0, 2.0, 4.0, 8.0)
SEED = 0
_NOMINAL = 10.0  # 10x is 1 micron a pixel
_ASSUMED = 20.0
_SAME_LEVEL = 0.1
_LEAST_SHARE = 0.1
_SPOT = 128
_MOST_SPOTS = 4096
_WIDEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile: a square region of one level.

    Args:
        level: Level that it is read from. x: Left edge, px of that level. y: Upper edge.
        side: px of that level.
        downsample: px of level 0 in one px of that level, across and down.
        magnification: At which it is shown, such as 10; nominal, so that 10 is 1 micron a pixel.
    """

    level: int
    x: int
    y: int
    side: int
    downsample: tuple[float, float]
    magnification: float

    @property
    def box(self) -> Box2D:
        """The tile in px of level 0."""
        across, down = self.downsample
        return Box2D(
            x0=self.x * across, y0=self.y * down, x1=(self.x + self.side) * across, y1=(self.y + self.side) * down
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """The tiles that are shown of a slide.

    Args:
        tiles: In the order of the prompt.
        found: Tiles with tissue at the magnification of the plan, shown or not.
        cells: Tiles of that magnification in all.
        tissue: Share of the slide that is tissue, 0 to 1.
        notes: What the user should know, one sentence each.
    """

    tiles: tuple[Tile, ...]
    found: int
    cells: int
    tissue: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Tiles side by side at one magnification."""

    level: int
    side: int
    left: int
    top: int
    columns: int
    rows: int
    downsample: tuple[float, float]
    magnification: float

    def tile(self, row: int, column: int) -> Tile:
        return Tile(
            level=self.level,
            x=self.left + column * self.side,
            y=self.top + row * self.side,
            side=self.side,
            downsample=self.downsample,
            magnification=self.magnification,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tissue:
    """What each cell of a grid holds: whether it is tissue, the stained share, and a sum that breaks ties."""

    mask: np.ndarray
    share: np.ndarray
    weight: np.ndarray


def plan_tiles(slide: Slide, *, sampling: SlideTiles, limit: int) -> TilePlan:
    """Chooses the tiles of a slide.

    Args:
        slide: The slide; a coarse level of it is read.
        sampling: ``"published"`` or ``"spread"``, see the head of this file.
        limit: Most tiles.

    Raises:
        DataError: If the slide is damaged.
    """
    microns = microns_of(slide)
    overview = overview_of(slide, downsample=OVERVIEW_MICRONS / microns)
    if sampling == "published":
        return _published(slide, overview, microns=microns, limit=limit)
    return _spread(slide, overview, microns=microns, limit=limit)


def microns_of(slide: Slide) -> float:
    """Size of a pixel of level 0, microns; by the objective, or as at 20x, where the file does not say."""
    if slide.spacing is not None:
        return math.sqrt(slide.spacing[0] * slide.spacing[1]) * 1000
    return _NOMINAL / (slide.magnification or _ASSUMED)


def _published(slide: Slide, overview: Overview | None, *, microns: float, limit: int) -> TilePlan:
    grid = _grid(slide, microns=microns, wanted=PUBLISHED_MICRONS, place="corner")
    notes = (*_coarse_note(microns, wanted=PUBLISHED_MICRONS), *_edge_note(slide, grid))
    if grid.columns * grid.rows == 0:
        return _single(slide, grid, notes=notes)
    if overview is not None:
        gray = area_means(gray_of(overview.rgb), columns=grid.columns, rows=grid.rows)
    else:
        gray = np.rint(gray_of(_spots(slide, grid)).mean(axis=(2, 3))).astype(np.uint8)
    mask = published_tissue(gray)
    places = [(int(row), int(column)) for row, column in np.argwhere(mask)]
    found = len(places)
    if found > limit:
        places = sorted(random.Random(SEED).sample(places, limit))
    if not places:
        return _single(slide, grid, notes=(*notes, "No tissue was found by the published rule: the whole is shown."))
    return TilePlan(
        tiles=tuple(grid.tile(row, column) for row, column in places),
        found=found,
        cells=mask.size,
        tissue=float(mask.mean()),
        notes=notes,
    )


def _spread(slide: Slide, overview: Overview | None, *, microns: float, limit: int) -> TilePlan:
    usable = [wanted for wanted in SPREAD_MICRONS if wanted >= microns * (1 - _SAME_LEVEL)] or [SPREAD_MICRONS[-1]]
    notes = _coarse_note(microns, wanted=usable[0])
    chosen: tuple[_Grid, _Tissue] | None = None
    finest: tuple[_Grid, _Tissue] | None = None
    for wanted in usable:
        grid = _grid(slide, microns=microns, wanted=wanted, place="center")
        cells = grid.columns * grid.rows
        if cells == 0 or (overview is None and cells > _MOST_SPOTS):
            continue
        if chosen is not None and grid.side > _WIDEST * PATCH:
            break  # without a coarser level, covering all would decode the whole slide
        chosen = grid, _stained(slide, overview, grid=grid)
        finest = finest or chosen
        if int(chosen[1].mask.sum()) <= limit:
            break
    if chosen is None or finest is None:
        return _single(slide, _grid(slide, microns=microns, wanted=usable[0], place="corner"), notes=notes)
    grid, tissue = chosen
    found = int(tissue.mask.sum())
    tiles = _farthest(grid, tissue, limit=limit)
    if finest is not chosen and len(tiles) < limit:
        tiles += _farthest(*finest, limit=limit - len(tiles))
    if not tiles:
        whole = "No stained tissue was found: the whole slide is shown."
        return _single(slide, grid, notes=(*notes, whole))
    return TilePlan(
        tiles=tuple(tiles), found=found, cells=tissue.mask.size, tissue=float(tissue.share.mean()), notes=notes
    )


def _grid(slide: Slide, *, microns: float, wanted: float, place: str) -> _Grid:
    """Lays a grid of patches over the slide, from its corner or in its middle."""
    levels = slide.pixels.levels
    downsample = max(wanted / microns, 1.0)
    index = max(
        (index for index, level in enumerate(levels) if level.downsample <= downsample * (1 + _SAME_LEVEL)),
        key=lambda index: levels[index].downsample,
    )
    level = levels[index]
    ratio = downsample / level.downsample
    side = PATCH if abs(ratio - 1) <= _SAME_LEVEL else round(PATCH * ratio)
    columns, rows = level.width // side, level.height // side
    centered = place == "center"
    return _Grid(
        level=index,
        side=side,
        left=(level.width - columns * side) // 2 if centered else 0,
        top=(level.height - rows * side) // 2 if centered else 0,
        columns=columns,
        rows=rows,
        downsample=(slide.size[0] / level.width, slide.size[1] / level.height),
        magnification=_NOMINAL / (level.downsample * microns * side / PATCH),
    )


def _single(slide: Slide, grid: _Grid, *, notes: tuple[str, ...]) -> TilePlan:
    """The whole slide as one tile, where there is no patch; it is padded with white to a square."""
    levels = slide.pixels.levels
    index = next((i for i, level in enumerate(levels) if max(level.width, level.height) <= 2 * PATCH), len(levels) - 1)
    level = levels[index]
    side = max(level.width, level.height)
    small = grid.columns * grid.rows == 0
    tile = Tile(
        level=index,
        x=-((side - level.width) // 2),
        y=-((side - level.height) // 2),
        side=side,
        downsample=(slide.size[0] / level.width, slide.size[1] / level.height),
        magnification=grid.magnification * PATCH / side if small else 0.0,
    )
    why = ("The slide is smaller than one patch: it is shown whole, padded with white.",) if small else ()
    return TilePlan(tiles=(tile,), found=0, cells=0, tissue=0.0, notes=(*notes, *why))


def _coarse_note(microns: float, *, wanted: float) -> tuple[str, ...]:
    if microns <= wanted * (1 + _SAME_LEVEL):
        return ()
    return (
        f"The finest level has pixels of {microns:.2g} microns, coarser than the {wanted:g} wanted: "
        "tiles are shown as they are.",
    )


def _edge_note(slide: Slide, grid: _Grid) -> tuple[str, ...]:
    """Says where whole patches from the upper left corner leave out more than a tenth of the slide."""
    level = slide.pixels.levels[grid.level]
    rest = 1 - grid.columns * grid.rows * grid.side**2 / (level.width * level.height)
    if rest <= _LEAST_SHARE or grid.columns * grid.rows == 0:
        return ()
    return (f"The published grid of whole patches leaves out {rest:.0%} of the slide, at its right and lower edge.",)


def _stained(slide: Slide, overview: Overview | None, *, grid: _Grid) -> _Tissue:
    """Judges each cell of a grid by the share of its pixels that are stained."""
    if overview is None:
        chroma = chroma_of(_spots(slide, grid))
        stained = chroma > chroma_threshold(chroma)
        share, weight = stained.mean(axis=(2, 3)), chroma.sum(axis=(2, 3), dtype=np.int64)
        return _Tissue(mask=share >= _LEAST_SHARE, share=share, weight=weight)
    chroma = chroma_of(overview.rgb)
    stained = (chroma > chroma_threshold(chroma)).astype(np.int64)
    edges = [
        np.rint((start + np.arange(count + 1) * grid.side) * down / factor).astype(int).clip(0, length)
        for start, count, down, factor, length in zip(
            (grid.top, grid.left),
            (grid.rows, grid.columns),
            reversed(grid.downsample),
            reversed(overview.factor),
            chroma.shape,
            strict=True,
        )
    ]
    area = np.outer(np.diff(edges[0]), np.diff(edges[1])).clip(1)
    share = _block_sums(stained, edges) / area
    return _Tissue(mask=share >= _LEAST_SHARE, share=share, weight=_block_sums(chroma.astype(np.int64), edges))


def _block_sums(values: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Sums within the cells between edges along rows and columns."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype=np.int64)
    table[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    corners = table[np.ix_(edges[0], edges[1])]
    return corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]


def _spots(slide: Slide, grid: _Grid) -> np.ndarray:
    """Reads a small square in the middle of each cell: ``(row, column, spot, spot, 3)``."""
    spot = min(_SPOT, grid.side)
    middle = (grid.side - spot) // 2
    out = np.empty((grid.rows, grid.columns, spot, spot, 3), dtype=np.uint8)
    for row in range(grid.rows):
        for column in range(grid.columns):
            tile = grid.tile(row, column)
            out[row, column] = slide.pixels.read_region(
                level=grid.level, x=tile.x + middle, y=tile.y + middle, width=spot, height=spot
            )
    return out


def _farthest(grid: _Grid, tissue: _Tissue, *, limit: int) -> list[Tile]:
    """Takes tissue tiles one by one, each as far from those taken as can be, and returns them row by row.

    The first is the most stained one. Ties fall by the stain in the tile, which
    a mirrored slide has at the mirrored place.
    """
    places = np.argwhere(tissue.mask)
    if len(places) <= limit:
        return [grid.tile(int(row), int(column)) for row, column in places]
    weights = tissue.weight[tissue.mask]
    taken = [int(np.argmax(weights))]
    distance = ((places - places[taken[0]]) ** 2).sum(axis=1)
    while len(taken) < limit:
        far = np.flatnonzero(distance == distance.max())
        taken.append(int(far[np.argmax(weights[far])]))
        distance = np.minimum(distance, ((places - places[taken[-1]]) ** 2).sum(axis=1))
    return [grid.tile(int(row), int(column)) for row, column in places[sorted(taken)]]
