"""Reports split into sections and sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.tasks.sentences import split_report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Clear lungs", [("findings", "Clear lungs")]),
        (
            "**Findings:**\n- The heart is 5.2 cm wide. Clear lungs.\n1. No. 3 rib fracture.\n\nImpression\nNormal.",
            [
                ("findings", "The heart is 5.2 cm wide."),
                ("findings", "Clear lungs."),
                ("findings", "No. 3 rib fracture."),
                ("impression", "Normal."),
            ],
        ),
        ("CONCLUSION: See Dr. Smith. Done.", [("impression", "See Dr. Smith."), ("impression", "Done.")]),
        ("Technique: axial CT, e.g. Siemens.", [("technique", "axial CT, e.g. Siemens.")]),
        ("Findings suggest edema.", [("findings", "Findings suggest edema.")]),
    ],
)
def test_sections_and_sentences(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(split_report(text)) == expected


@given(st.lists(st.sampled_from(["Clear lungs.", "No effusion!", "The mass is 1.5 cm.", "Is it new?"]), max_size=6))
def test_no_word_is_lost(sentences: list[str]) -> None:
    assert [sentence for _, sentence in split_report(" ".join(sentences))] == sentences
