"""Features and read prefixes of studies on disk, so that a study is encoded once and asked many times.

An entry is one safetensors file, named by a hash of everything that decides
its numbers: pixels, weights, preprocessing contract, precision and the kernels
of this machine. It holds a checksum of its tensors; one that does not match is
removed and made again. Files appear whole or not at all and are only ever
replaced by equal ones, so several processes may share a folder. The entries
that were not used for longest go first.

What is kept stands for a patient's images: the folder is readable by its owner
only, and ``osler cache --clear`` empties it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from osler.errors import RequestError
from osler.weights.cache import cache_folder, whole_path

Kind = Literal["features", "prefix"]
Tensors = dict[str, torch.Tensor]

MOST_BYTES = 8 << 30
"""Bytes of all entries together, unless ``OSLER_STUDY_CACHE_GB`` says otherwise."""

_VERSION = "1"
_SPARE_DISK = 1 << 30
_UNLISTED_SHARE = 16
"""One part in so many of the limit is written before the folder is listed again: so far may each process go past it."""
_STALE_SECONDS = 3600.0
_CHECKSUM = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One file of the cache.

    Args:
        path: The file. kind: What it holds.
        bytes: On disk.
        used: When it was last read or written, seconds since the epoch.
    """

    path: Path
    kind: str
    bytes: int
    used: float


class StudyCache:
    """Tensors on disk, found again by their key.

    Nothing here fails a request: where the folder cannot be read or written,
    the work is done again and `take_notes` says why.

    Args:
        folder: Created when something is first kept.
        fingerprint: Of weights, contract, precision and kernels; see `osler.engine.fingerprint`.
        most_bytes: Of all entries together.
    """

    def __init__(self, folder: Path, *, fingerprint: str = "", most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.most_bytes = most_bytes
        self._writable = True
        self._unlisted_room = 0
        self._notes: list[str] = []

    def get(self, kind: Kind, *, content: str) -> Tensors | None:
        """Returns the tensors of an entry, mapped from disk, or ``None`` where there is none that is whole.

        Args:
            kind: What is looked for.
            content: Digest of what it was computed from: an image, or a prompt with its images.
        """
        key = self._key(kind, content=content)
        path = self._path(kind, key=key)
        try:
            tensors = _read(path, key=key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._note(f"The study cache {str(self.folder)!r} cannot be read: {error.strerror}.")
            return None
        except (SafetensorError, ValueError):
            self._note("An entry of the study cache was damaged and is made again.")
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return tensors

    def put(self, kind: Kind, *, content: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keeps tensors, and removes what was not used for longest if there is no room.

        Args:
            kind: What they are. content: See `get`.
            tensors: In any layout, on any device.
        """
        size = sum(tensor.nbytes for tensor in tensors.values())
        if not self._writable or size > self.most_bytes:
            return
        key = self._key(kind, content=content)
        path = self._path(kind, key=key)
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {_CHECKSUM: _checksum(plain), "key": key, "version": _VERSION}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            if size > self._unlisted_room:
                self._evict(room=size)
            if shutil.disk_usage(self.folder).free < size + _SPARE_DISK:
                self._give_up("the disk is nearly full")
                return
            with whole_path(path) as part:
                save_file(plain, part, metadata=metadata)
            self._unlisted_room -= size
        except (OSError, SafetensorError) as error:
            self._give_up(getattr(error, "strerror", None) or type(error).__name__)

    def entries(self) -> tuple[CacheEntry, ...]:
        """Lists what is kept, the least recently used first."""
        return tuple(sorted(self._found(), key=lambda entry: entry.used))

    def clear(self) -> tuple[int, int]:
        """Removes every entry; returns how many there were and their bytes.

        Raises:
            RequestError: If some cannot be removed.
        """
        removed = [entry for entry in self._found() if _unlink(entry.path)]
        left = [entry for entry in self._found() if entry not in removed]
        if left:
            raise RequestError(
                f"{len(left)} entries of the study cache {str(self.folder)!r} cannot be removed.",
                next_step="Check the permissions of the folder, or delete it.",
            )
        return len(removed), sum(entry.bytes for entry in removed)

    def take_notes(self) -> tuple[str, ...]:
        """Returns what the user should know, once."""
        notes, self._notes = tuple(dict.fromkeys(self._notes)), []
        return notes

    def _key(self, kind: Kind, *, content: str) -> str:
        return hashlib.sha256(f"{_VERSION} {kind} {self.fingerprint} {content}".encode()).hexdigest()

    def _path(self, kind: Kind, *, key: str) -> Path:
        return self.folder / f"{kind}-{key}.safetensors"

    def _found(self) -> Iterator[CacheEntry]:
        for path in self.folder.glob("*.safetensors"):
            kind = path.name.partition("-")[0]
            with contextlib.suppress(OSError):
                status = path.stat()
                yield CacheEntry(path=path, kind=kind, bytes=status.st_size, used=status.st_mtime)

    def _evict(self, *, room: int) -> None:
        """Lists the folder, which other processes fill as well, and removes the oldest entries if it lacks room.

        What is removed leaves room for the next ones, too, and so do parts that a killed process left behind.
        """
        for part in self.folder.glob(".*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                    part.unlink()
        entries = self.entries()
        held = sum(entry.bytes for entry in entries)
        share = self.most_bytes // _UNLISTED_SHARE
        most = self.most_bytes if held + room <= self.most_bytes else self.most_bytes - share
        for entry in entries:
            if held + room <= most:
                break
            _unlink(entry.path)
            held -= entry.bytes
        self._unlisted_room = min(share, self.most_bytes - held)

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def _give_up(self, reason: str) -> None:
        """Keeps nothing more in this session."""
        self._writable = False
        self._note(
            f"The study cache {str(self.folder)!r} cannot be written ({reason.lower()}): "
            "this study will be encoded again next time."
        )


def open_study_cache(*, fingerprint: str = "") -> StudyCache | None:
    """Opens the user's study cache as the environment says; ``None`` if it is off.

    ``OSLER_STUDY_CACHE``: a folder, or ``off``; by default ``studies`` in the cache folder.
    ``OSLER_STUDY_CACHE_GB``: its limit in GB.

    Raises:
        RequestError: If the limit is not a number above 0.
    """
    place = os.environ.get("OSLER_STUDY_CACHE", "")
    if place.lower() in ("off", "0", "no"):
        return None
    folder = Path(place).expanduser() if place else cache_folder() / "studies"
    return StudyCache(folder, fingerprint=fingerprint, most_bytes=_limit(os.environ.get("OSLER_STUDY_CACHE_GB", "")))


def _limit(stated: str) -> int:
    if not stated:
        return MOST_BYTES
    try:
        gigabytes = float(stated)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise RequestError(
            f"OSLER_STUDY_CACHE_GB is {stated!r}.",
            allowed="A number of GB above 0.",
            next_step="To keep nothing on disk, set OSLER_STUDY_CACHE=off.",
        )
    return int(gigabytes * 1e9)


def _read(path: Path, *, key: str) -> Tensors:
    """Maps an entry and checks it.

    Raises:
        OSError: If it cannot be read. SafetensorError: If it is truncated.
        ValueError: If its tensors are not those that were written.
    """
    with path.open("rb"):
        pass  # safetensors reports an absent file and one without permission alike
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if metadata.get("key") != key or metadata.get(_CHECKSUM) != _checksum(tensors):
        raise ValueError("damaged")
    return tensors


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(_VERSION.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
