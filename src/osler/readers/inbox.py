"""Many studies side by side: each entry of a folder is one study."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from osler.errors import FileFormatError, OslerError
from osler.readers.folder import find_files

_STAMP_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxStudy:
    """An entry of a folder of studies.

    Args:
        path: A file or folder for `open_study`.
        stamp: Changes when a file in it does: digest of names, sizes and times.
    """

    path: Path
    stamp: str


def list_inbox(folder: str | Path) -> tuple[InboxStudy, ...]:
    """Lists the studies of a folder, by name: each file or folder in it is one.

    Hidden entries are passed over, so that a study which is still being copied
    can wait under a name with a dot in front.

    Args:
        folder: Of many studies.

    Raises:
        FileFormatError: If it is no folder, cannot be read, or is empty.
    """
    root = Path(folder)
    try:
        entries = sorted(entry.path for entry in os.scandir(root) if not entry.name.startswith("."))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileFormatError(
            f"{str(root)!r} cannot be listed: {reason.lower()}.",
            allowed="A folder in which each file or folder is one study.",
            next_step="Check the path.",
        ) from error
    if not entries:
        raise FileFormatError(f"{str(root)!r} is empty.", allowed="A folder in which each file or folder is one study.")
    return tuple(InboxStudy(path=Path(entry), stamp=_stamp(Path(entry))) for entry in entries)


def _stamp(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        files = [blob.path for blob in find_files(path)[0]] if path.is_dir() else [path]
        for file in files:
            status = file.stat()
            digest.update(f"{file.relative_to(path.parent)} {status.st_size} {status.st_mtime_ns}\n".encode())
    except (OSError, OslerError) as error:
        digest.update(type(error).__name__.encode())
    return digest.hexdigest()[:_STAMP_DIGITS]
