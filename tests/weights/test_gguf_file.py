"""GGUF files as written by the reference package, and files that are not GGUF."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from osler.errors import CheckpointError
from osler.weights.gguf_file import GgufFile, read_gguf


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "gemma3")
    writer.add_uint32("a.number", 7)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.flag", True)
    writer.add_string("a.text", "Ödem 🫁")
    writer.add_array("a.names", ["x", "", "yz"])
    writer.add_array("a.counts", [1, -2, 3])
    values = np.random.default_rng(3).standard_normal((6, 64)).astype(np.float32)
    writer.add_tensor("plain", values)
    writer.add_tensor("half", values.astype(np.float16))
    writer.add_tensor("packed", quantize(values, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata_and_tensors_are_read(written: Path) -> None:
    file = read_gguf(written)
    assert file.value("a.number") == 7
    assert file.value("a.float") == 0.5
    assert file.value("a.flag") is True
    assert file.value("a.text") == "Ödem 🫁"
    assert file.value("a.names") == ["x", "", "yz"]
    assert list(file.value("a.counts")) == [1, -2, 3]
    values = np.random.default_rng(3).standard_normal((6, 64)).astype(np.float32)
    assert torch.equal(file.read("plain", dtype=torch.float32), torch.from_numpy(values))
    assert torch.equal(file.read("half", dtype=torch.float32), torch.from_numpy(values.astype(np.float16)).float())
    assert (file.read("packed", dtype=torch.float32) - torch.from_numpy(values)).abs().max() < 0.02
    assert file.tensor("packed").shape == (6, 64)


def test_an_unknown_key_or_tensor_is_named(written: Path) -> None:
    file = read_gguf(written)
    with pytest.raises(CheckpointError, match=r"lacks the metadata key 'a\.missing'"):
        file.value("a.missing")
    with pytest.raises(CheckpointError, match="has no tensor 'absent'"):
        file.read("absent", dtype=torch.float32)


def test_every_truncation_is_refused(written: Path) -> None:
    whole = written.read_bytes()
    for size in [*range(4, 400, 7), len(whole) - 40, len(whole) - 9]:
        written.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            read_gguf(written)


def test_flipped_header_bytes_never_escape_as_another_error(written: Path) -> None:
    whole = bytearray(written.read_bytes())
    random = np.random.default_rng(5)
    for at in random.choice(600, 150, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= int(random.integers(1, 256))
        written.write_bytes(damaged)
        with suppress(CheckpointError):
            assert isinstance(read_gguf(written), GgufFile)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Cannot open"),
        (b"PK\x03\x04 some zip", "is not a GGUF file: it starts with"),
        (b"GGUF" + struct.pack("<I", 1), "is GGUF version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "is GGUF version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "truncated or damaged"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 4, 2**62),
            "damaged",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**62),
            "damaged",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_gguf(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Cannot open '.*absent\.gguf'"):
        read_gguf(tmp_path / "absent.gguf")


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "iq.gguf"
    info = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 256, 16, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + info + bytes(512))
    with pytest.raises(CheckpointError, match=r"format number 16.*Formats read: F32, F16, Q4_0"):
        read_gguf(path)


def test_the_embedded_file_is_what_it_should_be(embedded: GgufFile) -> None:
    assert len(embedded.tensors) == 236
    assert len(embedded.value("tokenizer.ggml.tokens")) == 262_144
    assert {tensor.format.name for tensor in embedded.tensors.values()} == {"F32", "Q4_K", "Q5_0", "Q6_K", "Q8_0"}
