"""What large tensors took is not resident once they are freed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)


def own_bytes() -> int:
    """Resident memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


_ROOT = Path(__file__).parents[2]

_MEASURE = """
import torch
from osler.quant.large_blocks import large_blocks_apart
from tests.quant.test_large_blocks import left_by_large_tensors

torch.ones(6 << 20)  # 24 MB, once freed: glibc keeps smaller blocks in its heap from here on
with large_blocks_apart():
    print(left_by_large_tensors())
print(left_by_large_tensors())
"""


def left_by_large_tensors() -> int:
    """Bytes that stay resident after 64 tensors of 2 MB, with small ones between them that are kept."""
    before, kept = own_bytes(), []
    large = []
    for _ in range(64):
        large.append(torch.ones(1 << 19))
        kept.append(torch.ones(1 << 8))
    del large
    return own_bytes() - before


@needs_glibc
def test_freed_tensors_go_back_to_the_system() -> None:
    # In a process of its own, whose heap has no room yet.
    command = [sys.executable, "-c", _MEASURE]
    ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=120, check=True)
    apart, in_heap = map(int, ended.stdout.split())
    assert apart < 8 << 20
    assert in_heap > 64 << 20, "this C library gives freed blocks back by itself"
