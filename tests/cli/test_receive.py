"""``osler receive``: its example runs, and ends when nothing comes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from osler.cli.receive import receive
from tests.cli.running import invoke
from tests.readers.orthanc import free_port

pytest.importorskip("pynetdicom")


def test_the_example_of_its_help_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = re.findall(r"Example: osler (.*)", receive.__doc__ or "")
    words = shlex.split(line)
    words[words.index("--port") + 1] = str(free_port())
    result = invoke(*words, "--stop-when-idle", "0.3")
    assert result.exit_code == 0, result.output
    assert "inbox: 0 files of 0 studies and 0 series received." in result.output
    assert (tmp_path / "inbox").is_dir()


def test_a_bad_title_is_refused(tmp_path: Path) -> None:
    result = invoke("receive", "--out", tmp_path / "inbox", "--ae-title", "much too long for a title")
    assert result.exit_code == 2
    assert "1 to 16 letters" in result.stderr
