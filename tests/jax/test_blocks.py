"""Norms, rotations, attention, tower and projector against their PyTorch twins, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.jax import projector, vision  # noqa: E402
from osler.jax.arrays import to_jax  # noqa: E402
from osler.jax.attention import attend, visible  # noqa: E402
from osler.jax.linear import linear  # noqa: E402
from osler.jax.norm import layer_norm, rms_norm  # noqa: E402
from osler.jax.rope import rotary_table, rotate  # noqa: E402
from osler.model import rope as torch_rope  # noqa: E402
from osler.model.attention import KeyView  # noqa: E402
from osler.model.norm import RMSNorm  # noqa: E402
from tests.jax.conftest import difference  # noqa: E402


def back(array: object) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def test_norms() -> None:
    torch.manual_seed(1)
    x, weight, bias = torch.randn(3, 5, 32) * 40, torch.randn(32), torch.randn(32)
    twin = RMSNorm(32, eps=1e-6)
    twin.weight = nn.Parameter(weight)
    assert difference(back(rms_norm(to_jax(x), to_jax(weight), eps=1e-6)), twin(x).detach()) < 1e-6
    found = layer_norm(to_jax(x), to_jax(weight), to_jax(bias), eps=1e-6)
    assert difference(back(found), F.layer_norm(x, (32,), weight, bias, eps=1e-6)) < 1e-6


@pytest.mark.parametrize(("theta", "scale"), [(10_000.0, 1.0), (1_000_000.0, 8.0)])
def test_rotation(theta: float, scale: float) -> None:
    torch.manual_seed(2)
    x, positions = torch.randn(2, 3, 6, 16), torch.tensor([[0, 1, 2, 3, 4, 5], [900, 901, 902, 903, 904, 31_000]])
    wanted_table = torch_rope.rotary_table(positions, head_dim=16, theta=theta, scale=scale, dtype=torch.float32)
    wanted = torch_rope.rotate(x, rotation=wanted_table)
    table = rotary_table(to_jax(positions), head_dim=16, theta=theta, scale=scale, dtype="float32")
    # Angles of tens of thousands of radians hold three decimals in float32.
    assert difference(back(rotate(to_jax(x), rotation=table))[:1], wanted[:1]) < 1e-6
    assert difference(back(rotate(to_jax(x), rotation=table)), wanted) < 5e-3


@pytest.mark.parametrize("window", [None, 4])
def test_visible_is_the_mask_of_the_twin(window: int | None) -> None:
    positions = torch.arange(6, 12)[None]
    last, keys = positions.clone(), torch.cat((torch.tensor([[-1, -1]]), torch.arange(2, 12)[None]), dim=1)
    last[0, 1:4] = 9
    view = KeyView(positions_BL=positions, last_BL=last, keys_BS=keys, reach=3, window=window, dtype=torch.float32)
    wanted = view.mask(slice(0, 6), keys=slice(0, 12))[:, 0] == 0
    found = visible(to_jax(positions), last_BL=to_jax(last), keys_BS=to_jax(keys), window=window)
    assert torch.equal(back(found), wanted)


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(3)
    q, k, v = torch.randn(2, 4, 5, 16), torch.randn(2, 2, 9, 16), torch.randn(2, 2, 9, 16)
    seen = torch.rand(2, 5, 9) > 0.4
    seen[..., 0] = True
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None], scale=0.3, enable_gqa=True)
    found = attend(to_jax(q), k_BKSH=to_jax(k), v_BKSH=to_jax(v), seen_BLS=to_jax(seen), scale=0.3, softcap=None)
    assert difference(back(found), wanted) < 1e-6


def test_linear_takes_weights_as_they_lie() -> None:
    torch.manual_seed(5)
    x, weight, bias = torch.randn(2, 3, 8), torch.randn(5, 8), torch.randn(5)
    assert difference(back(linear(to_jax(x), to_jax(weight), to_jax(bias))), F.linear(x, weight, bias)) < 1e-6


def test_tower_and_projector(pair_of) -> None:
    pair = pair_of()
    assert pair.config.vision is not None
    pixels = torch.randn(3, 3, pair.config.vision.image_size, pair.config.vision.image_size)
    weights = pair.jax.weights
    features = vision.forward(weights["vision_tower"], to_jax(pixels), config=pair.config.vision)
    wanted = pair.torch.model.vision(pixels)
    assert difference(back(features), wanted) < 1e-5
    tokens = projector.forward(
        weights["multi_modal_projector"], features, config=pair.config, vision=pair.config.vision
    )
    assert difference(back(tokens), pair.torch.model.projector(wanted)) < 1e-5
    assert difference(pair.jax.encode_images(pixels), pair.torch.model.encode_images(pixels)) < 1e-5
