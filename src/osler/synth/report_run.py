"""Runs that write many shards: what is left to do, who does it, and how it goes on after a stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osler.errors import CapacityError, DataError, RequestError
from osler.synth.engines import run_local, run_ray
from osler.synth.manifest import (
    JOURNAL,
    Manifest,
    claim_folder,
    is_whole,
    note_shard,
    remove_parts,
    require_planned,
    save_manifest,
)
from osler.synth.shards import ReportRun, ShardPlan, ShardRecord, disk_error, plan_shards

Engine = Literal["local", "ray"]
Progress = Callable[[int, int], None]
_BYTES_PER_REPORT = 400  # measured: about 300
_MOST_WORKERS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Args:
        written: Shards written now; the others were there.
        remade: Names of shards that were there but damaged, and were made again.
    """

    manifest: Manifest
    written: int
    remade: tuple[str, ...]


def write_reports(
    run: ReportRun,
    *,
    folder: Path,
    workers: int = 2,
    engine: Engine = "local",
    progress: Progress = lambda done, total: None,
) -> RunResult:
    """Writes a collection of reports into a folder, or what is missing of it.

    Args:
        workers: Processes. engine: This machine, or a Ray cluster; the bytes are the same.
        progress: Called with the reports that are there and their number in all.

    Raises:
        RequestError: If the request or the folder is at fault.
        CapacityError: If the disk is too small.
        DataError: If a damaged shard cannot be made again as it was.
    """
    _check_workers(workers, engine=engine)
    folder = Path(folder)
    require_room(run, folder=folder)
    claimed = claim_folder(folder, run=run)
    plans = plan_shards(run)
    require_planned(claimed, plans=plans, folder=folder)
    remove_parts(folder)
    whole, damaged = _sift(claimed, folder=folder)
    left = [plan for plan in plans if plan.number not in whole]
    records = dict(whole)
    done = sum(record.rows for record in records.values())
    progress(done, run.count)
    engines = {"local": run_local, "ray": run_ray}
    for record in engines[engine](left, run=run, folder=folder, workers=workers) if left else _nothing():
        _check_remade(record, damaged=damaged, folder=folder)
        note_shard(folder, record=record)
        records[record.number] = record
        done += record.rows
        progress(done, run.count)
    manifest = save_manifest(folder, run=run, shards=records.values(), state="complete")
    with suppress(FileNotFoundError):
        (folder / JOURNAL).unlink()
    remade = tuple(damaged[number].name for number in sorted(damaged))
    return RunResult(manifest=manifest, written=len(left), remade=remade)


def require_room(run: ReportRun, *, folder: Path) -> None:
    """Refuses a run that the disk cannot hold, before anything is written.

    Raises:
        CapacityError: With both numbers.
        RequestError: If the folder's name cannot be used.
    """
    needed = run.count * _BYTES_PER_REPORT
    try:
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        held = sum(entry.stat().st_size for entry in folder.glob("reports-*.parquet")) if folder.is_dir() else 0
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise disk_error(folder, error) from error
    if needed > free + held:
        raise CapacityError(
            f"{run.count:,} reports need about {needed / 1e9:,.1f} GB, but {(free + held) / 1e9:,.1f} GB are free"
            f" in {str(there)!r}.",
            allowed=f"About {int((free + held) / _BYTES_PER_REPORT):,} reports fit.",
            next_step="Ask for fewer, or name a folder on a larger disk.",
        )


def _sift(claimed: tuple[ShardRecord, ...], *, folder: Path) -> tuple[dict[int, ShardRecord], dict[int, ShardRecord]]:
    """Shards that are whole, and those that are damaged or gone."""
    whole, damaged = {}, {}
    for record in claimed:
        (whole if is_whole(folder, record=record) else damaged)[record.number] = record
    return whole, damaged


def _check_remade(record: ShardRecord, *, damaged: dict[int, ShardRecord], folder: Path) -> None:
    before = damaged.get(record.number)
    if before is not None and before.sha256 != record.sha256:
        raise DataError(
            f"The damaged shard {str(folder / record.name)!r} was made again, but is not what was recorded:"
            f" SHA-256 {record.sha256[:16]} instead of {before.sha256[:16]}.",
            allowed="The same versions of Osler, numpy and pyarrow make the same bytes.",
            next_step="Install the versions in constraints.txt and run this again.",
        )


def _check_workers(workers: int, *, engine: str) -> None:
    if not 1 <= workers <= _MOST_WORKERS:
        raise RequestError(f"The number of workers is {workers:,}.", allowed=f"Allowed: 1 to {_MOST_WORKERS:,}.")
    if engine not in ("local", "ray"):
        raise RequestError(f"Unknown engine {engine!r}.", allowed="Known: local, ray.")


def _nothing() -> Iterator[ShardRecord]:
    yield from ()


__all__ = ["Engine", "Progress", "RunResult", "ShardPlan", "require_room", "write_reports"]
