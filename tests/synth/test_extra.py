"""The optional packages: what is said where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.synth.extra import import_extra
from tests.cli.running import invoke, require_refusal


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        RequestError, match=r"'no_such_package', which is not installed.*\n?.*pip install 'osler\[ray\]'"
    ):
        import_extra("no_such_package.part", extra="ray")


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
