"""Which code paints, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.quant.build import Built
from osler.synth.painting.library import VARIABLE, choose_painting


def test_numpy_paints_where_nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    chosen = choose_painting(library=tmp_path / "no.so")
    assert (chosen.name, chosen.library) == ("numpy", None)
    assert "osler build-kernels" in chosen.reason
    with pytest.raises(RequestError, match="were asked for, but the kernels are not built"):
        choose_painting("native", library=tmp_path / "no.so")


def test_a_wish_is_followed(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "numpy")
    assert choose_painting(library=built.path).reason == "asked for"
    assert choose_painting("auto", library=built.path).name == "native"
    with pytest.raises(RequestError, match="fast"):
        choose_painting("fast")


def test_a_file_that_is_no_library_or_not_ours_is_left_alone(built: Built, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_bytes(b"no library")
    assert "cannot be loaded" in choose_painting("auto", library=wrong).reason
    shared = tmp_path / "shared.so"
    shared.write_bytes(built.path.read_bytes())
    shared.chmod(0o777)
    assert "changed by another user" in choose_painting("auto", library=shared).reason
