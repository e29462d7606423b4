"""Named bytes: a file on disk or a member of an archive, opened when needed."""

from __future__ import annotations

import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast


class Blob(Protocol):
    """Something that can be opened for reading, any number of times, from any thread."""

    @property
    def name(self) -> str:
        """How the user would call it; ``archive.zip!member`` inside an archive."""
        ...

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    def open(self) -> BinaryIO:
        """Opens for reading; the caller closes."""
        ...

    def address(self) -> tuple[str, str]:
        """``(path, member)`` for another process; the member is empty for a plain file."""
        ...


@dataclass(frozen=True, slots=True)
class DiskBlob:
    """A file on disk."""

    path: Path
    size: int

    @property
    def name(self) -> str:
        """The path as the user gave it or as it was found below it."""
        return str(self.path)

    def open(self) -> BinaryIO:
        """Opens the file."""
        return self.path.open("rb")

    def address(self) -> tuple[str, str]:
        """The path."""
        return str(self.path), ""


class ZipHandle:
    """One archive, opened at first use and shared by its members and by threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None

    def get(self) -> zipfile.ZipFile:
        """Returns the open archive; reading several members at once is safe."""
        with self._lock:
            if self._zip is None:
                self._zip = zipfile.ZipFile(self.path)
            return self._zip

    def __reduce__(self) -> tuple[type[ZipHandle], tuple[Path]]:
        # A study may be sent to a data-loading process: each opens its own archive.
        return ZipHandle, (self.path,)


@dataclass(frozen=True, slots=True)
class ZipBlob:
    """A member of a ZIP archive, read in memory and never unpacked to disk."""

    archive: ZipHandle
    member: str
    size: int

    @property
    def name(self) -> str:
        """``archive.zip!member``."""
        return f"{self.archive.path}!{self.member}"

    def open(self) -> BinaryIO:
        """Opens the member as a stream."""
        return cast(BinaryIO, self.archive.get().open(self.member))

    def address(self) -> tuple[str, str]:
        """The archive's path and the member's name."""
        return str(self.archive.path), self.member


def blob_at(path: str, *, member: str = "", archives: dict[str, ZipHandle] | None = None) -> Blob:
    """Makes a blob again from its `Blob.address`.

    Args:
        path: Of the file or the archive. member: Within the archive.
        archives: Archives that are open already; new ones are added, so that each is opened once.
    """
    place = Path(path)
    if not member:
        return DiskBlob(place, place.stat().st_size)
    known = {} if archives is None else archives
    handle = known.setdefault(path, ZipHandle(place))
    return ZipBlob(handle, member, handle.get().getinfo(member).file_size)
