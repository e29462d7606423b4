"""FHIR files as bytes: what is damaged, hostile or odd is refused clearly, in bounded time and memory."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from osler.errors import FileFormatError, OslerError, UnsupportedError
from osler.readers.blob import DiskBlob
from osler.readers.fhir_json import read_resources
from osler.readers.limits import Limits
from tests.readers.make_fhir import bundle, observation, patient


def read(path: Path, data: bytes, **limits: int) -> list[str]:
    path.write_bytes(data)
    return [entry for entry, _resource in read_resources(DiskBlob(path, len(data)), limits=Limits(**limits)).found]


def lines(*values: object) -> bytes:
    return "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values).encode()


GOOD = json.dumps(bundle(patient(), observation(identity="o1"))).encode()
ENTRIES = ["Patient/pat-1", "Observation/o1"]


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        gzip.compress(GOOD, mtime=0),
        lines(patient(), observation(identity="o1")),
        lines(patient(), "", observation(identity="o1"), ""),
        gzip.compress(lines(patient(), observation(identity="o1")), mtime=0),
        json.dumps([patient(), observation(identity="o1")]).encode(),
        json.dumps(bundle(patient(), bundle(observation(identity="o1"))), indent=1).encode(),
    ],
    ids=["bundle", "bom", "utf-16", "gzip", "ndjson", "blank lines", "ndjson gzip", "list", "nested bundle"],
)
def test_ways_to_write_a_record(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "record", data) == ENTRIES


def test_broken_lines_and_entries_do_not_stop_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(lines(patient(), '{"resourceType": "Obs', "nonsense", "[]", observation(identity="o1")))
    found = read_resources(DiskBlob(path, path.stat().st_size))
    assert [entry for entry, _ in found.found] == ENTRIES
    assert found.broken == {("line", "it is no FHIR resource in JSON"): 3}
    record = bundle(patient(), observation(identity="o1"))
    record["entry"] += [None, {}, {"resource": 7}, {"resource": {"id": "x"}}]
    path.write_text(json.dumps(record))
    found = read_resources(DiskBlob(path, path.stat().st_size))
    assert [entry for entry, _ in found.found] == ENTRIES
    assert sum(found.broken.values()) == 4


def test_a_first_line_that_is_broken_does_not_stop_the_rest(tmp_path: Path) -> None:
    assert read(tmp_path / "r", lines('{"resourceType": ,}', patient(), observation(identity="o1"))) == ENTRIES


def test_a_key_that_stands_twice_makes_its_entry_ambiguous(tmp_path: Path) -> None:
    twice = json.dumps(observation(identity="o2")).replace('"value": 1.4', '"value": 1.4, "value": 14.0')
    path = tmp_path / "record"
    path.write_bytes(lines(patient(), observation(identity="o1"), twice))
    found = read_resources(DiskBlob(path, path.stat().st_size))
    assert [entry for entry, _ in found.found] == ENTRIES
    assert found.broken == {("Observation", "a key stands twice in it, with different values or not"): 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"resourceType": "Bundle", "entry": [', r"damaged JSON \(line 1, column 38"),
        (GOOD[:-30], "damaged JSON"),
        (b'{"resourceType": "Patient", "name": "\xff\xfe"}', r"not UTF-8 text \(byte 37\)"),
        (b'{"resourceType": ' + b"[" * 200_000, "damaged JSON|nested hundreds of levels deep"),
        (b'{"resourceType": "X", "a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested hundreds of levels deep"),
        (b'{"resourceType": "X", "a": ' + b"9" * 10_000 + b"}", "a number of thousands of digits"),
        (gzip.compress(GOOD, mtime=0)[:60], "its gzip is damaged"),
        (gzip.compress(GOOD, mtime=0)[:-4] + b"abcd", "its gzip is damaged"),
    ],
)
def test_a_file_that_is_broken_as_a_whole(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(tmp_path / "record", data)


@pytest.mark.parametrize("data", [b'{"a": 1}', b"[]", b"[1, 2]", b'{"resourceType": 7}', b"3"])
def test_json_that_is_no_fhir(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="a JSON document, but no FHIR record"):
        read(tmp_path / "record", data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b" " * 3_000_000, mtime=0), "unpacks to more than 1.0 MiB"),
        (b'{"resourceType": "X", "a": [' + b"0," * 1_000_000 + b"0]}", "unpacks to more than 1.0 MiB"),
        (lines(*[patient() | {"note": "x" * 2000}] * 600), "unpacks to more than 1.0 MiB"),
        (lines(patient(), '{"resourceType": "X", "a": "' + "x" * 200_000 + '"}'), "longer than 97.7 KiB"),
        (lines(*[{"resourceType": "X"}] * 1200), "more than 1,000 entries"),
    ],
    ids=["gzip bomb", "array", "many lines", "long line", "many entries"],
)
def test_size_is_bounded(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(tmp_path / "record", data, record_bytes=2**20, record_line=100_000, record_entries=1000)


def test_a_gzip_bomb_costs_what_the_limit_allows(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"[" + b"0," * 50_000_000, mtime=0))
    limits = Limits(record_bytes=2**20)
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(OslerError):
        read_resources(DiskBlob(path, path.stat().st_size), limits=limits)
    assert time.perf_counter() - started < 5
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()


def test_bytes_cut_or_changed_anywhere_never_give_a_library_error(tmp_path: Path) -> None:
    for cut in range(0, len(GOOD), 17):
        for data in (GOOD[:cut], GOOD[:cut] + b"\x00" + GOOD[cut + 1 :], GOOD[:cut] + b"\xff" + GOOD[cut + 1 :]):
            with suppress(OslerError):
                read(tmp_path / "record", data)
