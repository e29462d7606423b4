"""What a folder of shards holds: the manifest, and the journal of an unfinished run.

``manifest.json`` names the run and the versions it was made with; ``shards.jsonl``
gains a line for each shard that is on disk. When all are there, the manifest takes the
shards in and the journal goes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from osler.errors import DataError, RequestError
from osler.synth.shards import GENERATOR_VERSION, SCHEMA_VERSION, ReportRun, ShardPlan, ShardRecord, disk_error
from osler.writers.atomic import write_atomic

MANIFEST = "manifest.json"
JOURNAL = "shards.jsonl"
_KIND = "osler synthetic reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest of a run.

    Args:
        generator: Version of the code that draws and renders. schema: Of the columns.
        pyarrow: Version that wrote the files: others may write other bytes for the same rows.
    """

    run: ReportRun
    shards: tuple[ShardRecord, ...]
    state: Literal["running", "complete"]
    generator: str = GENERATOR_VERSION
    schema: str = SCHEMA_VERSION
    pyarrow: str = ""

    @property
    def rows(self) -> int:
        """Reports in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def to_json(self) -> str:
        """The file's text."""
        row = {"kind": _KIND, **asdict(self), "rows": self.rows, "bytes": self.bytes}
        return json.dumps(row, indent=1) + "\n"


def pyarrow_version() -> str:
    """Version of the installed pyarrow."""
    from osler.extras import import_extra

    return import_extra("pyarrow", extra="synth").__version__


def read_manifest(folder: Path) -> Manifest | None:
    """Reads the manifest of a folder; ``None`` if it has none.

    Raises:
        DataError: If it is damaged.
    """
    path = folder / MANIFEST
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["kind"] != _KIND:
            raise DataError(f"{str(path)!r} is not the manifest of synthetic reports.")
        return Manifest(
            run=ReportRun(**row["run"]),
            shards=tuple(ShardRecord(**shard) for shard in row["shards"]),
            **{name: row[name] for name in ("state", "generator", "schema", "pyarrow")},
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The manifest {str(path)!r} is damaged or not Osler's ({type(error).__name__}).",
            allowed="Nothing in the folder was changed.",
            next_step="Name another folder, or remove this one yourself.",
        ) from error


def claim_folder(folder: Path, *, run: ReportRun) -> tuple[ShardRecord, ...]:
    """Makes a folder ready for a run and says which shards it says it has.

    Raises:
        RequestError: If it holds other data or another run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = read_manifest(folder)
        if found is not None:
            _require_same(found, run=run, folder=folder)
            return found.shards or _read_journal(folder)
        others = [entry.name for entry in folder.iterdir() if not _is_part(entry.name)]
    except FileExistsError as error:
        raise RequestError(f"{str(folder)!r} is not a folder.", next_step="Name another folder.") from error
    except OSError as error:
        raise disk_error(folder, error) from error
    if others:
        raise RequestError(
            f"The folder {str(folder)!r} holds other data: {', '.join(sorted(others)[:3])}.",
            allowed="An empty or new folder, or one with an unfinished run of the same settings.",
            next_step="Name another folder.",
        )
    save_manifest(folder, run=run, shards=(), state="running")
    return ()


def save_manifest(
    folder: Path, *, run: ReportRun, shards: Iterable[ShardRecord], state: Literal["running", "complete"]
) -> Manifest:
    """Writes the manifest in one step."""
    ordered = tuple(sorted(shards, key=lambda shard: shard.number))
    manifest = Manifest(run=run, shards=ordered, state=state, pyarrow=pyarrow_version())
    write_atomic(folder / MANIFEST, data=manifest.to_json().encode())
    return manifest


def note_shard(folder: Path, *, record: ShardRecord) -> None:
    """Adds a finished shard to the journal, on disk when this returns."""
    try:
        with open(folder / JOURNAL, "ab") as file:
            file.write(json.dumps(asdict(record)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(folder / JOURNAL, error) from error


def is_whole(folder: Path, *, record: ShardRecord) -> bool:
    """Whether a shard on disk is, byte for byte, the one that was recorded."""
    path = folder / record.name
    try:
        if path.stat().st_size != record.bytes:
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
    except OSError:
        return False


def remove_parts(folder: Path) -> None:
    """Removes what a killed run left unfinished."""
    try:
        for entry in folder.iterdir():
            if _is_part(entry.name) and not entry.is_dir():
                entry.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error


def require_planned(claimed: Iterable[ShardRecord], *, plans: Iterable[ShardPlan], folder: Path) -> None:
    """Checks that recorded shards are shards of the run: another one would be counted, but never looked at.

    Raises:
        DataError: If one is not.
    """
    known = {(plan.number, plan.name, plan.first, plan.stop, plan.rows) for plan in plans}
    for record in claimed:
        place = (record.number, record.name, record.first_patient, record.stop_patient, record.rows)
        if place not in known or not isinstance(record.sha256, str):
            raise DataError(
                f"{str(folder)!r} has a damaged record of its shards: {record.name!r} is not of this run.",
                allowed="Nothing in the folder was changed.",
                next_step=f"Restore {MANIFEST}, or name another folder.",
            )


def _is_part(name: str) -> bool:
    return name.startswith(".osler-") and name.endswith(".part")


def _read_journal(folder: Path) -> tuple[ShardRecord, ...]:
    """Shards in the journal; a line that a crash cut short is left out."""
    try:
        lines = (folder / JOURNAL).read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    records: dict[int, ShardRecord] = {}
    for line in lines:
        try:
            record = ShardRecord(**json.loads(line))
        except (ValueError, TypeError):
            continue
        records[record.number] = record
    return tuple(records.values())


def _require_same(found: Manifest, *, run: ReportRun, folder: Path) -> None:
    there: dict[str, Any] = asdict(found.run) | {"generator": found.generator, "schema": found.schema}
    here = asdict(run) | {"generator": GENERATOR_VERSION, "schema": SCHEMA_VERSION}
    there["pyarrow"], here["pyarrow"] = found.pyarrow, pyarrow_version()
    differ = [f"{name} {there[name]} (asked: {here[name]})" for name in here if there[name] != here[name]]
    if differ:
        raise RequestError(
            f"The folder {str(folder)!r} holds another run: {', '.join(differ)}.",
            allowed="A run goes on with the same settings and versions only: its shards would not fit otherwise.",
            next_step="Name another folder.",
        )
