"""Pages of mapped weights are given back, and hold the same when they are read again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from osler.weights.mapped import release_mapped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system does not say what is mapped")


def resident_file_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile"))


@pytest.fixture
def mapped(tmp_path: Path) -> torch.Tensor:
    values = torch.arange(4 << 20, dtype=torch.float32)
    save_file({"before": torch.ones(10), "values": values}, tmp_path / "weights.safetensors")
    return load_file(tmp_path / "weights.safetensors")["values"]


def test_pages_are_given_back_and_read_again(mapped: torch.Tensor) -> None:
    total = float(mapped.sum())
    before = resident_file_bytes()
    released = release_mapped([mapped])
    assert mapped.nbytes - 2 * 4096 <= released <= mapped.nbytes
    assert before - resident_file_bytes() > released * 0.9
    assert float(mapped.sum()) == total


def test_what_was_written_to_is_kept(mapped: torch.Tensor) -> None:
    place = len(mapped) // 2
    mapped[5], mapped[place] = -1, -2  # on the first page, which the file's header shares, and in the middle
    assert release_mapped([mapped]) == 0
    assert (mapped[5], mapped[place]) == (-1, -2)
    assert release_mapped([mapped[: place - 4096]]) > 0
    assert (mapped[5], mapped[7]) == (-1, 7)


def test_memory_without_a_file_is_kept() -> None:
    values = torch.arange(1 << 20)
    assert release_mapped([values]) == 0
    assert int(values[-1]) == (1 << 20) - 1
