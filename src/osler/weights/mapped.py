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

import numpy as np
from torch import Tensor

_PAGES = Path("/proc/self/pagemap")
"""Eight bytes for each page of this process; Linux, Documentation/admin-guide/mm/pagemap.rst."""
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61
_DONT_NEED = 4
"""Of `madvise`, on Linux."""


def release_mapped(tensors: Iterable[Tensor]) -> int:
    """Gives back the pages of tensors that lie in mapped files; what they hold does not change.

    Only on Linux, and only where no page was written to: those are the file's own.

    Returns:
        Bytes that were given back, 0 where the system does not say which pages are a file's.
    """
    if sys.platform != "linux":
        return 0
    released = 0
    for start, end in _joined(tensors):
        # A page that other tensors share stays.
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first and _unchanged(first, last) and _madvise(first, last - first):
            released += last - first
    return released


def _joined(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Addresses from and to, neighbours as one."""
    places = ((tensor.data_ptr(), tensor.nbytes) for tensor in tensors if _addressed(tensor))
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


def _addressed(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.is_contiguous()


def _unchanged(start: int, end: int) -> bool:
    """Whether no page between two addresses, multiples of a page, is this process's own."""
    try:
        with _PAGES.open("rb", buffering=0) as pages:
            pages.seek(start // mmap.PAGESIZE * 8)
            found = pages.read((end - start) // mmap.PAGESIZE * 8)
    except OSError:
        return False
    page = np.frombuffer(found, np.uint64)
    own = (page & _SWAPPED != 0) | ((page & _PRESENT != 0) & (page & _OF_FILE == 0))
    return len(page) == (end - start) // mmap.PAGESIZE and not bool(own.any())


def _madvise(start: int, size: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc.madvise(start, size, _DONT_NEED) == 0
