"""Reading shards in portions."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import FileFormatError, RequestError
from osler.evaluate.report_shards import count_reports, portions, shard_paths, spread

pa = pytest.importorskip("pyarrow", reason="shards are Parquet files")
pq = pytest.importorskip("pyarrow.parquet", reason="shards are Parquet files")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shard in range(5):
        reports = [f"report {10 * shard + row}" for row in range(10)]
        pq.write_table(pa.table({"report": reports, "facts": ["{}"] * 10}), tmp_path / f"part-{shard}.parquet")
    return tmp_path


def test_portions_hold_every_row_once_in_order(folder: Path) -> None:
    paths = shard_paths(folder)
    rows = [row for portion in portions(paths, size=4) for row in portion]
    assert rows == [(f"report {i}",) for i in range(50)]
    assert count_reports(paths) == 50


def test_a_limit_ends_the_reading(folder: Path) -> None:
    rows = [
        row
        for portion in portions(shard_paths(folder), columns=("facts", "report"), limit=13, size=4)
        for row in portion
    ]
    assert len(rows) == 13
    assert rows[-1] == ("{}", "report 12")


def test_a_sample_is_spread_over_the_shards(folder: Path) -> None:
    paths = shard_paths(folder)
    assert [path.name for path in spread(paths, reports=15)] == ["part-0.parquet", "part-2.parquet"]
    assert spread(paths, reports=1000) == paths


def test_what_is_no_shard_is_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RequestError, match="No report shards in"):
        shard_paths(tmp_path_factory.mktemp("empty"))
    with pytest.raises(FileFormatError, match=r"part-0.parquet has no column 'metadata'"):
        list(portions(shard_paths(folder), columns=("metadata",)))
    (folder / "part-3.parquet").write_bytes(b"cut short")
    with pytest.raises(FileFormatError, match=r"part-3.parquet is not a readable Parquet file. Make that shard again"):
        list(portions(shard_paths(folder)))
