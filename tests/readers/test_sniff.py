"""Formats by content."""

from __future__ import annotations

import gzip

import pytest

from osler.readers.sniff import NOT_READ, kind_of


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (bytes(128) + b"DICM" + bytes(20), "dicom"),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "dicom"),
        (b"\x08\x00\x00\x00\x04\x00\x00\x00\x10\x01\x00\x00", "other"),
        (b"\x08\x00\x00\x00\x04\x00\x00\x00\x10\x01\x00\x00\x08\x00\x05\x00", "dicom"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"\xff\xd8\xff\xe0", "picture"),
        (b"MM\x00*", "picture"),
        (b"II+\x00", "slide"),
        (b"PK\x05\x06", "zip"),
        (gzip.compress(b"words", mtime=0), "gzip"),
        (b"\x1f\x8bgarbage", "gzip"),
        ((348).to_bytes(4, "little") + bytes(340) + b"n+1\0", "nifti"),
        ((348).to_bytes(4, "big") + bytes(340) + b"n+1\0", "nifti"),
        ((348).to_bytes(4, "little") + bytes(344), "analyze"),
        ((540).to_bytes(4, "little") + b"n+2\0" + bytes(540), "nifti"),
        (gzip.compress((348).to_bytes(4, "little") + bytes(340) + b"n+1\0", mtime=0), "nifti"),
        (b"%PDF-1.4", "pdf"),
        (b' \n{"resourceType": "Bundle"}', "json"),
        (b"NRRD0005\n", "nrrd"),
        ("Grüße\n".encode(), "text"),
        (bytes(500), "other"),
    ],
)
def test_kinds(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


def test_every_kind_that_is_not_read_has_a_reason() -> None:
    assert all(len(reason) > 10 for reason in NOT_READ.values())
