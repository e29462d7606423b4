"""Tensor names of both published layouts."""

from __future__ import annotations

import pytest

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.weights.assemble import empty_network
from osler.weights.names import own_name, published_name, rename


@pytest.mark.parametrize(
    ("published", "own"),
    [
        ("language_model.model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("model.language_model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("language_model.embed_tokens.weight", "language_model.embed_tokens.weight"),
        ("vision_tower.vision_model.post_layernorm.bias", "vision_tower.post_layernorm.bias"),
        ("model.vision_tower.vision_model.post_layernorm.bias", "vision_tower.post_layernorm.bias"),
        ("model.vision_tower.post_layernorm.bias", "vision_tower.post_layernorm.bias"),
        ("vision_tower.post_layernorm.bias", "vision_tower.post_layernorm.bias"),
        ("multi_modal_projector.mm_soft_emb_norm.weight", "multi_modal_projector.mm_soft_emb_norm.weight"),
        ("model.multi_modal_projector.mm_soft_emb_norm.weight", "multi_modal_projector.mm_soft_emb_norm.weight"),
        ("lm_head.weight", None),
        ("language_model.lm_head.weight", None),
        ("vision_tower.vision_model.head.probe", None),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", None),
        ("something.else", "something.else"),
    ],
)
def test_a_published_name_becomes_ours(published: str, own: str | None) -> None:
    assert own_name(published) == own


@pytest.mark.parametrize(("variant", "layout"), [("debug", "multimodal"), ("gemma-2-2b", "text")])
def test_every_name_goes_out_and_comes_back(variant: str, layout: str) -> None:
    names = list(empty_network(get_config(variant)).state_dict())
    published = [published_name(name, layout=layout) for name in names]
    assert [own_name(name) for name in published] == names
    unchanged = {name for name in names if name in published}
    assert all(name.startswith("multi_modal_projector.") for name in unchanged)


def test_the_same_tensor_under_two_layouts_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"twice, under two layouts: model\.norm\.weight"):
        rename({"language_model.model.norm.weight": 1, "model.norm.weight": 2}, source="x")
