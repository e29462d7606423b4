"""The image tower: order of patches, independence of images."""

from __future__ import annotations

import torch

from osler.model.config import get_config
from osler.model.vision import PatchEmbedding, VisionTower

CONFIG = get_config("debug").vision
assert CONFIG is not None


@torch.inference_mode()
def test_patches_run_row_by_row_from_the_top_left() -> None:
    embedding = PatchEmbedding(CONFIG)
    embedding.position_embedding.weight.data.zero_()
    blank = torch.zeros(1, 3, CONFIG.image_size, CONFIG.image_size)
    marked = blank.clone()
    row, column = 2, 5
    marked[:, :, row * CONFIG.patch, column * CONFIG.patch] = 1.0
    moved = (embedding(marked) - embedding(blank)).abs().sum(-1)[0]
    assert moved.nonzero().flatten().tolist() == [row * CONFIG.side + column]


@torch.inference_mode()
def test_images_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    tower = VisionTower(CONFIG).eval()
    pixels = torch.randn(3, 3, CONFIG.image_size, CONFIG.image_size)
    alone = torch.cat([tower(image) for image in pixels.split(1)])
    torch.testing.assert_close(tower(pixels), alone, atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    tower = VisionTower(CONFIG)
    tower(torch.randn(1, 3, CONFIG.image_size, CONFIG.image_size)).square().sum().backward()
    # A bias on keys moves all scores of a query alike: its gradient is zero.
    without = [n for n, p in tower.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6]
    assert [name for name in without if not name.endswith("k_proj.bias")] == []
