"""Mixing, merging and projection of slabs against their PyTorch twins, in float32."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.errors import RequestError
from osler.jax import volume_projection
from osler.jax.arrays import to_jax
from osler.model.config import OslerConfig, get_config
from osler.model.projector import Projector
from osler.model.volume_projection import VolumetricProjection, merge_cells
from tests.jax.parts import random_part, require_near, tree_of

_DEBUG = get_config("debug-parts")
assert _DEBUG.vision is not None
assert _DEBUG.volume is not None
# 16 cells of a slab, so that grids can differ along rows and columns.
CONFIG = replace(_DEBUG, image_tokens=16)
PATCHES, WIDTH = _DEBUG.vision.side**2, _DEBUG.vision.width


def twins(config: OslerConfig) -> tuple[VolumetricProjection, Projector, dict, dict]:
    assert config.volume is not None
    assert config.vision is not None
    part = random_part(VolumetricProjection(config.volume, vision=config.vision), seed=1)
    projector = random_part(Projector(config, vision=config.vision), seed=2)
    return part, projector, tree_of(part), tree_of(projector)


def ragged(slabs: list[int], *, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, positions far from the origin of a scanner, and numbers of series, all odd."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(slabs)
    features = torch.randn(count, PATCHES, WIDTH, generator=generator)
    positions = torch.randn(count, PATCHES, 3, generator=generator) * 90 + torch.tensor([120.0, -80.0, 900.0])
    series = torch.repeat_interleave(torch.arange(len(slabs)) * 3 + 1, torch.tensor(slabs))
    return features, positions, series


def require_twins_agree(config: OslerConfig, *, slabs: list[int], grids: list[tuple[int, int, int]], seed: int) -> None:
    """Mixes, merges and projects the same slabs on both sides."""
    part, projector, tree, published = twins(config)
    features, positions, numbers = ragged(slabs, seed=seed)
    wanted = part(features, positions_mm_SP3=positions, series_S=numbers, grids=grids, projector=projector)
    found = volume_projection.forward(
        tree,
        to_jax(features),
        positions_mm_SP3=positions.numpy(),
        series_S=numbers.numpy(),
        grids=grids,
        projector=published,
        config=config,
    )
    require_near(found, wanted)


@pytest.mark.parametrize(
    ("series", "share"),
    [([(1, 4, 4)], 1.0), ([(9, 2, 1), (3, 4, 4), (1, 1, 2)], 0.4), ([(5, 1, 1), (8, 4, 2)], 0.75)],
)
def test_ragged_series_of_any_grid(series: list[tuple[int, int, int]], share: float) -> None:
    slabs = [count for count, _, _ in series]
    grids = [(max(1, int(count * share)), rows, columns) for count, rows, columns in series]
    require_twins_agree(CONFIG, slabs=slabs, grids=grids, seed=len(slabs))


@pytest.mark.parametrize("layers", [0, 2])
def test_more_slabs_than_are_mixed_at_once(layers: int) -> None:
    assert CONFIG.volume is not None
    config = replace(CONFIG, volume=replace(CONFIG.volume, layers=layers, reach=5))
    require_twins_agree(config, slabs=[50, 21], grids=[(13, 2, 4), (21, 1, 1)], seed=3)


@pytest.mark.parametrize(("grids"), [[(1, 1, 1)], [(4, 4, 4), (1, 1, 1)], [(3, 3, 4), (1, 1, 1)]])
def test_a_grid_that_does_not_fit_is_refused_in_the_same_words(grids: list[tuple[int, int, int]]) -> None:
    cells, series = torch.zeros(5, 16, 8), torch.tensor([0, 0, 0, 1, 1])
    with pytest.raises(RequestError) as theirs:
        merge_cells(cells, series_S=series, grids=grids)
    with pytest.raises(RequestError) as ours:
        volume_projection.merge_cells(to_jax(cells), series_S=series.numpy(), grids=grids)
    assert str(theirs.value) == str(ours.value)
