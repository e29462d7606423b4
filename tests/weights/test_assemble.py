"""Tensors that do not fit are listed, and those that fit are not copied."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.weights.assemble import assemble, check_tensors, empty_network, torch_dtype


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return Osler(get_config("debug")).state_dict()


def test_tensors_become_the_parameters_themselves(tensors: dict[str, torch.Tensor]) -> None:
    model = assemble(get_config("debug"), tensors, source="here")
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() == tensors[name].data_ptr()
        assert not parameter.requires_grad
    assert not model.training


def test_everything_that_differs_is_in_one_error(tensors: dict[str, torch.Tensor]) -> None:
    changed = dict(tensors)
    del changed["language_model.norm.weight"]
    changed["language_model.layers.9.odd.weight"] = torch.zeros(1)
    changed["vision_tower.post_layernorm.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        assemble(get_config("debug"), changed, source="folder/x")
    message = str(caught.value)
    assert "'folder/x'" in message
    assert "1 missing (language_model.norm.weight)" in message
    assert "1 extra (language_model.layers.9.odd.weight)" in message
    assert "1 of the wrong shape (vision_tower.post_layernorm.bias (3,) instead of (48,))" in message


def test_long_lists_are_cut_and_counted() -> None:
    with pytest.raises(CheckpointError, match=r"40 missing \(t0, t1, t2, t3, t4, t5 and 34 more\)"):
        check_tensors(wanted={f"t{i}": (1,) for i in range(40)}, found={}, source="x")


def test_an_empty_network_has_no_storage_and_the_published_size() -> None:
    model = empty_network(get_config("medgemma-1.5-4b"))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_300_079_472


def test_other_types_are_refused() -> None:
    assert torch_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(CheckpointError, match=r"'float16'.*'bfloat16' or 'float32'.*overflow"):
        torch_dtype("float16")


def test_an_empty_network_needs_no_compiler() -> None:
    code = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from osler.model.config import HeadsConfig, get_config\n"
        "from osler.weights.assemble import empty_network\n"
        "config = replace(get_config('medgemma-1.5-4b'), heads=HeadsConfig(findings=('mass',)))\n"
        "assert empty_network(config).heads is not None\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False", "an operation on the meta device imported a compiler: seconds of every start"
