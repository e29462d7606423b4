"""From features of slabs to few soft tokens: mixing across slabs, merging along three axes, projection.

1. Squares of patches are averaged as in the published projector: the cells.
2. Mixing layers: a cell attends to the same cell of the slabs near it, in its
   own series only. Positions enter as rotations by their distance in
   millimeters, so only differences count. Windowed, so the cost grows with the
   number of slabs, not with its square.
3. Merging: the mean over boxes of cells, down to the grid that the caller chose.
4. The place of each token in its series, in millimeters, is added as waves.
5. The projector's own norm and projection.

Every learned branch is multiplied by a gate that starts at zero. With gates at
zero and nothing merged the result is that of the published projector.

Dimensions: S slabs of all series, P patches, T cells of a slab, V width of the
tower, M tokens of all series, D width of the decoder, N heads, H width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import VisionConfig, VolumeConfig
from osler.model.projector import Projector
from osler.model.rope import rotate

Grid = tuple[int, int, int]
"""Tokens of a series along slabs, rows and columns."""

_SLABS_AT_ONCE = 32
_AXES = 3


class VolumetricProjection(nn.Module):
    """Mixes and merges features of slabs; the projector that it ends in is the tower's.

    Args:
        config: Of the volumetric path.
        vision: Of the tower.

    Raises:
        RequestError: If the heads do not fit the width of the tower.
    """

    def __init__(self, config: VolumeConfig, *, vision: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(MixingLayer(config, vision=vision) for _ in range(config.layers))
        self.place_proj = nn.Linear(2 * _AXES * config.frequencies, vision.width)
        self.place_gate = nn.Parameter(torch.zeros(vision.width))

    def forward(
        self,
        features_SPV: Tensor,
        *,
        positions_mm_SP3: Tensor,
        series_S: Tensor,
        grids: Sequence[Grid],
        projector: Projector,
    ) -> Tensor:
        """Turns features of patches into soft tokens.

        Args:
            features_SPV: From the tower, slab by slab; the slabs of a series lie together, in order.
            positions_mm_SP3: Patient position of the center of each patch, mm.
            series_S: Number of the series of each slab.
            grids: Tokens of each series, in the order of their slabs.
            projector: Of the tower.

        Returns:
            (M, D): series by series, group by group, row by row.

        Raises:
            RequestError: If a grid does not fit its series.
        """
        return self.from_cells(
            projector.pool_patches(features_SPV),
            positions_mm_ST3=projector.pool_patches(positions_mm_SP3.double()),
            series_S=series_S,
            grids=grids,
            projector=projector,
        )

    def from_cells(
        self,
        cells_STV: Tensor,
        *,
        positions_mm_ST3: Tensor,
        series_S: Tensor,
        grids: Sequence[Grid],
        projector: Projector,
    ) -> Tensor:
        """The same from features of cells, `Projector.pool_patches` of those of patches."""
        around_ST3 = _centered(positions_mm_ST3, series_S=series_S)
        if self.layers:
            rotation = rotary_table_mm(
                around_ST3.transpose(0, 1),
                head_dim=cells_STV.shape[-1] // self.config.heads,
                wavelengths=self.config.wavelengths,
                dtype=cells_STV.dtype,
            )
            for layer in self.layers:
                cells_STV = layer(cells_STV, rotation=rotation, series_S=series_S)
        tokens_MV = merge_cells(cells_STV, series_S=series_S, grids=grids)
        places_M3 = merge_cells(around_ST3, series_S=series_S, grids=grids)
        waves_MW = place_waves(places_M3, frequencies=self.config.frequencies, wavelengths=self.config.wavelengths)
        place_MV = self.place_proj(waves_MW.to(tokens_MV.dtype))
        return projector.project(tokens_MV + (self.place_gate * place_MV).to(tokens_MV.dtype))


class MixingLayer(nn.Module):
    """Attention along slabs and an MLP, each behind a gate that starts at zero."""

    def __init__(self, config: VolumeConfig, *, vision: VisionConfig) -> None:
        super().__init__()
        if vision.width % config.heads or vision.width // config.heads % 2 or vision.width // config.heads < 2 * _AXES:
            raise RequestError(
                f"{config.heads} heads for a tower of width {vision.width}.",
                allowed=f"Heads that divide it, of an even width of at least {2 * _AXES}.",
            )
        self.heads, self.reach = config.heads, config.reach
        self.norm1 = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        self.qkv_proj = nn.Linear(vision.width, 3 * vision.width, bias=False)
        self.out_proj = nn.Linear(vision.width, vision.width)
        self.attention_gate = nn.Parameter(torch.zeros(vision.width))
        self.norm2 = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        self.fc1 = nn.Linear(vision.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, vision.width)
        self.mlp_gate = nn.Parameter(torch.zeros(vision.width))

    def forward(self, x_STV: Tensor, *, rotation: tuple[Tensor, Tensor], series_S: Tensor) -> Tensor:
        """Returns the cells after this layer, (S, T, V).

        Args:
            x_STV: Cells.
            rotation: From `rotary_table_mm`.
            series_S: Number of the series of each slab.
        """
        mixed_STV = self._attend(self.norm1(x_STV), rotation=rotation, series_S=series_S)
        # In training gates are float32 beside features in bfloat16, which stay so: an identity to the last bit.
        x_STV = x_STV + (self.attention_gate * mixed_STV).to(x_STV.dtype)
        update_STV = self.fc2(F.gelu(self.fc1(self.norm2(x_STV)), approximate="tanh"))
        return x_STV + (self.mlp_gate * update_STV).to(x_STV.dtype)

    def _attend(self, x_STV: Tensor, *, rotation: tuple[Tensor, Tensor], series_S: Tensor) -> Tensor:
        qkv_TSNH = (
            part.unflatten(-1, (self.heads, -1)) for part in self.qkv_proj(x_STV.transpose(0, 1)).chunk(3, dim=-1)
        )
        q_TNSH, k_TNSH, v_TNSH = (part.transpose(1, 2) for part in qkv_TSNH)
        q_TNSH, k_TNSH = rotate(q_TNSH, rotation=rotation), rotate(k_TNSH, rotation=rotation)
        slabs, parts = len(series_S), []
        index_S = torch.arange(slabs, device=series_S.device)
        for start in range(0, slabs, _SLABS_AT_ONCE):
            some = slice(start, min(start + _SLABS_AT_ONCE, slabs))
            near = slice(max(0, start - self.reach), min(slabs, some.stop + self.reach))
            seen = (index_S[some, None] - index_S[None, near]).abs() <= self.reach
            seen &= series_S[some, None] == series_S[None, near]
            parts.append(
                F.scaled_dot_product_attention(
                    q_TNSH[:, :, some], k_TNSH[:, :, near], v_TNSH[:, :, near], attn_mask=seen
                )
            )
        out_TNSH = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        return self.out_proj(out_TNSH.transpose(1, 2).flatten(2).transpose(0, 1))


def rotary_table_mm(
    positions_mm_BL3: Tensor, *, head_dim: int, wavelengths: tuple[float, float], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Computes cosines and signed sines for `rotate` from positions in millimeters.

    Each of the three axes turns a third of the pairs of a head; pairs that are
    left over do not turn.

    Args:
        positions_mm_BL3: float32.
        head_dim: Width H of a head, even and at least 6.
        wavelengths: Shortest and longest, mm.
        dtype: Of the results.

    Returns:
        Each (B, 1, L, H).
    """
    pairs = head_dim // 2
    turned = _angles(positions_mm_BL3, count=pairs // _AXES, wavelengths=wavelengths)
    angles = F.pad(turned, (0, pairs - turned.shape[-1]))[:, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def place_waves(positions_mm_M3: Tensor, *, frequencies: int, wavelengths: tuple[float, float]) -> Tensor:
    """Sines and cosines of positions in millimeters, (M, 6 * frequencies)."""
    angles = _angles(positions_mm_M3, count=frequencies, wavelengths=wavelengths)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def merge_cells(cells_STV: Tensor, *, series_S: Tensor, grids: Sequence[Grid]) -> Tensor:
    """Averages boxes of cells, series by series; where a box is one cell, nothing is computed.

    Args:
        cells_STV: Cells of a square grid, row by row; the slabs of a series lie together.
        series_S: Number of the series of each slab.
        grids: Tokens of each series along slabs, rows and columns.

    Returns:
        (M, V): series by series, group by group, row by row.

    Raises:
        RequestError: If a grid does not fit its series.
    """
    _, counts = torch.unique_consecutive(series_S, return_counts=True)
    slabs = counts.tolist()
    if len(slabs) != len(grids):
        raise RequestError(f"{len(grids)} token grids for {len(slabs)} series.", allowed="One a series.")
    parts = zip(cells_STV.split(slabs), grids, strict=True)
    return torch.cat([_merged(part_STV, grid=grid) for part_STV, grid in parts])


def _merged(cells_STV: Tensor, *, grid: Grid) -> Tensor:
    """Merges one series to (groups * rows * columns, V)."""
    groups, rows, columns = grid
    slabs, side = len(cells_STV), math.isqrt(cells_STV.shape[1])
    if not (1 <= groups <= slabs and rows >= 1 and columns >= 1) or side % rows or side % columns:
        raise RequestError(
            f"A grid of {groups} x {rows} x {columns} tokens for {slabs} slabs of {side} x {side} cells.",
            allowed="At most one group a slab; rows and columns divide the side.",
        )
    if (rows, columns) != (side, side):
        cells_SVss = cells_STV.transpose(1, 2).unflatten(2, (side, side))
        pooled_SVrc = F.avg_pool2d(cells_SVss, (side // rows, side // columns))
        cells_STV = pooled_SVrc.flatten(2).transpose(1, 2)
    if groups != slabs:
        # Group g holds the slabs s with s * groups // slabs == g: numbers that differ by one at most.
        group_S = torch.arange(slabs, device=cells_STV.device) * groups // slabs
        empty = torch.zeros((groups, *cells_STV.shape[1:]), dtype=torch.float32, device=cells_STV.device)
        sums = empty.index_add(0, group_S, cells_STV.float())
        cells_STV = (sums / torch.bincount(group_S, minlength=groups)[:, None, None]).to(cells_STV.dtype)
    return cells_STV.flatten(0, 1)


def _angles(positions_mm: Tensor, *, count: int, wavelengths: tuple[float, float]) -> Tensor:
    """Angles of positions (..., 3) at ``count`` wavelengths, (..., 3 * count), the axes one after the other."""
    numbers = wave_numbers(count, wavelengths=wavelengths).to(positions_mm.device)
    return (positions_mm[..., None] * numbers).flatten(-2)


def wave_numbers(count: int, *, wavelengths: tuple[float, float]) -> Tensor:
    """Radians per millimeter at ``count`` wavelengths, evenly spread between the shortest and the longest by ratio."""
    shortest, longest = (math.log(wavelength) for wavelength in wavelengths)
    return 2 * math.pi / torch.linspace(shortest, longest, count, dtype=torch.float32).exp()


def _centered(positions_mm_ST3: Tensor, *, series_S: Tensor) -> Tensor:
    """Positions from the center of each series, so that a scanner's choice of origin changes nothing.

    Computed in float64: a meter from the origin float32 is too coarse for the shortest waves.
    """
    _, counts = torch.unique_consecutive(series_S, return_counts=True)
    parts = positions_mm_ST3.double().split(counts.tolist())
    return torch.cat([part - part.mean((0, 1)) for part in parts]).float()
