"""Files written one tensor at a time, read back by the library."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError
from osler.quant.stream_file import file_digest, file_probe, write_stream
from osler.weights.safetensors_io import read_safetensors

TENSORS = {
    "codes": torch.arange(48, dtype=torch.uint8).view(3, 16),
    "scale": torch.rand(5).half(),
    "norm": torch.rand(2, 2).bfloat16(),
    "bias": torch.rand(3),
}
PLACES = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in TENSORS.items()}


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    digest = write_stream(path, places=PLACES, metadata={"plan": "é"}, tensors=lambda: iter(TENSORS.values()))
    file = read_safetensors(path)
    assert file.metadata == {"plan": "é"}
    assert file.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(file.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert digest == file_digest(path) == sha256(path.read_bytes()).hexdigest()
    # Tensors start on a cache line.
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield TENSORS["codes"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_stream(tmp_path / "w.safetensors", places=PLACES, metadata={}, tensors=broken)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"Cannot write .*w\.safetensors"):
        write_stream(tmp_path / "file" / "w.safetensors", places={}, metadata={}, tensors=lambda: iter(()))


def test_the_probe_notices_size_header_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_stream(path, places=PLACES, metadata={}, tensors=lambda: iter(TENSORS.values()))
    whole, content = file_probe(path), path.read_bytes()
    for changed in (content[:-1], content[:10] + b"x" + content[11:], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(changed)
        assert file_probe(path) != whole
