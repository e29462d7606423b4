"""Shards of synthetic reports: Parquet files over fixed ranges of patients.

A shard depends on the run's settings and its own number alone, so any worker of any
engine writes the same bytes, in any order. It is written beside its place, flushed to
disk and renamed, so a shard is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.errors import CapacityError, RequestError
from osler.synth.draw import count_exams, draw_facts
from osler.synth.extra import import_pyarrow

pa, pq = import_pyarrow()

GENERATOR_VERSION = "4"
SCHEMA_VERSION = "1.0"
BATCH_PATIENTS = 2_048
_PLAN_PATIENTS = 1 << 19
_MOST_COUNT = 10**12
_ZSTD_LEVEL = 3
_TEXTS = ("report", "facts", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRun:
    """What a collection of reports is.

    Args:
        count: Reports in all. seed: Of the collection.
        shard_patients: Patients of a shard.
    """

    count: int
    seed: int = 0
    shard_patients: int = 65_536

    def __post_init__(self) -> None:
        _require(1 <= self.count <= _MOST_COUNT, "count of reports", self.count, f"1 to {_MOST_COUNT:,}")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2**63 - 1")
        _require(
            64 <= self.shard_patients <= 1 << 20,
            "number of patients in a shard",
            self.shard_patients,
            "64 to 1,048,576",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One shard to be written: patients from ``first`` up to ``stop``, their first ``rows`` reports."""

    number: int
    first: int
    stop: int
    rows: int

    @property
    def name(self) -> str:
        """File name."""
        return f"reports-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """A shard that was written."""

    number: int
    name: str
    first_patient: int
    stop_patient: int
    rows: int
    bytes: int
    sha256: str


def plan_shards(run: ReportRun) -> tuple[ShardPlan, ...]:
    """Divides a run into shards, so that it has exactly ``run.count`` reports."""
    plans: list[ShardPlan] = []
    left = run.count
    for first, rows in _rows_of_shards(run):
        plans.append(ShardPlan(number=len(plans), first=first, stop=first + run.shard_patients, rows=min(rows, left)))
        left -= plans[-1].rows
        if not left:
            break
    return tuple(plans)


def write_shard(plan: ShardPlan, *, run: ReportRun, folder: Path) -> ShardRecord:
    """Writes one shard in one step.

    Raises:
        CapacityError: If the disk is full.
        RequestError: If the folder cannot be written.
    """
    target = folder / plan.name
    part = folder / f".osler-{secrets.token_hex(6)}.part"
    try:
        _write_parquet(part, plan=plan, run=run)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = part.stat().st_size
        os.replace(part, target)
        _flush_folder(folder)
    except OSError as error:
        raise disk_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return ShardRecord(
        number=plan.number,
        name=plan.name,
        first_patient=plan.first,
        stop_patient=plan.stop,
        rows=plan.rows,
        bytes=size,
        sha256=digest,
    )


def shard_batches(*, seed: int, first: int, stop: int, most_rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Renders the reports of a range of patients, a few thousand patients at a time.

    Args:
        most_rows: Stop after so many reports.
    """
    left = most_rows
    for start in range(first, stop, BATCH_PATIENTS):
        batch = render_batch(seed=seed, patients=np.arange(start, min(start + BATCH_PATIENTS, stop)))
        if left is not None:
            batch = batch.slice(0, left)
            left -= batch.num_rows
        if batch.num_rows:
            yield batch
        if left == 0:
            return


def render_batch(*, seed: int, patients: np.ndarray) -> pa.RecordBatch:
    """Draws and renders all reports of some patients, with the columns of a shard."""
    from osler.synth.metadata import metadata_json
    from osler.synth.reports import LANGUAGES, STYLES, facts_json, render_texts

    table = draw_facts(seed=seed, patients=patients)
    texts, voices = render_texts(table)
    columns = {
        "patient": pa.array(table.patients.number[table.exams.patient]),
        "exam": pa.array(table.exams.number.astype(np.int16)),
        "day": pa.array(table.exams.day.astype(np.int32)),
        "language": pa.DictionaryArray.from_arrays(pa.array(voices.language.astype(np.int8)), list(LANGUAGES)),
        "style": pa.DictionaryArray.from_arrays(pa.array(voices.style.astype(np.int8)), list(STYLES)),
        "report": texts,
        "facts": facts_json(table),
        "metadata": metadata_json(table),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def disk_error(target: Path, error: OSError) -> CapacityError | RequestError:
    """What a failure to write means for the one who asked."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CapacityError(
            f"The disk is full: {str(target)!r} could not be written.",
            allowed="All shards that were finished are kept, and nothing else was changed.",
            next_step="Make room and give the same command again: it goes on from there.",
        )
    return RequestError(
        f"Cannot write {str(target)!r}: {error.strerror or type(error).__name__}.",
        allowed="The folder must be writable.",
        next_step="Name another folder.",
    )


def _write_parquet(path: Path, *, plan: ShardPlan, run: ReportRun) -> None:
    batches = shard_batches(seed=run.seed, first=plan.first, stop=plan.stop, most_rows=plan.rows)
    first = next(batches)
    schema = first.schema.with_metadata(
        {"osler.generator": GENERATOR_VERSION, "osler.schema": SCHEMA_VERSION, "osler.seed": str(run.seed)}
    )
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=["language", "style"],
        write_statistics=["patient", "exam", "day"],
        store_schema=True,
    ) as writer:
        for batch in itertools.chain([first], batches):
            writer.write_batch(batch, row_group_size=batch.num_rows)


def _rows_of_shards(run: ReportRun) -> Iterator[tuple[int, int]]:
    """First patient and number of reports of shard after shard, without end."""
    step = max(1, _PLAN_PATIENTS // run.shard_patients)
    first = 0
    while True:
        patients = np.arange(first, first + step * run.shard_patients)
        rows = count_exams(run.seed, patients).reshape(step, run.shard_patients).sum(axis=1)
        for k in range(step):
            yield first + k * run.shard_patients, int(rows[k])
        first += step * run.shard_patients


def _flush_folder(folder: Path) -> None:
    """Makes a rename outlast a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _require(right: bool, what: str, value: int, allowed: str) -> None:
    if not right:
        raise RequestError(f"The {what} is {value:,}.", allowed=f"Allowed: {allowed}.")
