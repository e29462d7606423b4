"""Merges from the cache are those that are found; a file that is not what was written is not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.weights import tokenizer_merges
from osler.weights.tokenizer_merges import merges_of

WORDS = ("a", "b", "c", "ab", "bc", "abc", "abcc", "\u2581", "\u2581a", "\u2581abc")
WANTED = [
    ("a", "b"),
    ("b", "c"),
    ("ab", "c"),
    ("a", "bc"),
    ("abc", "c"),
    ("\u2581", "a"),
    ("\u2581a", "bc"),
    ("\u2581", "abc"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    monkeypatch.setattr(tokenizer_merges, "_FEWEST", 1)
    return tmp_path / "tokenizers"


def test_merges_are_found_in_order_and_read_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert merges_of(dict.fromkeys(WORDS)) == WANTED
    (file,) = folder.iterdir()
    monkeypatch.setattr(tokenizer_merges, "_found", lambda known: pytest.fail("found again"))
    assert merges_of(dict.fromkeys(WORDS)) == WANTED
    assert file.stat().st_size == 32 + 8 * len(WANTED)


def test_another_vocabulary_has_another_file(folder: Path) -> None:
    merges_of(dict.fromkeys(WORDS))
    assert merges_of(dict.fromkeys(reversed(WORDS))) != WANTED
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_file_is_made_again(folder: Path, damage: str) -> None:
    merges_of(dict.fromkeys(WORDS))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    changed = whole[:-1] + bytes([whole[-1] ^ 1])
    file.write_bytes({"truncated": whole[:-5], "changed": changed, "empty": b""}[damage])
    assert merges_of(dict.fromkeys(WORDS)) == WANTED
    assert file.read_bytes() == whole


def test_small_vocabularies_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    assert merges_of(dict.fromkeys(WORDS)) == WANTED
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tokenizer_merges, "_FEWEST", 1)
    assert merges_of(dict.fromkeys(WORDS)) == WANTED
