"""One table of names, used both ways."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.errors import CheckpointError
from osler.jax.parameters import parameters_from, tensors_from
from tests.jax.conftest import CONFIGS, build


@pytest.mark.parametrize("name", CONFIGS)
def test_there_and_back(name: str) -> None:
    pair = build(name)
    state = pair.torch.model.state_dict()
    found = dict(tensors_from(pair.jax.weights, config=pair.config))
    assert found.keys() == state.keys()
    assert all(torch.equal(torch.from_numpy(found[key].copy()), state[key]) for key in state)


def test_bfloat16_keeps_its_bits(pair_of) -> None:
    pair = pair_of()
    state = {name: tensor.bfloat16() for name, tensor in pair.torch.model.state_dict().items()}
    found = dict(tensors_from(parameters_from(state, config=pair.config), config=pair.config))
    for name, tensor in state.items():
        assert found[name].dtype == "bfloat16"
        assert torch.equal(torch.from_numpy(found[name].view("uint16").copy()), tensor.view(torch.uint16)), name


def test_a_missing_tensor_is_named(pair_of) -> None:
    pair = pair_of()
    state = dict(pair.torch.model.state_dict())
    del state["language_model.layers.3.mlp.up_proj.weight"]
    with pytest.raises(CheckpointError, match=r"layers\.3\.mlp\.up_proj"):
        parameters_from(state, config=pair.config)


def test_a_part_without_a_place_is_named(pair_of) -> None:
    pair = pair_of()
    state = dict(pair.torch.model.state_dict()) | {"novel.gate": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"novel\.gate"):
        parameters_from(state, config=pair.config)
