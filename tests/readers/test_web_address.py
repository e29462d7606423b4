"""Addresses of servers: what they name, what they must not hold, what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.readers.web_address import is_address, is_uid, parse_address


def test_the_parts_of_an_address() -> None:
    address = parse_address("dicomweb://pacs.local:8042/orthanc/dicom-web/studies/1.2.3/series/1.2.4")
    assert (address.url, address.study, address.series) == (
        "http://pacs.local:8042/orthanc/dicom-web",
        "1.2.3",
        "1.2.4",
    )
    assert address.shown == "dicomweb://pacs.local:8042/orthanc/dicom-web/studies/1.2.3/series/1.2.4"
    assert parse_address("dicomwebs://h/p").url == "https://h/p"
    assert parse_address("dicomweb://[::1]:80/p/").is_local
    assert parse_address(Path("dicomweb://localhost/p/studies")).url == "http://localhost/p"


def test_a_query_is_kept_and_never_shown() -> None:
    address = parse_address("dicomweb://h/p?PatientID=SECRET-1&StudyDate=20240101-")
    assert address.query == (("PatientID", "SECRET-1"), ("StudyDate", "20240101-"))
    assert "SECRET" not in address.shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dicomweb://user:word@h/p/studies/1.2", "user name or a password"),
        ("dicomweb://h/p/studies/../etc", "neither a study nor a series"),
        ("dicomweb://h/p/studies/1.2/series/x", "is no UID"),
        ("dicomweb://h/p/series/1.2", "neither a study nor a series"),
        ("dicomweb://h:99999/p", "port of the address"),
        ("dicomweb://h st/p", "names no host"),
        ("dicomweb://:80/p", "names no host"),
    ],
)
def test_bad_addresses(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        parse_address(text)
    assert "word" not in str(caught.value).replace("password", "").replace("PASSWORD", "")


def test_what_is_an_address_and_a_uid() -> None:
    assert is_address("dicomwebs://h/p")
    assert is_address("DICOMWEB://h")
    assert not is_address("folder/dicomweb://x")
    assert not is_address("scan.nii.gz")
    assert is_uid("1.2.840")
    assert not is_uid("1..2")
    assert not is_uid("../1")
    assert not is_uid("1" * 65)
    assert not is_uid("")
