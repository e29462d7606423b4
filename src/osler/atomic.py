"""Files that are there whole or not at all.

Every file that Osler writes for a user goes through `write_atomic`: the bytes
go to a hidden file beside the target, are flushed to disk, and take the
target's name in one step. A crash, a full disk or Ctrl-C leaves the old file,
or none.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from osler.errors import RequestError

Replace = Literal["refuse", "ours", "any"]


def check_writable(
    path: str | Path, *, replace: Replace = "refuse", is_ours: Callable[[Path], bool] = lambda path: False
) -> Path:
    """Checks that a file can be written, before any costly work, and returns its real path.

    Args:
        path: The file to be written; its folder must exist.
        replace: What may be overwritten: nothing, only files that ``is_ours`` accepts, or any file.
        is_ours: Whether an existing file was written by Osler.

    Raises:
        RequestError: If the folder is absent or read-only, or something in the way must stay.
    """
    try:
        target = Path(os.path.realpath(Path(path).expanduser()))
        target.exists()  # refuses a name that is too long
    except (OSError, RuntimeError, ValueError) as error:  # the current folder is gone, no such user, a NUL, too long
        raise RequestError(
            f"The output file {str(path)!r} cannot be placed: {type(error).__name__}.",
            allowed="A path in a folder that exists.",
        ) from error
    folder = target.parent
    if not folder.is_dir():
        raise RequestError(
            f"No folder {str(folder)!r} to write {target.name!r} into.",
            allowed="The folder of an output file must exist.",
            next_step="Create it, or name another file.",
        )
    if target.exists() and not target.is_file():
        raise RequestError(
            f"{str(target)!r} is not a regular file.",
            allowed="An output must be a new file or a regular one.",
            next_step="Name another file.",
        )
    if target.exists() and not (replace == "any" or (replace == "ours" and is_ours(target))):
        kept = "which Osler did not write" if replace == "ours" else "and is kept"
        raise RequestError(
            f"{str(target)!r} exists, {kept}.",
            allowed="Only Osler's own pictures are overwritten." if replace == "ours" else "A new file name.",
            next_step="Name another file, or add --force to overwrite it.",
        )
    trial = _beside(target)
    try:
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        trial.unlink()
    except OSError as error:
        raise _cannot_write(target, error) from error
    return target


def write_atomic(path: Path, *, data: bytes) -> Path:
    """Writes a file in one step and returns its path; on any failure nothing changes.

    Args:
        path: The file, as `check_writable` returned it.
        data: Its whole contents.

    Raises:
        RequestError: If the disk is full or the folder cannot be written.
    """
    try:
        with replaced(path, part=_beside(path)) as part, open(part, "xb") as file:
            file.write(data)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


@contextlib.contextmanager
def replaced(path: Path, *, part: Path) -> Iterator[Path]:
    """Lends a temporary path; what is written there takes the place of ``path`` on success alone.

    On any error, Ctrl-C included, the temporary file is removed and the old file stays.

    Args:
        path: The file.
        part: The temporary one: absent, in the same folder.

    Raises:
        OSError: If the folder cannot be written or is full.
    """
    try:
        yield part
        # Without this a power cut can leave a full-length file of zeros under the final name.
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _beside(path: Path) -> Path:
    """A name for the unfinished file: hidden, in the same folder, so that the rename is one step."""
    return path.parent / f".osler-{secrets.token_hex(6)}.part"


def _cannot_write(path: Path, error: OSError) -> RequestError:
    return RequestError(
        f"Cannot write {str(path)!r}: {error.strerror or type(error).__name__}.",
        allowed="The folder must be writable and the disk must have room.",
        next_step="Name a file in another folder.",
    )
