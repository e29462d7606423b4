"""The volumetric projection: what it equals at its start, what mixes with what, and how cells merge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from osler.errors import RequestError
from osler.model.config import get_config
from osler.model.projector import Projector
from osler.model.volume_projection import VolumetricProjection, merge_cells, rotary_table_mm

CONFIG = get_config("debug-parts")
assert CONFIG.vision is not None
assert CONFIG.volume is not None
WIDTH, PATCHES = CONFIG.vision.width, CONFIG.vision.side**2
SIDE = round(CONFIG.image_tokens**0.5)


@pytest.fixture
def projector() -> Projector:
    torch.manual_seed(0)
    projector = Projector(CONFIG, vision=CONFIG.vision)
    torch.nn.init.normal_(projector.mm_input_projection_weight)
    torch.nn.init.normal_(projector.mm_soft_emb_norm.weight)
    return projector


@pytest.fixture
def start() -> VolumetricProjection:
    torch.manual_seed(1)
    return VolumetricProjection(CONFIG.volume, vision=CONFIG.vision)


@pytest.fixture
def trained(start: VolumetricProjection) -> VolumetricProjection:
    for name, parameter in start.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.normal_(parameter)
    return start


def positions(slabs: int, *, thickness: float = 6.0, pixel: float = 3.0) -> Tensor:
    """Axial slabs, (S, P, 3)."""
    grid = torch.arange(CONFIG.vision.side) * pixel
    plane = torch.stack([grid.repeat(len(grid)), grid.repeat_interleave(len(grid)), torch.zeros(PATCHES)], dim=-1)
    heights = torch.arange(slabs)[:, None, None] * torch.tensor([0.0, 0.0, thickness])
    return plane[None] + heights


def whole(slabs: int) -> tuple[int, int, int]:
    return slabs, SIDE, SIDE


@torch.inference_mode()
def test_without_merging_and_with_zero_gates_it_is_the_projector(
    projector: Projector, start: VolumetricProjection
) -> None:
    features = torch.randn(7, PATCHES, WIDTH)
    series = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    tokens = start(
        features,
        positions_mm_SP3=positions(7),
        series_S=series,
        grids=[whole(4), whole(2), whole(1)],
        projector=projector,
    )
    assert torch.equal(tokens, projector(features).flatten(0, 1))


@torch.inference_mode()
def test_at_the_start_a_token_is_the_mean_of_its_box(projector: Projector, start: VolumetricProjection) -> None:
    features = torch.randn(6, PATCHES, WIDTH)
    tokens = start(
        features,
        positions_mm_SP3=positions(6),
        series_S=torch.zeros(6, dtype=torch.long),
        grids=[(3, 1, SIDE)],
        projector=projector,
    )
    cells = projector.pool_patches(features).unflatten(1, (SIDE, SIDE))
    wanted = projector.project(cells.unflatten(0, (3, 2)).mean((1, 2)).flatten(0, 1))
    torch.testing.assert_close(tokens, wanted)


@torch.inference_mode()
def test_series_do_not_mix(projector: Projector, trained: VolumetricProjection) -> None:
    first, second = torch.randn(5, PATCHES, WIDTH), torch.randn(4, PATCHES, WIDTH)
    together = trained(
        torch.cat([first, second]),
        positions_mm_SP3=torch.cat([positions(5), positions(4, thickness=2.0)]),
        series_S=torch.tensor([0] * 5 + [1] * 4),
        grids=[(5, SIDE, 1), (2, SIDE, SIDE)],
        projector=projector,
    )
    alone = [
        trained(
            features,
            positions_mm_SP3=places,
            series_S=torch.full((len(features),), 7),
            grids=[grid],
            projector=projector,
        )
        for features, places, grid in (
            (first, positions(5), (5, SIDE, 1)),
            (second, positions(4, thickness=2.0), (2, SIDE, SIDE)),
        )
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_slab_sees_as_far_as_the_layers_reach_and_its_own_cell_only(trained: VolumetricProjection) -> None:
    slabs, cell = 90, 2
    cells = torch.randn(slabs, SIDE**2, WIDTH)
    changed = cells.clone()
    changed[40, cell] += 1.0
    table = rotary_table_mm(
        positions(slabs)[:, : SIDE**2].transpose(0, 1),
        head_dim=WIDTH // CONFIG.volume.heads,
        wavelengths=CONFIG.volume.wavelengths,
        dtype=torch.float32,
    )
    layer = trained.layers[0]
    series = torch.zeros(slabs, dtype=torch.long)
    moved = (layer(cells, rotation=table, series_S=series) - layer(changed, rotation=table, series_S=series)).abs()
    found = moved.sum(-1).nonzero()
    reach = CONFIG.volume.reach
    assert found[:, 0].unique().tolist() == list(range(40 - reach, 41 + reach))
    assert found[:, 1].unique().tolist() == [cell]


@torch.inference_mode()
def test_windows_give_what_one_masked_attention_gives(trained: VolumetricProjection, monkeypatch) -> None:
    arguments = {
        "positions_mm_ST3": positions(70)[:, : SIDE**2],
        "series_S": torch.tensor([0] * 33 + [1] * 37),
        "grids": [whole(33), whole(37)],
        "projector": Projector(CONFIG, vision=CONFIG.vision),
    }
    torch.nn.init.normal_(arguments["projector"].mm_input_projection_weight)
    cells = torch.randn(70, SIDE**2, WIDTH)
    windowed = trained.from_cells(cells, **arguments)
    monkeypatch.setattr("osler.model.volume_projection._SLABS_AT_ONCE", 1000)
    torch.testing.assert_close(windowed, trained.from_cells(cells, **arguments), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_only_distances_in_millimeters_count(projector: Projector, trained: VolumetricProjection) -> None:
    features = torch.randn(6, PATCHES, WIDTH)

    def tokens(places: Tensor) -> Tensor:
        return trained(
            features,
            positions_mm_SP3=places,
            series_S=torch.zeros(6, dtype=torch.long),
            grids=[(3, SIDE, SIDE)],
            projector=projector,
        )

    moved = positions(6) + torch.tensor([-250.0, 120.0, -900.0])
    torch.testing.assert_close(tokens(positions(6)), tokens(moved), atol=2e-3, rtol=2e-3)
    assert not torch.allclose(tokens(positions(6)), tokens(positions(6, thickness=12.0)), atol=1e-2)


def test_gradients_reach_every_parameter(projector: Projector, trained: VolumetricProjection) -> None:
    trained(
        torch.randn(6, PATCHES, WIDTH),
        positions_mm_SP3=positions(6),
        series_S=torch.tensor([0, 0, 0, 0, 1, 1]),
        grids=[(2, 1, 1), (2, SIDE, 1)],
        projector=projector,
    ).square().sum().backward()
    named = [*trained.named_parameters(), *projector.named_parameters()]
    assert [name for name, p in named if p.grad is None or p.grad.abs().max() == 0] == []


def test_gradients_reach_every_gate_at_the_start(projector: Projector, start: VolumetricProjection) -> None:
    tokens = start(
        torch.randn(6, PATCHES, WIDTH),
        positions_mm_SP3=positions(6),
        series_S=torch.zeros(6, dtype=torch.long),
        grids=[(2, 1, 1)],
        projector=projector,
    )
    (tokens * torch.randn_like(tokens)).sum().backward()
    gates = [p for name, p in start.named_parameters() if name.endswith("gate")]
    assert len(gates) == 1 + 2 * CONFIG.volume.layers
    assert all(gate.grad is not None and gate.grad.abs().max() > 0 for gate in gates)


@torch.inference_mode()
def test_groups_of_unequal_size_are_means() -> None:
    cells = torch.randn(7, 4, 5)
    tokens = merge_cells(cells, series_S=torch.zeros(7, dtype=torch.long), grids=[(3, 2, 2)])
    groups = [cells[:3].mean(0), cells[3:5].mean(0), cells[5:].mean(0)]
    torch.testing.assert_close(tokens, torch.cat(groups))


@pytest.mark.parametrize("grid", [(4, 1, 1), (0, 1, 1), (1, 0, 1), (1, 3, 1)])
def test_a_grid_that_does_not_fit_is_refused(grid: tuple[int, int, int]) -> None:
    with pytest.raises(RequestError, match="for 3 slabs of 2 x 2 cells"):
        merge_cells(torch.zeros(3, 4, 5), series_S=torch.zeros(3, dtype=torch.long), grids=[grid])


def test_one_grid_a_series_is_asked_for() -> None:
    with pytest.raises(RequestError, match="1 token grids for 2 series"):
        merge_cells(torch.zeros(2, 4, 5), series_S=torch.tensor([0, 1]), grids=[(1, 1, 1)])
