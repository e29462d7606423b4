"""Hugging Face folders written and read by Osler itself; `tests/parity` has transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.weights.assemble import assemble
from osler.weights.huggingface import load_huggingface, save_huggingface
from osler.weights.lora import LoraConfig, add_lora
from osler.weights.safetensors_io import read_safetensors, write_safetensors


@pytest.fixture(scope="module")
def model() -> Osler:
    torch.manual_seed(2)
    config = get_config("debug")
    return assemble(config, Osler(config).state_dict(), source="random")


@pytest.fixture
def folder(model: Osler, tmp_path: Path) -> Path:
    save_huggingface(model, tmp_path / "saved")
    return tmp_path / "saved"


def _same(first: Osler, second: Osler) -> bool:
    other = second.state_dict()
    return first.state_dict().keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in first.state_dict().items()
    )


def test_a_saved_network_reads_back(model: Osler, folder: Path) -> None:
    loaded = load_huggingface(folder)
    assert _same(model, loaded.model)
    assert loaded.model.config.decoder == model.config.decoder
    assert loaded.warnings == ()
    assert (loaded.preprocess.image_size, loaded.preprocess.image_tokens) == (32, 4)
    assert loaded.preprocess.sampling == "published"


def test_shards_read_back(model: Osler, tmp_path: Path) -> None:
    save_huggingface(model, tmp_path, shard_bytes=200_000)
    assert len(list(tmp_path.glob("model-0*-of-0*.safetensors"))) > 2
    assert _same(model, load_huggingface(tmp_path).model)


def test_the_dtype_is_kept_or_converted(model: Osler, tmp_path: Path) -> None:
    half = {name: value.bfloat16() for name, value in model.state_dict().items()}
    save_huggingface(assemble(model.config, half, source="half"), tmp_path)
    assert {value.dtype for value in load_huggingface(tmp_path).model.parameters()} == {torch.bfloat16}
    converted = load_huggingface(tmp_path, dtype="float32").model
    assert {value.dtype for value in converted.parameters()} == {torch.float32}


def test_text_only_folders_read_back(tmp_path: Path) -> None:
    config = get_config("debug")
    text = Osler(type(config)(name="text", decoder=config.decoder, vision=None))
    save_huggingface(text, tmp_path)
    loaded = load_huggingface(tmp_path)
    assert loaded.model.vision is None
    assert _same(text, loaded.model)


def test_weights_that_do_not_fit_are_listed(folder: Path) -> None:
    stored = read_safetensors(folder / "model.safetensors").tensors
    changed = {name: value.clone() for name, value in stored.items() if "layers.3.mlp" not in name}
    changed["language_model.model.norm.weight"] = torch.zeros(5)
    write_safetensors(changed, path=folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"3 missing \(language_model\.layers\.3\.mlp.*1 of the wrong shape"):
        load_huggingface(folder)


def test_truncated_weights_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"Cannot read '.*model\.safetensors'.*whole safetensors file"):
            load_huggingface(folder)


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickled weights only: pytorch_model\.bin.*save_pretrained"):
        load_huggingface(folder)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        load_huggingface(folder)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "model-2.safetensors"}}, "lacks 1 of 1 weight files: model-2.safetensors"),
        ({"weight_map": {"a": "../other.safetensors"}}, "points outside its folder"),
        ({"weight_map": {}}, "has no weight_map"),
        ({"weight_map": {"a": 1}}, "has no weight_map"),
        ([], "holds a list"),
    ],
)
def test_an_odd_index_is_refused(folder: Path, index: object, message: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        load_huggingface(folder)


def test_another_preprocessing_is_refused_and_an_absent_one_warned_about(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"size": {"height": 224, "width": 224}, "resample": 3}))
    with pytest.raises(CheckpointError, match=r"resample is 3 instead of 2; size is .*224"):
        load_huggingface(folder)
    path.unlink()
    assert "has no preprocessor_config.json" in load_huggingface(folder).warnings[0]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\x00"])
def test_a_damaged_config_is_named(folder: Path, content: str | None) -> None:
    path = folder / "config.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_huggingface(folder)


def test_a_network_with_adapters_is_not_saved_as_if_it_had_none(tmp_path: Path) -> None:
    model = Osler(get_config("debug"))
    add_lora(model, config=LoraConfig(rank=2, alpha=2, targets=("q_proj",)))
    with pytest.raises(CheckpointError, match=r"carries 9 adapters.*merge_lora"):
        save_huggingface(model, tmp_path)


def test_a_folder_that_cannot_be_written_is_said(model: Osler, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="Cannot write"):
        save_huggingface(model, tmp_path / "file")
