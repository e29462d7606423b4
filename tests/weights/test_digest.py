"""The digest names the weights: any change of a file or a name changes it, a large file is not read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.weights import digest
from osler.weights.digest import files_digest, weights_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vision.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "MODEL_CARD.md").write_bytes(b"text")
    return tmp_path


def test_weights_and_configuration_count_and_texts_do_not(folder: Path) -> None:
    first = files_digest(folder)
    (folder / "MODEL_CARD.md").write_bytes(b"another text")
    assert files_digest(folder) == first
    (folder / "vision.safetensors").write_bytes(b"other weights")
    second = files_digest(folder)
    (folder / "vision.safetensors").rename(folder / "tower.safetensors")
    assert len({first, second, files_digest(folder)}) == 3


def test_the_short_one_begins_the_long_one(folder: Path) -> None:
    assert weights_digest(folder).shown == files_digest(folder)[:16]
    assert weights_digest(folder).identity == files_digest(folder)
    assert len(weights_digest(folder / "vision.safetensors").shown) == 16


def test_large_weights_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_CHEAP_BYTES", 3)
    assert weights_digest(folder).shown == ""


def test_a_folder_without_weights_has_none(tmp_path: Path) -> None:
    assert weights_digest(tmp_path).shown == ""


def test_the_identity_of_large_weights_changes_with_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_CHEAP_BYTES", 3)
    first = weights_digest(folder).identity
    assert weights_digest(folder).identity == first
    (folder / "vision.safetensors").write_bytes(b"Weights")
    assert weights_digest(folder).identity != first
