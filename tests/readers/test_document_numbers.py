from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.readers.document_numbers import Comma, comma_of, read_number, read_range


@pytest.mark.parametrize(
    ("text", "comma", "value", "comparator"),
    [
        ("13.2", "unknown", 13.2, ""),
        ("13,2", "unknown", 13.2, ""),
        ("<0,3", "unknown", 0.3, "<"),
        ("≥ 60", "unknown", 60.0, ">="),
        ("1,234", "thousands", 1234.0, ""),
        ("1.234", "decimal", 1234.0, ""),
        ("1.234", "unknown", 1.234, ""),
        ("0,123", "thousands", 0.123, ""),
        ("1.234.567,8", "unknown", 1234567.8, ""),
        ("1,234.5", "unknown", 1234.5, ""),
        ("1'234", "unknown", 1234.0, ""),
        ("−2.1", "unknown", -2.1, ""),
    ],
)
def test_numbers(text: str, comma: Comma, value: float, comparator: str) -> None:
    number = read_number(text, comma=comma)
    assert number is not None
    assert (number.value, number.comparator) == (value, comparator)


@pytest.mark.parametrize("text", ["1,234", "l3.4", "O.5", "13.2.1", "", "12-15", "1,2,3", "13 .2", "L0948711", "∞"])
def test_what_is_no_sure_number(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("12.0 - 15.5", 12.0, 15.5),
        ("(12,0–15,5)", 12.0, 15.5),
        ("<= 5.0", None, 5.0),
        (">60", 60.0, None),
        ("bis 35", None, 35.0),
        ("up to 5", None, 5.0),
        ("0.27 bis 4.2", 0.27, 4.2),
        ("1.8:7.7", 1.8, 7.7),  # a speck above the dash
        ("4,0 ÷ 11,0", 4.0, 11.0),
    ],
)
def test_ranges(text: str, low: float | None, high: float | None) -> None:
    found = read_range(text)
    assert found is not None
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize(
    "text", ["15.5 - 12.0", "718-7", "12.0", "- 5", "70 - 99 174", "x - y", "10:30", "1:40", "1.5:40"]
)
def test_what_is_no_range(text: str) -> None:
    assert read_range(text) is None


@given(st.floats(0, 1e5, allow_nan=False), st.integers(0, 3), st.sampled_from([".", ","]))
def test_a_printed_number_reads_back(value: float, decimals: int, sign: str) -> None:
    printed = f"{value:.{decimals}f}"
    comma: Comma = "thousands" if sign == "." else "decimal"
    number = read_number(printed.replace(".", sign), comma=comma)
    assert number is not None
    assert number.value == float(printed)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_number(text)
    read_range(text)
    comma_of(text)
