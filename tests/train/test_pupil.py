"""The shipped parts appear together or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.train import pupil as pupil_module
from osler.train.pupil import Pupil, ship
from osler.weights.lora import LoraConfig, add_lora
from osler.weights.safetensors_io import read_safetensors


def _pupil() -> Pupil:
    torch.manual_seed(0)
    config = get_config("debug")
    model, base = Osler(config).requires_grad_(False), Osler(config).requires_grad_(False)
    lora = LoraConfig(rank=2, alpha=4.0)
    add_lora(model.language_model, config=lora)
    return Pupil(model=model, base=base, tokenizer=None, preprocess=preprocess_for(config), lora=lora)  # type: ignore[arg-type]


def test_parts_are_written_in_bfloat16_and_replace_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    ship(_pupil(), folder)
    names = {"config.json", "preprocess.json", "vision.safetensors", "adapter_model.safetensors", "adapter_config.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]
    tensors = read_safetensors(folder / "vision.safetensors").tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert not any(name.startswith("language_model") for name in tensors)


def test_a_failure_leaves_the_old_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mini"
    ship(_pupil(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pupil_module, "save_adapter", full)
    with pytest.raises(CheckpointError, match="No space left"):
        ship(_pupil(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]
