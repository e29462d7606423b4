"""The optional packages: what is said where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.running import invoke, require_refusal


@pytest.mark.parametrize("package", ["pyarrow", "reportlab", "pypdfium2"])
@pytest.mark.parametrize("command", [("patients", "--count", "1", "--out", "out"), ("show", "0")])
def test_commands_refuse_without_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, command: tuple[str, ...]
) -> None:
    pytest.importorskip(package, reason="the first missing one is named")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    result = invoke("synth", *command)
    require_refusal(result)
    assert "which is not installed" in result.stderr
    assert "pip install 'osler[synth]'" in result.stderr
    assert not (tmp_path / "out").exists()
