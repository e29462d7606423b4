"""What weights take in memory, against what they take once loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from osler.engine.memory_plan import plan_weights
from osler.model.config import config_names, get_config
from osler.model.osler import Osler
from osler.weights import embedded_gguf, list_models, load_checkpoint, save_huggingface
from osler.weights.assemble import empty_network
from osler.weights.catalog import MINI_FOLDER
from osler.weights.embedded import embedded_path
from osler.weights.footprint import memory_bytes, parameter_count


@pytest.mark.parametrize("name", config_names())
def test_weights_are_counted_without_building_the_network(name: str) -> None:
    config = get_config(name)
    assert parameter_count(config) == sum(value.numel() for value in empty_network(config).parameters())


def test_a_second_box_head_is_counted() -> None:
    config = get_config("debug-parts")
    assert config.heads is not None
    config = replace(config, heads=replace(config.heads, taught=("heart",)))
    assert parameter_count(config) == sum(value.numel() for value in empty_network(config).parameters())


def _held(path: Path) -> int:
    """Bytes of the loaded weights in bfloat16."""
    return sum(tensor.nbytes for tensor in load_checkpoint(path).model.state_dict().values())


@pytest.mark.slow
@pytest.mark.skipif(not (MINI_FOLDER / "config.json").is_file(), reason="the mini's trained parts are not here")
def test_a_folder_with_the_embedded_decoder_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in MINI_FOLDER.iterdir():
        (mine / file.name).symlink_to(file)
    assert memory_bytes(mine) == pytest.approx(_held(mine), rel=0.001)
    assert plan_weights(str(mine), itemsize=4).weights == 2 * memory_bytes(mine)
    monkeypatch.setenv("OSLER_MODELS", str(tmp_path))
    (entry,) = [entry for entry in list_models() if entry.name == "mine"]
    assert entry.memory_bytes == memory_bytes(mine) > 10 * sum(file.stat().st_size for file in mine.glob("vision*"))


def test_a_folder_whose_embedded_decoder_is_gone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps({"model_type": "osler", "decoder_home": "embedded"}))
    (tmp_path / "mine" / "vision.safetensors").write_bytes(bytes(10))
    monkeypatch.setenv("OSLER_MODELS", str(tmp_path))
    monkeypatch.setattr("osler.weights.catalog._embedded_missing", lambda: "The embedded decoder is not here.")
    (entry,) = [entry for entry in list_models() if entry.name == "mine"]
    assert entry.missing == "The embedded decoder is not here."


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folders_count_their_weights_and_not_their_bytes_on_disk(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Osler(get_config("debug")).to(dtype)
    count = sum(value.numel() for value in model.parameters())
    save_huggingface(model, tmp_path / "published")
    assert memory_bytes(tmp_path / "published") == 2 * count


def test_a_gguf_file_counts_unpacked() -> None:
    config = get_config("osler-mini")
    parameters = empty_network(config).named_parameters()
    text = sum(value.numel() for name, value in parameters if name.startswith("language_model."))
    assert memory_bytes(embedded_gguf()) == 2 * text > 2 * embedded_path().stat().st_size


def test_what_cannot_be_read_counts_as_far_as_it_can(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(bytes(700))
    assert memory_bytes(tmp_path) == 700
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert memory_bytes(tmp_path / "bad.gguf") == 0
    assert memory_bytes(tmp_path / "absent") == 0
