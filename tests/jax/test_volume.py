"""Tubelets against their PyTorch twin, in float32."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax

from osler.errors import RequestError
from osler.jax import volume
from osler.jax.arrays import to_jax, to_torch
from osler.model.config import VisionConfig, VolumeConfig
from osler.model.vision import PatchEmbedding
from osler.model.volume import TubeletEmbedding, mean_of_slots
from tests.jax.parts import random_part, require_near, tree_of

FORWARD = jax.jit(volume.forward, static_argnames=("config", "vision"))
# A side that patches do not fill: the rest is left out by both.
VISION = VisionConfig(image_size=31, patch=5, width=24, mlp_width=48, layers=1, heads=2)


def twins(depth: int) -> tuple[TubeletEmbedding, PatchEmbedding, dict, dict, VolumeConfig]:
    config = VolumeConfig(heads=2, mlp_width=16, depth=depth)
    part = random_part(TubeletEmbedding(config, vision=VISION), seed=depth)
    patches = random_part(PatchEmbedding(VISION), seed=9)
    tower = tree_of(patches) | {"position_embedding": to_jax(patches.position_embedding.weight)}
    return part, patches, tree_of(part), tower, config


@pytest.mark.parametrize(("depth", "slices"), [(1, 1), (4, 4), (4, 3), (8, 5)])
def test_tubelets_of_any_number_of_slices(depth: int, slices: int) -> None:
    part, patches, tree, tower, config = twins(depth)
    pixels = torch.rand(3, slices, 3, 31, 31, generator=torch.Generator().manual_seed(slices)) * 2 - 1
    found = FORWARD(tree, to_jax(pixels), tower=tower, config=config, vision=VISION)
    require_near(found, part(pixels, patches=patches))
    require_near(volume.inflated_weight(tree, tower=tower, config=config), part.inflated_weight(patches))


def test_equal_slices_embed_as_one_to_the_bit() -> None:
    _, _, tree, tower, config = twins(4)
    one = torch.rand(2, 1, 3, 31, 31) * 2 - 1
    many = FORWARD(tree, to_jax(one.expand(-1, 4, -1, -1, -1)), tower=tower, config=config, vision=VISION)
    alone = FORWARD(tree, to_jax(one), tower=tower, config=config, vision=VISION)
    assert torch.equal(to_torch(many), to_torch(alone))


def test_three_places_are_refused_in_the_same_words() -> None:
    pixels = torch.zeros(1, 3, 3, 8, 8)
    said = []
    for function, given in ((mean_of_slots, pixels), (volume.mean_of_slots, to_jax(pixels))):
        with pytest.raises(RequestError) as caught:
            function(given)
        said.append(str(caught.value))
    assert said[0] == said[1]
