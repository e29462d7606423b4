"""Volumes as slabs: which slices are read, in how many tokens, and where each token lies in the patient.

Slices are shown as in the recipe slice by slice (`osler.prepare.images`): same
windows, same turn, same square. What differs is how many are read and how many
tokens they take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from osler.errors import RequestError
from osler.prepare.contract import Preprocess
from osler.prepare.resize import PixelMap
from osler.prepare.sampling import share_equally
from osler.prepare.slab_plan import Slab, TokenGrid, cut_slabs, natural_slabs, token_grid
from osler.study import Affine, Volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlabbedVolume:
    """A volume that is read as slabs.

    Args:
        slices: Of the volume.
        slabs: Its slabs, in order.
        grid: Tokens along slabs, rows and columns.
        extent_mm: Length of the volume along slices, rows and columns of the picture.
        affine: Voxel to patient.
        pixel_map: Pixels of a slice to those of the network's square.
    """

    slices: int
    slabs: tuple[Slab, ...]
    grid: TokenGrid
    extent_mm: tuple[float, float, float]
    affine: Affine
    pixel_map: PixelMap

    @property
    def picks(self) -> tuple[int, ...]:
        """The slices that are read, each once, rising."""
        return tuple(sorted({slot for slab in self.slabs for slot in slab.slots}))

    @property
    def slots(self) -> Int64[np.ndarray, "slab depth"]:
        """For each place of each slab the number of its slice among `picks`."""
        return np.searchsorted(np.array(self.picks), np.array([slab.slots for slab in self.slabs]))

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """First slice of each group of slabs, and one behind its last; a group's tokens stand together."""
        count = len(self.slabs)
        members: list[list[Slab]] = [[] for _ in range(self.grid.groups)]
        for number, slab in enumerate(self.slabs):
            members[number * self.grid.groups // count].append(slab)
        return tuple((group[0].first, group[-1].stop) for group in members)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the prompt says of each group: its slices, counted from 1 as viewers do."""
        return tuple(
            f"SLICE {stop}" if stop - first == 1 else f"SLICES {first + 1}-{stop}" for first, stop in self.groups
        )

    @property
    def token_mm(self) -> tuple[float, float, float]:
        """Size of a token along slices, rows and columns, mm; of the last axes as shown."""
        depth, height, width = self.extent_mm
        return depth / self.grid.groups, height / self.grid.rows, width / self.grid.columns

    def positions_mm(self, *, side: int) -> Float32[np.ndarray, "slab cell 3"]:
        """Returns patient positions (LPS mm) of a square grid of cells in the middle of each slab.

        Args:
            side: Cells along a side of the network's square: of patches, or of cells before merging.
        """
        return cell_positions(self.slabs, affine=self.affine, pixel_map=self.pixel_map, side=side)

    def in_words(self) -> str:
        """Says how the volume is read, for people."""
        grid = self.grid
        millimeters = " x ".join(f"{length:.0f}" for length in self.token_mm)
        return (
            f"{len(self.picks)} of {self.slices} slices as {len(self.slabs)} slabs, "
            f"{grid.groups} x {grid.rows} x {grid.columns} tokens of {millimeters} mm"
        )


def plan_volumes(
    volumes: Sequence[Volume], *, maps: Sequence[PixelMap], preprocess: Preprocess
) -> list[SlabbedVolume | None]:
    """Shares slabs and tokens among volumes and cuts each into slabs.

    The slabs of a volume do not depend on the budget of tokens, so the tower's
    work is the same for every budget and can be kept.

    Args:
        volumes: All that a prompt shows.
        maps: How a slice of each is fitted to the network's square.
        preprocess: The contract, with `visual_tokens` above 0.

    Returns:
        One plan a volume; ``None`` for one that is left out, because there are more volumes than ``max_slabs``.

    Raises:
        RequestError: If there are fewer tokens than volumes.
    """
    extents = [_extent_mm(volume, pixel_map=pixel_map) for volume, pixel_map in zip(volumes, maps, strict=True)]
    side = math.isqrt(preprocess.image_tokens)
    wanted = [
        natural_slabs(
            volume.shape[0],
            slice_mm=volume.spacing[2],
            cell_mm=min(extent[1:]) / side,
            depth=preprocess.slab_depth,
        )
        for volume, extent in zip(volumes, extents, strict=True)
    ]
    slabs = share_equally(wanted, places=preprocess.max_slabs)
    shown = [number for number, count in enumerate(slabs) if count]
    if preprocess.visual_tokens < len(shown):
        raise RequestError(
            f"A budget of {preprocess.visual_tokens} visual tokens for {len(shown)} volumes.",
            allowed=f"At least {len(shown)}, one a volume.",
            next_step="Ask for more with --visual-tokens, for example 512.",
        )
    tokens = share_equally(
        [slabs[number] * preprocess.image_tokens for number in shown], places=preprocess.visual_tokens
    )
    plans: list[SlabbedVolume | None] = [None] * len(volumes)
    for number, budget in zip(shown, tokens, strict=True):
        volume = volumes[number]
        plans[number] = SlabbedVolume(
            slices=volume.shape[0],
            slabs=cut_slabs(volume.shape[0], slabs=slabs[number], depth=preprocess.slab_depth),
            grid=token_grid(slabs=slabs[number], side=side, extent_mm=extents[number], budget=budget),
            extent_mm=extents[number],
            affine=volume.affine,
            pixel_map=maps[number],
        )
    return plans


def cell_positions(
    slabs: Sequence[Slab], *, affine: Affine, pixel_map: PixelMap, side: int
) -> Float32[np.ndarray, "slab cell 3"]:
    """Computes patient positions of a square grid of cells in the middle of each slab.

    Args:
        slabs: Of one volume.
        affine: Voxel to patient.
        pixel_map: Pixels of a slice to those of the network's square; cells on its padding lie outside the slice.
        side: Cells along a side of the square.

    Returns:
        LPS mm, slab by slab, cells row by row as shown.
    """
    centers = (np.arange(side) + 0.5) / side
    across = np.tile(centers * pixel_map.padded_width - pixel_map.left, side)
    down = np.repeat(centers * pixel_map.padded_height - pixel_map.top, side)
    turn = pixel_map.turn
    width, height = turn.size(width=pixel_map.width, height=pixel_map.height)
    across = width - across if turn.columns_flipped else across
    down = height - down if turn.rows_flipped else down
    columns, rows = (down, across) if turn.transposed else (across, down)
    # Pixel i covers [i, i + 1), and its center is voxel index i.
    plane = np.stack([columns - 0.5, rows - 0.5, np.zeros(side * side)], axis=-1)
    middles = np.array([[0.0, 0.0, slab.middle] for slab in slabs])
    return affine.apply(plane[None] + middles[:, None]).astype(np.float32)


def _extent_mm(volume: Volume, *, pixel_map: PixelMap) -> tuple[float, float, float]:
    """Length of a volume along slices, and along rows and columns as shown, padding included."""
    column_mm, row_mm, slice_mm = volume.spacing
    if pixel_map.turn.transposed:
        column_mm, row_mm = row_mm, column_mm
    return volume.shape[0] * slice_mm, pixel_map.padded_height * row_mm, pixel_map.padded_width * column_mm
