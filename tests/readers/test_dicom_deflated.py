"""Deflated files: real ones pass, bombs are refused before they are unpacked."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

from osler.errors import CapacityError, FileFormatError
from osler.readers import limits, open_study
from tests.readers.make_dicom import base_dataset, ramp, save

REAL = Path(get_testdata_file("image_dfl.dcm"))


def _bomb(path: Path, *, size: int) -> Path:
    """A small image, and behind it zeros without end."""
    ds = base_dataset(ramp(1)[0])
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    raw = save(ds, path).read_bytes()
    start = 132 + 12 + int.from_bytes(raw[140:144], "little")
    plain = zlib.decompress(raw[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(plain)
    for _ in range(size >> 20):
        packed += packer.compress(bytes(1 << 20))
    path.write_bytes(raw[:start] + packed + packer.flush())
    return path


def test_a_real_one_opens() -> None:
    (image,) = open_study(REAL).images()
    assert image.read().shape == (512, 512)


def test_a_bomb_is_refused_with_its_size_and_never_held(tmp_path: Path) -> None:
    path = _bomb(tmp_path / "bomb.dcm", size=300 << 20)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(
            FileFormatError, match=r"bomb\.dcm would unpack from .* to 300\.\d MiB or more, like a bomb"
        ):
            open_study(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_one_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _bomb(tmp_path / "large.dcm", size=8 << 20)
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 20))
    with pytest.raises(CapacityError, match=r"large\.dcm needs 8\.\d MiB of memory"):
        open_study(path)


def test_without_the_length_of_its_meta_information(tmp_path: Path) -> None:
    raw = bytearray(REAL.read_bytes())
    raw[132:144] = b"\x02\x00\x02\x00UL\x04\x00" + raw[140:144]
    (tmp_path / "a.dcm").write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"a\.dcm is deflated, and the length of its file meta information"):
        open_study(tmp_path / "a.dcm")
