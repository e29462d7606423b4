"""``osler train``: a recipe that is not there is refused like any other input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import invoke, require_refusal


def test_an_absent_recipe_is_refused(tmp_path: Path) -> None:
    result = invoke("train", tmp_path / "absent.toml")
    require_refusal(result)
    assert "absent.toml" in result.stderr


def test_neither_recipe_nor_table_is_refused(tmp_path: Path) -> None:
    result = invoke("train")
    require_refusal(result)
    assert "no --csv and no --out" in result.stderr
    assert "osler train --csv DATA.csv --out FOLDER" in result.stderr
    assert "no --out" in invoke("train", "--csv", tmp_path / "a.csv").stderr


def test_options_beside_a_recipe_of_another_stage_are_refused() -> None:
    debug = Path(__file__).resolve().parents[2] / "recipes" / "debug.toml"
    result = invoke("train", debug, "--steps", "3")
    require_refusal(result)
    assert "stage 'vision'" in result.stderr


def test_what_a_joint_run_measured_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"loss": 2.0, "right": 0.5, "samples": 7, "tokens": 9}
    (tmp_path / "model").mkdir()
    kept_out = {"before": measured, "after": {**measured, "loss": 1.0}}
    (tmp_path / "summary.json").write_text(json.dumps({"kept_out": kept_out}))
    monkeypatch.setattr("osler.train.run_stage", lambda recipe: tmp_path / "model")
    result = invoke("train", Path(__file__).resolve().parents[2] / "recipes" / "joint.toml")
    assert f"Written: {tmp_path / 'model'}" in result.stdout
    assert "Kept out (7 samples): loss 2.000 -> 1.000" in result.stdout


def test_an_absent_table_is_refused(tmp_path: Path) -> None:
    result = invoke("train", "--csv", tmp_path / "no.csv", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "No table at" in result.stderr
    assert not (tmp_path / "out").exists()
