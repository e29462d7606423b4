"""``--visual-tokens``: refusals before any work, what `osler inspect` says, and real answers on a volume."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from osler.cli.app import app
from osler.engine.load import load
from osler.writers import load_schema
from tests.cli.mini import needs_mini
from tests.cli.running import invoke, require_refusal

COMMANDS = {
    "ask": ("Which plane is this?",),
    "chat": (),
    "report": (),
    "findings": (),
    "locate": ("liver",),
    "compare": ("before.nii",),
    "inspect": ("--no-picture",),
}

_load_once = functools.cache(load)


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume of 40 slices, 64 x 64 px of 4 mm, 5 mm apart."""
    monkeypatch.chdir(tmp_path)
    z, y, x = np.ogrid[:40, :64, :64]
    body = ((x - 32) ** 2 + (y - 32) ** 2 < 600) * 400.0 + 200.0 * ((z - 20) ** 2 + (x - 40) ** 2 + (y - 30) ** 2 < 80)
    voxels = np.broadcast_to(body, (40, 64, 64)).transpose(2, 1, 0).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([4.0, 4.0, 5.0, 1.0])), path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("budget", ["0", "-5", "many", "1.5", ""])
def test_a_budget_that_is_none_is_refused_before_anything_is_read(command: str, budget: str, tmp_path: Path) -> None:
    result = invoke(command, tmp_path / "absent.nii", *COMMANDS[command], f"--visual-tokens={budget}")
    require_refusal(result)
    assert "visual tokens" in result.stderr
    assert "A whole number from 1, or slices" in result.stderr


def test_inspect_says_what_a_model_sees(scan: Path) -> None:
    plain = invoke("inspect", scan, "--no-picture")
    assert "a model sees" not in plain.stdout
    result = invoke("inspect", scan, "--visual-tokens", "128", "--picture", "seen.png")
    assert result.exit_code == 0, result.output
    assert "a model sees 40 of 40 slices as 10 slabs, 4 x 4 x 8 tokens of 50 x 64 x 32 mm" in result.stdout
    assert (scan.parent / "seen.png").is_file()
    record = json.loads(invoke("inspect", scan, "--visual-tokens", "16", "--no-picture", "--json").stdout)
    jsonschema.validate(record, load_schema("inspection"))
    assert "tokens of" in record["timepoints"][0]["series"][0]["slabs"]


@needs_mini
@pytest.mark.slow
def test_a_volume_is_asked_in_few_tokens(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osler.engine.load.load", _load_once)
    record = json.loads(invoke("ask", scan, *COMMANDS["ask"], "--visual-tokens", "128", "--json", "-q").stdout)
    jsonschema.validate(record, load_schema("answer"))
    assert record["tokens"]["images"] == 128
    assert record["text"]
    assert any("as slabs" in warning for warning in record["warnings"])
    slices = json.loads(invoke("ask", scan, *COMMANDS["ask"], "--visual-tokens", "slices", "--json", "-q").stdout)
    assert slices["tokens"]["images"] == 40 * 64
    talk = "Which plane is this?\n/slice 3\nIs it bright?\n/save talk.json\n"
    result = CliRunner().invoke(app, ["chat", str(scan), "--visual-tokens", "64", "--max-tokens", "2"], input=talk)
    assert result.exit_code == 0, result.output
    turns = json.loads((scan.parent / "talk.json").read_text())["turns"]
    assert [turn["answer"]["tokens"]["images"] for turn in turns] == [64, 64]
    assert "as slabs" in " ".join(turns[0]["answer"]["warnings"])
    assert turns[1]["shown"] == "slice 3"
    for command in ("report", "findings", "locate"):
        result = invoke(command, scan, *COMMANDS[command], "--visual-tokens", "64", "--json", "-q")
        assert result.exit_code == 0, result.output
        assert sum(used["tokens"] for used in json.loads(result.stdout)["used"]) == 64
