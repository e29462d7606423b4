"""Manifest and journal: what a folder holds, and whether a run may go on in it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from osler.errors import DataError, RequestError
from osler.synth.manifest import (
    JOURNAL,
    MANIFEST,
    claim_folder,
    is_whole,
    note_shard,
    read_manifest,
    remove_parts,
    save_manifest,
)
from osler.synth.shards import ReportRun, ShardRecord

RUN = ReportRun(count=100, shard_patients=64)
RECORD = ShardRecord(
    number=0, name="reports-00000.parquet", first_patient=0, stop_patient=64, rows=100, bytes=3, sha256="ab"
)


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    saved = save_manifest(tmp_path, run=RUN, shards=[RECORD], state="complete")
    assert read_manifest(tmp_path) == saved
    row = json.loads((tmp_path / MANIFEST).read_text())
    assert row["rows"] == 100
    assert row["run"] == {"count": 100, "seed": 0, "shard_patients": 64}
    assert {"generator", "schema", "pyarrow"} <= set(row)


def test_a_new_folder_is_claimed_once_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert claim_folder(folder, run=RUN) == ()
    note_shard(folder, record=RECORD)
    with open(folder / JOURNAL, "ab") as file:
        file.write(b'{"number": 1, "na')  # what a crash leaves
    assert claim_folder(folder, run=RUN) == (RECORD,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed 0 (asked: 1)"),
        ({"count": 7}, "count 100 (asked: 7)"),
        ({"shard_patients": 128}, "64 (asked"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, change: dict[str, int], message: str) -> None:
    claim_folder(tmp_path, run=RUN)
    with pytest.raises(RequestError) as refusal:
        claim_folder(tmp_path, run=dataclasses.replace(RUN, **change))
    assert "holds another run" in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize("name", ["generator", "schema", "pyarrow"])
def test_another_version_is_refused(tmp_path: Path, name: str) -> None:
    claim_folder(tmp_path, run=RUN)
    row = json.loads((tmp_path / MANIFEST).read_text()) | {name: "0.0"}
    (tmp_path / MANIFEST).write_text(json.dumps(row))
    before = (tmp_path / MANIFEST).read_bytes()
    with pytest.raises(RequestError, match=rf"{name} 0\.0 \(asked"):
        claim_folder(tmp_path, run=RUN)
    assert (tmp_path / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "other"}', '{"kind": "osler synthetic reports"}'])
def test_a_damaged_manifest_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="manifest"):
        claim_folder(tmp_path, run=RUN)
    assert (tmp_path / MANIFEST).read_text() == text


def test_other_data_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"holds other data: thesis\.txt"):
        claim_folder(tmp_path, run=RUN)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(RequestError, match="not a folder"):
        claim_folder(tmp_path / "thesis.txt", run=RUN)


def test_only_unfinished_files_of_our_own_are_removed(tmp_path: Path) -> None:
    for name in (".osler-0.part", "a.part", ".osler-x", "b.parquet"):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".osler-x", "a.part", "b.parquet"]


def test_a_shard_is_whole_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / RECORD.name).write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180-4
    record = dataclasses.replace(RECORD, sha256=digest)
    assert is_whole(tmp_path, record=record)
    (tmp_path / RECORD.name).write_bytes(b"abd")
    assert not is_whole(tmp_path, record=record)
    (tmp_path / RECORD.name).write_bytes(b"abcd")
    assert not is_whole(tmp_path, record=record)
    (tmp_path / RECORD.name).unlink()
    assert not is_whole(tmp_path, record=record)
