"""Memory of large tensors that goes back to the system as soon as they are freed.

PyTorch asks the C library for aligned blocks. glibc places those below 32 MB
side by side in one heap and often does not find them again when a block as
large is asked for (https://sourceware.org/bugzilla/show_bug.cgi?id=14581), so
that the heap grows by weights and activations that are long gone. A block in a
mapping of its own costs the time in which the system fills its pages with
zeros: 15% of a calibration (benchmarks/quant_kernels.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MAP_FROM = -3
"""``M_MMAP_THRESHOLD`` of `mallopt`."""
_LARGE = 1 << 20
_USUAL = 32 << 20
"""Where glibc moves its threshold by itself once large blocks were freed."""


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Has the whole process allocate blocks of 1 MB and more in mappings of their own, where the C library is glibc.

    Afterwards free pages of the heap go back as well: room that was free before is used first.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MAP_FROM, _LARGE)
    try:
        yield
    finally:
        library.mallopt(_MAP_FROM, _USUAL)
        library.malloc_trim(ctypes.c_size_t(0))
