"""The projector: which patches make which token."""

from __future__ import annotations

import torch

from osler.model.config import get_config
from osler.model.projector import Projector


@torch.inference_mode()
def test_a_token_averages_its_square_of_patches() -> None:
    config = get_config("debug")
    assert config.vision is not None
    projector = Projector(config, vision=config.vision)
    projector.mm_input_projection_weight.data.normal_()
    side, pool = config.vision.side, projector.pool
    features = torch.randn(1, side**2, config.vision.width)
    changed = features.clone()
    changed[:, (pool + 1) * side + 2] += 5  # second row of tokens, first column
    moved = (projector(features) - projector(changed)).abs().sum(-1)[0]
    assert moved.nonzero().flatten().tolist() == [side // pool]
    square = features.unflatten(1, (side, side))[0, pool : 2 * pool, :pool].flatten(0, 1).mean(0)
    wanted = projector.mm_soft_emb_norm(square) @ projector.mm_input_projection_weight
    torch.testing.assert_close(projector(features)[0, side // pool], wanted, atol=1e-5, rtol=1e-5)
