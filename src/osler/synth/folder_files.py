"""Which files a patient's folder holds, with sizes and checksums, so that losses are noticed and mended.

``files.json`` is written last and lists every other file of the folder. A second run
compares them; what is missing or damaged is made again (the same facts make the same bytes).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

FILE_LIST = "files.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of a folder.

    Args:
        name: Below the folder, with slashes. size: Bytes. sha256: Of its contents.
    """

    name: str
    size: int
    sha256: str


def list_files(folder: Path) -> tuple[FileRecord, ...]:
    """Measures all files below a folder but the list itself, by name."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            inside = path.relative_to(folder).as_posix()
            if inside != FILE_LIST:
                found.append(FileRecord(name=inside, size=path.stat().st_size, sha256=_sha256(path)))
    return tuple(sorted(found, key=lambda record: record.name))


def list_to_json(records: tuple[FileRecord, ...]) -> str:
    """The text of ``files.json``: a line a file."""
    lines = [
        json.dumps({"name": record.name, "bytes": record.size, "sha256": record.sha256}, ensure_ascii=False)
        for record in records
    ]
    return '{"files": [\n' + ",\n".join(lines) + "\n]}\n"


def read_list(folder: Path) -> tuple[FileRecord, ...] | None:
    """Reads the list of a folder; ``None`` if it is gone or damaged."""
    try:
        rows = json.loads((folder / FILE_LIST).read_text(encoding="utf-8"))["files"]
        records = tuple(FileRecord(name=row["name"], size=row["bytes"], sha256=row["sha256"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return records if all(_is_inside(record.name) for record in records) else None


def broken_files(folder: Path, *, records: tuple[FileRecord, ...]) -> tuple[str, ...]:
    """Names of the listed files that are missing or differ. Sizes are compared first, then contents."""
    return tuple(record.name for record in records if not _is_whole(folder / record.name, record=record))


def differing_files(folder: Path, *, fresh: Path) -> tuple[str, ...]:
    """Names of the files of a fresh folder that another one lacks or has otherwise."""
    return broken_files(folder, records=list_files(fresh))


def _is_inside(name: object) -> bool:
    """A list that somebody changed must not lead out of the folder."""
    return isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _is_whole(path: Path, *, record: FileRecord) -> bool:
    try:
        return path.stat().st_size == record.size and _sha256(path) == record.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
