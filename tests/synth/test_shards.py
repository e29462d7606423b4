"""Shards: exact counts, the same bytes from any worker, one step on disk."""

from __future__ import annotations

import errno
import itertools
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from osler.errors import CapacityError, RequestError
from osler.synth.shards import ReportRun, ShardPlan, disk_error, plan_shards, render_batch, write_shard


def test_a_plan_has_exactly_the_reports_asked_for() -> None:
    for count in (1, 63, 1000, 5000):
        run = ReportRun(count=count, shard_patients=64)
        plans = plan_shards(run)
        assert sum(plan.rows for plan in plans) == count
        assert [plan.number for plan in plans] == list(range(len(plans)))
        assert all(plan.stop - plan.first == 64 for plan in plans)
        assert all(a.stop == b.first for a, b in itertools.pairwise(plans))


def test_plans_of_a_smaller_run_are_the_first_of_a_larger_one() -> None:
    small, large = (plan_shards(ReportRun(count=count, shard_patients=64)) for count in (1000, 3000))
    assert small[:-1] == large[: len(small) - 1]


def test_a_shard_holds_reports_facts_and_metadata(tmp_path: Path) -> None:
    run = ReportRun(count=150, seed=4, shard_patients=64)
    plan = plan_shards(run)[0]
    record = write_shard(plan, run=run, folder=tmp_path)
    table = pq.read_table(tmp_path / plan.name)
    assert table.num_rows == record.rows == plan.rows
    assert table.column_names == ["patient", "exam", "day", "language", "style", "report", "facts", "metadata"]
    assert table.schema.metadata[b"osler.seed"] == b"4"
    for row in table.slice(0, 20).to_pylist():
        facts, metadata = json.loads(row["facts"]), json.loads(row["metadata"])
        assert facts["patient"] == row["patient"]
        assert facts["exam"] == row["exam"]
        assert facts["day"] == row["day"] == metadata["StudyDay"]
    assert (tmp_path / plan.name).stat().st_size == record.bytes
    assert [entry.name for entry in tmp_path.iterdir()] == [plan.name]


def test_a_shard_is_the_same_twice(tmp_path: Path) -> None:
    run = ReportRun(count=200, shard_patients=64)
    plan = plan_shards(run)[0]
    assert write_shard(plan, run=run, folder=tmp_path) == write_shard(plan, run=run, folder=tmp_path)


def test_a_patient_is_the_same_in_any_batch() -> None:
    import numpy as np

    together = render_batch(seed=1, patients=np.arange(100))
    alone = render_batch(seed=1, patients=np.array([37]))
    rows = [row for row in together.to_pylist() if row["patient"] == 37]
    assert alone.to_pylist() == rows


def test_a_full_disk_is_an_error_that_says_what_stays() -> None:
    full = disk_error(Path("x"), OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, CapacityError)
    assert "disk is full" in str(full)
    assert "goes on from there" in str(full)


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    run = ReportRun(count=10, shard_patients=64)
    with pytest.raises(RequestError, match="Cannot write"):
        write_shard(plan_shards(run)[0], run=run, folder=tmp_path / "absent")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".osler-fff.part").symlink_to("/dev/full")
    monkeypatch.setattr("osler.synth.shards.secrets.token_hex", lambda size: "fff")
    run = ReportRun(count=10, shard_patients=64)
    with pytest.raises(CapacityError, match="disk is full"):
        write_shard(plan_shards(run)[0], run=run, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count of reports is 0"),
        ({"count": -5}, "count of reports is -5"),
        ({"count": 10**15}, "1 to 1,000,000,000,000"),
        ({"count": 1, "seed": -1}, "seed is -1"),
        ({"count": 1, "seed": 2**63}, "0 to 2"),
        ({"count": 1, "shard_patients": 1}, "64 to 1,048,576"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError) as refusal:
        ReportRun(**settings)
    assert message in str(refusal.value)


def test_a_plan_names_its_file() -> None:
    assert ShardPlan(number=7, first=0, stop=64, rows=1).name == "reports-00007.parquet"
