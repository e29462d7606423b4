"""Giving back the memory of weights that lie in mapped files and are not needed for a while.

The pages stay in the system's cache of the file, so that the next use finds
them again in moments; until then the process does not hold them.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

_MAPPINGS = Path("/proc/self/smaps")
_DONT_NEED = 4
"""Of `madvise`, on Linux."""


def release_mapped(tensors: Iterable[Tensor]) -> int:
    """Gives back the pages of tensors that lie in mapped files; what they hold does not change.

    Only on Linux, and only in mappings of which no page was written to: those
    are the file's own.

    Returns:
        Bytes that were given back, 0 where the system does not say what is mapped.
    """
    if sys.platform != "linux":
        return 0
    files = list(_unchanged_files())
    released = 0
    for start, end in _joined(tensors):
        # A page that other tensors share stays.
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        inside = any(low <= first and last <= high for low, high in files)
        if inside and last > first and _madvise(first, last - first):
            released += last - first
    return released


def _joined(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Addresses from and to, neighbours as one."""
    places = ((tensor.data_ptr(), tensor.nbytes) for tensor in tensors if tensor.is_contiguous())
    spans = sorted((place, place + size) for place, size in places)
    start = end = 0
    for low, high in spans:
        if low > end:
            if end > start:
                yield start, end
            start = low
        end = max(end, high)
    if end > start:
        yield start, end


def _unchanged_files() -> Iterator[tuple[int, int]]:
    """Addresses of mapped files without a page of this process's own."""
    try:
        lines = _MAPPINGS.read_text().splitlines()
    except OSError:
        return
    span: tuple[int, int] | None = None
    for line in lines:
        words = line.split()
        if not words[0].endswith(":"):
            low, high = (int(word, 16) for word in words[0].split("-"))
            span = (low, high) if words[4] != "0" else None
        elif words[0] == "Anonymous:" and span is not None and words[1] == "0":
            yield span


def _madvise(start: int, size: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc.madvise(start, size, _DONT_NEED) == 0
