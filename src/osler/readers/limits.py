"""Bounds on what a file may ask of the machine, checked before memory is spent.

A header is only a claim. Osler compares it with the length of the file, with
what compression can do at most, and with the memory that is free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from osler.errors import CapacityError, FileFormatError

# Deflate cannot pack more than about 1032 bytes into one.
DEFLATE_BOUND = 1032
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What `open_study` accepts.

    Args:
        files: Most files in one folder or archive.
        depth: Most folders inside each other.
        array_bytes: Largest decoded series, in bytes.
        archive_bytes: Largest unpacked archive, in bytes.
        archive_ratio: Most bytes unpacked per byte packed, for archives that unpack to
            more than `archive_ratio_from` bytes.
        archive_ratio_from: See `archive_ratio`.
        picture_pixels: Most pixels in one picture.
        record_bytes: Largest FHIR file, unpacked.
        record_line: Longest line of NDJSON.
        record_entries: Most resources in one FHIR file.
    """

    files: int = 500_000
    depth: int = 64
    array_bytes: int = 64 * 2**30
    archive_bytes: int = 64 * 2**30
    archive_ratio: int = 100
    archive_ratio_from: int = 256 * 2**20
    picture_pixels: int = 150_000_000
    record_bytes: int = 2**30
    record_line: int = 64 * 2**20
    record_entries: int = 5_000_000


LIMITS = Limits()


def sized(count: float) -> str:
    """Writes a number of bytes for people: ``"1.5 GiB"``."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if count < 1024 or unit == "EiB":
            break
        count /= 1024
    return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"


def check_shape(name: str, *, shape: Sequence[int], item_bytes: int, limits: Limits = LIMITS) -> int:
    """Checks the size that a header claims and returns the bytes it needs.

    Args:
        name: The file.
        shape: Length of each axis.
        item_bytes: Bytes of one voxel as stored.
        limits: The bounds.

    Raises:
        FileFormatError: If an axis is empty or negative, or the whole is absurdly large.
    """
    text = " x ".join(str(length) for length in shape)
    if not shape or any(length < 1 for length in shape):
        raise FileFormatError(
            f"{name}: the header says {text or 'no'} voxels.",
            allowed="Every axis needs at least one.",
            next_step="Export the file again from where it came.",
        )
    need = math.prod(int(length) for length in shape) * item_bytes
    if need > limits.array_bytes:
        raise FileFormatError(
            f"{name}: the header says {text} voxels of {item_bytes} bytes, which is {sized(need)}.",
            allowed=f"At most {sized(limits.array_bytes)} are read.",
            next_step="The header is probably damaged: export the file again.",
        )
    return need


def check_length(name: str, *, need: int, have: int, what: str = "pixel data") -> None:
    """Checks that a file is as long as its header says.

    Raises:
        FileFormatError: If bytes are missing.
    """
    if have < need:
        raise FileFormatError(
            f"{name} is truncated: {need:,} bytes of {what} are announced and {max(have, 0):,} are there.",
            next_step="Copy or export the file again.",
        )


def check_memory(name: str, *, need: int) -> None:
    """Checks that an array fits into the memory that is free now.

    Raises:
        CapacityError: If it does not.
    """
    free = available_memory()
    if need > free:
        raise CapacityError(
            f"{name} needs {sized(need)} of memory.",
            allowed=f"{sized(free)} are free.",
            next_step="Read fewer slices at a time, close other programs, or use a larger machine.",
        )


def available_memory() -> int:
    """Measures the free memory of this machine or container, bytes."""
    free = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        cached = _inactive_file()
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(int(limit) - used + cached, 0))


def _inactive_file() -> int:
    """File pages that the container can give back, bytes."""
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
