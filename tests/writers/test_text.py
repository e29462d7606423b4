"""Answers as text for a terminal."""

from __future__ import annotations

import pytest

from osler.writers.text import SAFETY_NOTE, format_answer, format_evidence, printable, slice_ranges
from tests.writers.answers import full_answer, least_answer


@pytest.mark.parametrize(
    ("slices", "text"),
    [
        ([], ""),
        ([0], "1"),
        ([0, 1], "1, 2"),
        ([0, 1, 2], "1-3"),
        ([3, 6, 9, 12], "4-13 in steps of 3"),
        ([0, 1, 2, 6, 8, 10, 12], "1-3, 7-13 in steps of 2"),
        ([5, 4, 3], "6, 5, 4"),
    ],
)
def test_slices_are_named_as_people_count(slices: list[int], text: str) -> None:
    assert slice_ranges(slices) == text


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\r\x9b2J\u202e\ttab\nline") == "a[31mb2J\ttab\nline"
    assert printable("\u05d0\u0301 心臓 👩‍⚕️") == "\u05d0\u0301 心臓 👩‍⚕️"


def test_the_full_answer_names_everything() -> None:
    text = format_answer(full_answer())
    for part in (
        "A nodule in the left lung.",
        "nodule (75%), slice 1, LPS mm -1.0 -2.0 -3.0 to 1.0 2.0 3.0",
        "heart (100%), px 0 0 to 9 9",
        "effusion 25%",
        "cannot tell: edema",
        "nodule: worsened",
        "CT thorax, slices 1-7 in steps of 2, 8 of 64, CT windows, 320 tokens [1.2.3]",
        "scout.dcm (x2): a localizer",
        "Three slices are missing.",
        "osler-mini (4 bits, jax on cuda:0)",
        "preprocessing bbbbbbbbbbbbbbbb",
        "cut at the limit of tokens",
        "read 0.2 s, answer 1.5 s",
        SAFETY_NOTE,
    ):
        assert part in text


def test_the_least_answer_has_no_empty_rows() -> None:
    assert format_evidence(least_answer()).splitlines() == [
        "Model     osler-mini (16 bits, torch on cpu)",
        "Views     preprocessing aaaaaaaaaaaaaaaa",
        SAFETY_NOTE,
    ]
