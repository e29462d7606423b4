"""Each kind of model says by which contract it is shown images, without its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import CheckpointError, RequestError
from osler.model.config import get_config
from osler.prepare import Preprocess, preprocess_for
from osler.weights import catalog, contract
from osler.weights.contract import contract_of, read_contract
from osler.weights.hf_config import huggingface_config


def test_a_published_model_that_is_not_here_has_the_published_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_own_models", lambda: iter(()))
    assert contract_of("medgemma-1.5-4b") == preprocess_for(get_config("medgemma-1.5-4b"))


def test_an_osler_folder_keeps_its_own(tmp_path: Path) -> None:
    own = Preprocess(image_size=64, image_tokens=16, max_slices=7)
    (tmp_path / "preprocess.json").write_text(own.to_json())
    assert contract_of(str(tmp_path)) == own


def test_the_mini_is_drawn_by_the_contract_beside_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MINI_FOLDER", tmp_path)
    assert contract_of("osler-mini") == preprocess_for(get_config("osler-mini"))
    own = Preprocess(image_size=256, image_tokens=64, max_slices=40)
    (tmp_path / "preprocess.json").write_text(own.to_json())
    assert contract_of("osler-mini") == own


def test_a_hugging_face_folder_has_the_published_recipe_at_its_size(tmp_path: Path) -> None:
    import json

    (tmp_path / "config.json").write_text(json.dumps(huggingface_config(get_config("debug"))))
    found = contract_of(str(tmp_path))
    assert (found.image_size, found.image_tokens, found.sampling, found.prompt) == (32, 4, "published", "published")


def test_text_only_models_have_no_images(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    assert contract_of("gemma-3-270m").image_size == contract_of(str(file)).image_size == 0


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Did you mean 'osler-mini'"):
        contract_of("oslermini")
    with pytest.raises(CheckpointError, match=r"Cannot read '.*preprocess\.json'"):
        read_contract(tmp_path)
    (tmp_path / contract.CONTRACT_FILE).write_text("no JSON")
    with pytest.raises(CheckpointError, match="contract cannot be read"):
        contract_of(str(tmp_path))
