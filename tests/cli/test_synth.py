"""``osler synth reports``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import invoke, loaded_after, require_refusal


def test_it_writes_shards_and_says_so(tmp_path: Path) -> None:
    options = ("--count", 300, "--shard-size", 64, "--workers", 1, "--out", tmp_path / "out")
    result = invoke("synth", "reports", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("300 reports in ")
    again = invoke("synth", "reports", *options, "--json")
    record = json.loads(again.stdout)
    assert record["reports"] == 300
    assert record["written"] == 0
    assert record["shards"] == len(list((tmp_path / "out").glob("*.parquet")))


def test_damage_is_named(tmp_path: Path) -> None:
    options = ("--count", 100, "--shard-size", 64, "--workers", 1, "--out", tmp_path)
    invoke("synth", "reports", *options)
    (tmp_path / "reports-00000.parquet").write_bytes(b"broken")
    result = invoke("synth", "reports", *options)
    assert result.exit_code == 0
    assert "Damaged, made again: reports-00000.parquet" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", 0), "The count of reports is 0."),
        (("--count", -3), "The count of reports is -3."),
        (("--count", 10**11), "GB are free"),
        (("--count", 10**30), "1 to 1,000,000,000,000"),
        (("--count", 10, "--workers", 0), "The number of workers is 0."),
        (("--count", 10, "--seed", -1), "The seed is -1."),
        (("--count", 10, "--shard-size", 3), "64 to 1,048,576"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    result = invoke("synth", "reports", *map(str, options), "--out", tmp_path / "out")
    require_refusal(result)
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_data_is_refused_as_json_too(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = invoke("synth", "reports", "--count", 10, "--out", tmp_path, "--json")
    assert "holds other data: mine.txt" in require_refusal(result, as_json=True)["problem"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_help_loads_nothing_heavy() -> None:
    assert not loaded_after("import osler.cli.synth")
