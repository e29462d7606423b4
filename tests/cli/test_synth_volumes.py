"""``osler synth volumes``: files as said, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import invoke, require_refusal

for package in ("nibabel", "scipy"):
    pytest.importorskip(package, reason="needs the synth extra")


def test_it_writes_volumes_with_their_boxes(tmp_path: Path) -> None:
    arguments = ("synth", "volumes", "--count", "1", "--spacing", "12", "--out", tmp_path / "set")
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    (volume,) = record["volumes"]
    assert record["folder"] == str(tmp_path / "set")
    assert [len(array) for array in (volume["files"], volume["sha256"])] == [3, 3]
    assert all((tmp_path / "set" / name).is_file() for name in volume["files"])
    again = invoke(*arguments)
    assert again.exit_code == 0
    assert "1 volumes with" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", "0"), "A count of 0 volumes"),
        (("--count", "-3"), "A count of -3 volumes"),
        (("--count", "99999999999999"), "1 to 100,000,000"),
        (("--count", "1", "--spacing", "0"), "A spacing of 0.0 mm"),
        (("--count", "1", "--seed", "-1"), "Seed -1"),
    ],
)
def test_absurd_options_are_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("synth", "volumes", "--out", tmp_path / "set", *arguments)
    require_refusal(result)
    assert message in result.stderr
    assert not (tmp_path / "set").exists()


def test_a_folder_with_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    error = require_refusal(invoke("synth", "volumes", "--count", "1", "--out", tmp_path, "--json"), as_json=True)
    assert "holds other data" in error["problem"]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
