"""Tubelets: what equal slices give, what inflation means, and what a short stack does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from osler.errors import RequestError
from osler.model.config import get_config
from osler.model.vision import PatchEmbedding
from osler.model.volume import TubeletEmbedding, mean_of_slots

CONFIG = get_config("debug-parts")
assert CONFIG.vision is not None
assert CONFIG.volume is not None
SIZE, DEPTH = CONFIG.vision.image_size, CONFIG.volume.depth


@pytest.fixture
def patches() -> PatchEmbedding:
    torch.manual_seed(0)
    return PatchEmbedding(CONFIG.vision)


@pytest.fixture
def embedding() -> TubeletEmbedding:
    return TubeletEmbedding(CONFIG.volume, vision=CONFIG.vision)


@pytest.fixture
def trained(embedding: TubeletEmbedding) -> TubeletEmbedding:
    torch.nn.init.normal_(embedding.deviation)
    return embedding


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_slices_embed_as_one_to_the_last_bit(
    patches: PatchEmbedding, trained: TubeletEmbedding, count: int, dtype: torch.dtype
) -> None:
    patches, trained = patches.to(dtype), trained.to(dtype)
    images = torch.randn(5, 3, SIZE, SIZE)
    stacks = images[:, None].expand(-1, count, -1, -1, -1)
    assert torch.equal(trained(stacks, patches=patches), patches(images))


@torch.inference_mode()
def test_at_the_start_a_tubelet_is_its_mean(patches: PatchEmbedding, embedding: TubeletEmbedding) -> None:
    tubelets = torch.randn(3, DEPTH, 3, SIZE, SIZE)
    assert torch.equal(embedding(tubelets, patches=patches), patches(mean_of_slots(tubelets)))
    torch.testing.assert_close(mean_of_slots(tubelets), tubelets.mean(1))


@torch.inference_mode()
def test_a_tubelet_is_one_product_with_the_inflated_weights(patches: PatchEmbedding, trained: TubeletEmbedding) -> None:
    tubelets = torch.randn(3, DEPTH, 3, SIZE, SIZE)
    convolution = patches.patch_embedding
    wanted = F.conv3d(
        tubelets.transpose(1, 2),
        trained.inflated_weight(patches),
        convolution.bias,
        stride=(DEPTH, *convolution.stride),
    )
    wanted = wanted[:, :, 0].flatten(2).transpose(1, 2) + patches.position_embedding.weight
    torch.testing.assert_close(trained(tubelets, patches=patches), wanted, atol=2e-4, rtol=1e-5)


@torch.inference_mode()
def test_a_short_stack_repeats_its_slices(patches: PatchEmbedding, trained: TubeletEmbedding) -> None:
    slices = torch.randn(1, 3, 3, SIZE, SIZE)
    assert torch.equal(trained(slices, patches=patches), trained(slices[:, [0, 1, 1, 2]], patches=patches))


@torch.inference_mode()
def test_the_order_of_slices_counts_once_trained(patches: PatchEmbedding, trained: TubeletEmbedding) -> None:
    tubelets = torch.randn(1, DEPTH, 3, SIZE, SIZE)
    assert not torch.allclose(trained(tubelets, patches=patches), trained(tubelets.flip(1), patches=patches))


def test_gradients_reach_the_tower_and_the_deviation(patches: PatchEmbedding, embedding: TubeletEmbedding) -> None:
    embedding(torch.randn(2, DEPTH, 3, SIZE, SIZE), patches=patches).square().sum().backward()
    assert embedding.deviation.grad is not None
    assert embedding.deviation.grad.flatten(2).abs().amax(-1).min() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in patches.parameters())


def test_a_mean_of_three_is_refused() -> None:
    with pytest.raises(RequestError, match="3 slices"):
        mean_of_slots(torch.zeros(1, 3, 3, 4, 4))
