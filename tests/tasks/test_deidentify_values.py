"""Stand-ins are consistent, and days between dates stay."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.readers.web_address import is_uid
from osler.tasks.deidentify_values import Pseudonyms, load_secret, shifted
from osler.tasks.deidentify_words import cleaned_text

DATES = st.dates(min_value=dt.date(1900, 1, 1), max_value=dt.date(2100, 1, 1))


@given(DATES, DATES, st.text(max_size=20))
def test_days_between_dates_stay(one: dt.date, other: dt.date, patient: str) -> None:
    days = Pseudonyms(b"x" * 32).days(patient)
    assert -3650 < days <= -365
    moved = [dt.datetime.strptime(shifted(f"{day:%Y%m%d}", days=days), "%Y%m%d").date() for day in (one, other)]
    assert moved[1] - moved[0] == other - one


@given(st.from_regex(r"1\.[0-9]{1,10}(\.[1-9][0-9]{0,8}){0,4}", fullmatch=True))
def test_uids(uid: str) -> None:
    draw = Pseudonyms(b"x" * 32)
    assert is_uid(draw.uid(uid))
    assert draw.uid(uid) == draw.uid(uid) != uid
    assert draw.uid(uid) != Pseudonyms(b"y" * 32).uid(uid)


def test_uids_of_the_standard_stay() -> None:
    assert Pseudonyms(b"x" * 32).uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("20240301", "20240229"), ("2024.03.01", "20240229"), ("20240301120000.5+0100", "20240229120000.5+0100"),
        ("2024", ""), ("20241399", ""), ("unknown", ""), ("20240301 DOE", "20240229"), ("", ""), ("00010101", ""),
    ],
)  # fmt: skip
def test_shifted(text: str, result: str) -> None:
    assert shifted(text, days=-1) == result


def test_a_key_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hello")
    with pytest.raises(RequestError, match="cannot be used"):
        load_secret(tmp_path / "key", keep_out_of=tmp_path / "out")
    (tmp_path / "short").write_text("00ff")
    with pytest.raises(RequestError, match="has 2 bytes"):
        load_secret(tmp_path / "short", keep_out_of=tmp_path / "out")
    assert load_secret(None, keep_out_of=tmp_path) != load_secret(None, keep_out_of=tmp_path)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("CT Chest Quellwasser 5mm 0171-5550123", "CT Chest 5mm"),
        ("T2 FLAIR axial w/o contrast, Dr. Sturmfels", "T2 FLAIR axial w/o contrast"),
        ("KNEE RIGHT 2023-08-17", "KNEE RIGHT"),
        ("Miller King Rose", ""),
    ],
)
def test_descriptions_keep_words_that_are_known(text: str, result: str) -> None:
    assert cleaned_text(text) == result


def test_a_name_that_is_a_known_word_goes() -> None:
    assert cleaned_text("CT Head Chest", forbidden=frozenset({"head"})) == "CT Chest"
