from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.readers.document_dates import date_order, find_dates


@pytest.mark.parametrize(
    "text",
    ["2021-02-03", "3.2.2021", "03.02.21", "3 Feb 2021", "3. Februar 2021", "Feb 3, 2021", "3-Feb-2021", "03 FEB 2021"],
)
def test_forms(text: str) -> None:
    assert [date for _, _, date in find_dates(f"on {text}, 07:10")] == [dt.date(2021, 2, 3)]


def test_slashes_need_to_be_certain() -> None:
    assert find_dates("03/04/2020") == []
    assert find_dates("03/14/2020")[0][2] == dt.date(2020, 3, 14)
    assert find_dates("03/04/2020", order="day first")[0][2] == dt.date(2020, 4, 3)
    assert date_order("01/02/2020 and 14/02/2020") == "day first"
    assert date_order("01/02/2020") == "unknown"


@pytest.mark.parametrize("text", ["30.02.2021", "1.2.3.4", "12.05", "2021-13-01", "718-7", "4.0 - 11.0"])
def test_what_is_no_date(text: str) -> None:
    assert find_dates(text) == []


@given(st.dates(dt.date(1970, 1, 1), dt.date(2069, 12, 31)))
def test_written_dates_read_back(date: dt.date) -> None:
    for text in (f"{date:%d.%m.%Y}", f"{date:%d.%m.%y}", f"{date.day} {date:%b %Y}", date.isoformat()):
        assert [found for _, _, found in find_dates(text)] == [date]
