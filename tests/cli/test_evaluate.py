"""``osler evaluate``: lists its sets, refuses what it cannot do, and prints one JSON object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.mini import needs_mini
from tests.cli.running import invoke, require_refusal
from tests.evaluate.sets.folders import write_lungs
from tests.readers.make_fhir import observation, patient, write


def test_sets_are_listed_without_data() -> None:
    result = invoke("evaluate", "--list")
    assert result.exit_code == 0
    assert "nih-findings: Findings on chest X-rays (NIH) (needs findings)" in result.stdout
    assert "published = medqa, medmcqa, mmlu-medical, pubmedqa, vqa-rad" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--data", "nowhere"), "No folder 'nowhere' with data"),
        (("--sets", "lung-box"), "Did you mean 'lung-boxes'"),
        (("--split", "train"), "Unknown split 'train'"),
        (("--radgraph", "gone.json"), "Cannot read RadGraph annotations from 'gone.json'"),
        (("--model", "no-such-model"), "Unknown model 'no-such-model'"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: tuple[str, str], said: str) -> None:
    result = invoke("evaluate", *(() if options[0] == "--data" else ("--data", tmp_path)), *options)
    require_refusal(result)
    assert said in result.stderr


@needs_mini
def test_a_folder_without_any_of_the_sets(tmp_path: Path) -> None:
    result = invoke("evaluate", "--data", tmp_path, "--sets", "lung-boxes,medqa")
    assert result.exit_code == 2
    assert "lung-boxes: no data" in result.stdout
    assert "Nothing was measured" in result.stderr


@needs_mini
def test_json_lists_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    write_lungs(tmp_path / "data", count=3)
    (tmp_path / "data" / "fhir").mkdir()
    for name in ("a.json", "b.json"):
        write(tmp_path / "data" / "fhir" / name, patient(), observation())
    result = invoke(
        "evaluate", "--data", tmp_path / "data", "--sets", "perplexity,lung-boxes,medqa", "--limit", "2", "--json",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    states = {one["name"]: one["state"] for one in record["sets"]}
    assert states["perplexity"] == "measured"
    assert states["medqa"] == "no data"
    (measure,) = [m for m in record["sets"][0]["measures"] if m["group"] == "all"]
    value, low, high = measure["systems"]["model"]
    assert 1 < low <= value <= high < 100
    assert (tmp_path / "out" / "evaluation.md").is_file()
