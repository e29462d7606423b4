"""One way in for every kind of model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError, RequestError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.weights import catalog, checkpoint
from osler.weights.checkpoint import load_checkpoint
from osler.weights.digest import files_digest
from osler.weights.embedded import EMBEDDED_SHA256
from osler.weights.huggingface import save_huggingface
from osler.weights.lora import LoraConfig, add_lora, merge_lora
from osler.weights.osler_folder import save_osler_folder, save_tuned_folder
from osler.weights.safetensors_io import read_safetensors, write_safetensors
from osler.weights.skills import skills_of
from osler.weights.tokenizer import GemmaTokenizer


def test_the_embedded_decoder_by_name(embedded_path: Path) -> None:
    found = load_checkpoint("gemma-3-270m")
    assert found.source == embedded_path
    assert found.digest == EMBEDDED_SHA256[:16]
    assert "Gemma Terms of Use" in found.licence
    assert sum(value.numel() for value in found.model.parameters()) == 268_098_176
    assert {value.dtype for value in found.model.parameters()} == {torch.bfloat16}
    assert found.preprocess.image_size == 0


def test_a_gguf_file_by_path(embedded_path: Path) -> None:
    found = load_checkpoint(embedded_path, dtype="float32")
    assert found.name == "gemma-3-270m-q4_k_m"
    assert "Gemma Terms of Use" in found.licence
    assert found.model.config.decoder == get_config("osler-mini").decoder


def test_a_hugging_face_folder(tmp_path: Path, tokenizer: GemmaTokenizer) -> None:
    save_huggingface(Osler(get_config("debug")), tmp_path / "folder", tokenizer=tokenizer)
    found = load_checkpoint(str(tmp_path / "folder"), dtype="float32")
    assert (found.name, found.licence) == ("folder", "unknown")
    assert found.tokenizer.encode("a  b") == tokenizer.encode("a  b")
    assert found.preprocess.prompt == "published"


def test_an_osler_folder(tmp_path: Path, tokenizer: GemmaTokenizer) -> None:
    config = get_config("debug")
    save_osler_folder(Osler(config), tmp_path, preprocess=preprocess_for(config), tokenizer=tokenizer)
    found = load_checkpoint(tmp_path, dtype="float32")
    assert found.model.config == config
    assert found.preprocess == preprocess_for(config)
    assert found.digest == files_digest(tmp_path)[:16]


def test_a_copy_without_the_trained_parts_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (catalog, checkpoint):
        monkeypatch.setattr(module, "MINI_FOLDER", tmp_path)
    with pytest.raises(
        CheckpointError, match=r"does not hold the trained parts of 'osler-mini'.*recipes/mini_vision.toml"
    ):
        load_checkpoint("osler-mini")


def test_a_wrong_name_type_or_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Did you mean 'osler-mini'"):
        load_checkpoint("oslermini")
    with pytest.raises(CheckpointError, match="'float16'"):
        load_checkpoint("gemma-3-270m", dtype="float16")
    with pytest.raises(CheckpointError, match=r"is no model: it holds no config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="is not a GGUF file"):
        load_checkpoint(tmp_path / "x.gguf")


def _adapter_on(base: Path, folder: Path, *, name: str) -> None:
    checkpoint = load_checkpoint(base, dtype="float32")
    lora = LoraConfig(rank=2, alpha=4, targets=("q_proj",), base=name)
    torch.manual_seed(3)
    for parameter in add_lora(checkpoint.model.decoder, config=lora):
        parameter.data.normal_(std=0.1)
    save_tuned_folder(
        checkpoint.model,
        folder,
        base=lora.base,
        lora=lora,
        parts={},
        preprocess=checkpoint.preprocess,
        base_digest=checkpoint.digest,
        licence=checkpoint.licence,
        trained=("answers", "box_text"),
    )
    merge_lora(checkpoint.model)
    write_safetensors(checkpoint.model.state_dict(), path=folder.with_suffix(".expected"), metadata={})


@pytest.fixture
def adapter(tmp_path: Path, tokenizer: GemmaTokenizer) -> Path:
    torch.manual_seed(2)
    config = get_config("debug")
    save_osler_folder(Osler(config), tmp_path / "base", preprocess=preprocess_for(config), tokenizer=tokenizer)
    _adapter_on(tmp_path / "base", tmp_path / "tuned", name=str(tmp_path / "base"))
    return tmp_path / "tuned"


def test_an_adapter_folder_is_its_base_with_the_adapter(adapter: Path) -> None:
    found = load_checkpoint(adapter, dtype="float32")
    expected = read_safetensors(adapter.with_suffix(".expected")).tensors
    assert all(torch.equal(value, expected[name]) for name, value in found.model.state_dict().items())
    assert found.name == "tuned"
    assert found.trained == {"answers", "box_text"} == skills_of(str(adapter))
    base = load_checkpoint(adapter.parent / "base", dtype="float32")
    assert found.preprocess == base.preprocess
    assert found.key != base.key


def test_an_adapter_whose_base_has_gone_or_changed_is_refused(adapter: Path) -> None:
    base = adapter.parent / "base"
    path = base / "vision.safetensors"
    kept = read_safetensors(path)
    write_safetensors({n: t + 1 for n, t in kept.tensors.items()}, path=path, metadata=kept.metadata)
    with pytest.raises(CheckpointError, match="trained on other weights of"):
        load_checkpoint(adapter, dtype="float32")
    base.rename(adapter.parent / "elsewhere")
    with pytest.raises(CheckpointError, match=r"adapter on .*which is not here.*`base` in config\.json"):
        load_checkpoint(adapter, dtype="float32")
    content = json.loads((adapter / "config.json").read_text())
    (adapter / "config.json").write_text(json.dumps(content | {"base": "../tuned"}))
    with pytest.raises(CheckpointError, match="names itself"):
        load_checkpoint(adapter, dtype="float32")
