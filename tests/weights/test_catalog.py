"""Which models are here, and what a wrong name gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from osler.errors import CheckpointError, RequestError
from osler.weights.catalog import find_model, list_models


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("OSLER_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_the_embedded_and_the_published_models_are_listed(models: Path) -> None:
    entries = {entry.name: entry for entry in list_models()}
    assert list(entries)[:3] == ["osler-mini", "gemma-3-270m", "medgemma-1.5-4b"]
    assert entries["gemma-3-270m"].missing == ""
    assert entries["gemma-3-270m"].memory_bytes == 536_196_352
    assert "Gemma Terms of Use" in entries["osler-mini"].licence
    published = entries["medgemma-1.5-4b"]
    assert published.memory_bytes == 8_600_158_944
    assert "Accept the terms" in published.missing
    assert str(models / "medgemma-1.5-4b") in published.missing


def test_folders_of_the_user_are_listed_and_found(models: Path) -> None:
    for name, kind in (("mine", "other"), ("medgemma-1.5-4b", "gemma3")):
        (models / name).mkdir()
        (models / name / "config.json").write_text(f'{{"model_type": "{kind}"}}')
        (models / name / "model.safetensors").write_bytes(bytes(1000))
    (models / "broken").mkdir()
    (models / "broken" / "config.json").write_text("{")
    (models / "other.gguf").write_bytes(b"GGUF")
    (models / "notes.txt").write_text("no model")
    entries = {entry.name: entry for entry in list_models()}
    assert entries["mine"].memory_bytes == 1000
    assert entries["mine"].what == "Your own, other"
    assert entries["medgemma-1.5-4b"].memory_bytes > 5e9  # by its configuration, whatever the file holds
    assert entries["medgemma-1.5-4b"].missing == ""
    assert "config.json cannot be read" in entries["broken"].missing
    assert entries["other"].where == models / "other.gguf"
    assert "notes" not in entries
    assert find_model("mine") == models / "mine"
    assert find_model("other") == models / "other.gguf"


def test_a_path_is_taken_as_it_is(models: Path) -> None:
    assert find_model(str(models)) == models


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("osler-mni", r"Unknown model 'osler-mni'\. Known: .*Did you mean 'osler-mini'\?"),
        ("", "There is no model at ''"),
        ("/absent/folder", r"There is no model at '/absent/folder'.*Check the path"),
        ("x" * 9000, "Unknown model"),
        ("a\0b", "Unknown model"),
        ("~nobody-of-that-name/x", "There is no model at"),
        ("absent.gguf", "There is no model at 'absent.gguf'"),
    ],
)
def test_an_unknown_name_gets_the_nearest(models: Path, name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_model(name)


def test_the_published_model_is_not_here(models: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'medgemma-1\.5-4b' is not on this machine\. Accept the terms"):
        find_model("medgemma-1.5-4b")


def test_listing_does_not_import_torch() -> None:
    code = "import sys; from osler.weights import list_models; list_models(); print('torch' in sys.modules)"
    source = Path(__file__).parents[2] / "src"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(source), "HOME": "/"},
    )
    assert out.stdout.strip() == "False"
