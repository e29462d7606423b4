"""Rows of report shards in portions, so that any number of them is read in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osler.errors import FileFormatError, RequestError
from osler.synth.extra import import_pyarrow

if TYPE_CHECKING:
    import pyarrow.parquet

COLUMNS = ("report", "facts", "metadata")
PORTION = 2000


def shard_paths(folder: Path) -> list[Path]:
    """The Parquet shards of a collection, in order.

    Raises:
        RequestError: If there is none.
    """
    paths = sorted(folder.glob("**/*.parquet")) if folder.is_dir() else [folder] if folder.is_file() else []
    if not paths:
        raise RequestError(
            f"No report shards in {folder}.",
            allowed="A folder with .parquet files, as `osler synth reports` writes it, or one such file.",
        )
    return paths


def count_reports(paths: Sequence[Path]) -> int:
    """Reports in shards, from their footers."""
    return sum(_open(path).metadata.num_rows for path in paths)


def spread(paths: Sequence[Path], *, reports: int) -> list[Path]:
    """Picks shards evenly over a collection that together hold at least so many reports, or all.

    Whole shards keep the exams of one patient together, where near duplicates are likeliest.
    """
    sizes = [_open(path).metadata.num_rows for path in paths]
    for count in range(1, len(paths) + 1):
        chosen = [place * len(paths) // count for place in range(count)]
        if sum(sizes[place] for place in chosen) >= reports:
            return [paths[place] for place in chosen]
    return list(paths)


def portions(
    paths: Sequence[Path], *, columns: Sequence[str] = ("report",), limit: int | None = None, size: int = PORTION
) -> Iterator[list[tuple[str, ...]]]:
    """Reads rows.

    Args:
        paths: Shards.
        columns: Of `COLUMNS`.
        limit: Rows at most.
        size: Rows of a portion, at most.

    Yields:
        Lists of rows; a row has one text for each column.
    """
    left = limit
    for path in paths:
        file = _open(path)
        missing = set(columns) - set(file.schema_arrow.names)
        if missing:
            raise FileFormatError(
                f"{path.name} has no column {sorted(missing)[0]!r}.",
                allowed=f"Report shards have the columns {', '.join(COLUMNS)}.",
            )
        for batch in file.iter_batches(batch_size=size, columns=list(columns)):
            rows = list(zip(*(batch.column(name).to_pylist() for name in columns), strict=True))
            if left is not None:
                rows, left = rows[:left], left - min(left, len(rows))
            if rows:
                yield rows
            if left == 0:
                return


def _open(path: Path) -> pyarrow.parquet.ParquetFile:
    pa, parquet = import_pyarrow()
    try:
        return parquet.ParquetFile(path)
    except (OSError, pa.lib.ArrowException) as error:
        raise FileFormatError(
            f"{path.name} is not a readable Parquet file.", next_step="Make that shard again."
        ) from error
