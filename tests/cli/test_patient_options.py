"""``--allow-mixed-patients``: refused without, taken and said with, by every command that puts studies together."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from osler.cli.app import app
from osler.engine.load import load
from tests.cli.mini import needs_mini
from tests.cli.running import invoke
from tests.readers.make_dicom import base_dataset, save

_load_once = functools.cache(load)
_COMMANDS = {
    "ask": ("ask", "now.dcm", "Which plane is this?", "--prior", "old.dcm", "--max-tokens", "4"),
    "report": ("report", "now.dcm", "--prior", "old.dcm"),
    "compare": ("compare", "now.dcm", "old.dcm"),
    "chat": ("chat", "now.dcm", "old.dcm", "--max-tokens", "4"),
    "inspect": ("inspect", "now.dcm", "--prior", "old.dcm", "--no-picture"),
}
_SAID = "different patients. Files of different patients were put together on request"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two studies of two patients."""
    pixels = np.random.default_rng(0).integers(0, 900, (40, 40)).astype(np.int16)
    save(
        base_dataset(pixels, PatientID="A-1", StudyInstanceUID="1.2.3.71", BodyPartExamined="HEAD"),
        tmp_path / "now.dcm",
    )
    other = base_dataset(
        pixels, PatientID="B-2", StudyInstanceUID="1.2.3.72", BodyPartExamined="HEAD", StudyDate="20230102"
    )
    save(other, tmp_path / "old.dcm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("osler.engine.load.load", _load_once)
    return tmp_path


@pytest.mark.parametrize("name", _COMMANDS)
def test_different_patients_are_refused_with_the_way_out(name: str, folder: Path) -> None:
    result = invoke(*_COMMANDS[name])
    assert result.exit_code == 2, result.output
    assert "ifferent patients" in result.stderr
    assert "--allow-mixed-patients" in result.stderr


@needs_mini
@pytest.mark.parametrize("name", ["ask", "report", "compare", "inspect"])
def test_for_research_they_are_taken_and_that_is_said(name: str, folder: Path) -> None:
    result = invoke(*_COMMANDS[name], "--allow-mixed-patients", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert any(_SAID in text for text in (*said.get("warnings", ()), *said.get("problems", ())))


@needs_mini
def test_chat_takes_them_too_also_a_prior_that_is_added(folder: Path) -> None:
    lines = "Which plane is this?\n/evidence\n/open now.dcm\n/prior old.dcm\n"
    arguments = (*_COMMANDS["chat"], "--allow-mixed-patients")
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=lines)
    assert result.exit_code == 0, result.output
    assert _SAID in result.stdout
    assert "2 series of 2 studies" in result.stdout
    assert "Error" not in result.stderr
