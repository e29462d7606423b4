"""Sections, sentences and language of reports."""

from __future__ import annotations

import pytest

from osler.synth.read_back.report_text import clean, is_read, language_of, sections, sentences


def said(text: str) -> list[str]:
    return [sentence.text for sentence in sentences("findings", text=clean(text))]


def test_headings_are_found_in_any_dress() -> None:
    text = "CT CHEST\n\nINDICATION: cough.\nTechnique - axial\n**Findings:** clear. Impression: Normal.\nBefund: frei"
    found = sections(clean(text))
    assert [name for name, _ in found] == ["title", "indication", "technique", "findings", "impression", "findings"]
    assert found[3][1].strip() == "clear."


def test_a_text_without_headings_is_one_section_and_is_read() -> None:
    assert sections("a nodule.") == [("", "a nodule.")]
    assert is_read("")
    assert is_read("findings")
    assert not is_read("indication")


def test_a_heading_word_within_a_sentence_is_none() -> None:
    assert sections("no acute findings here. the impression is clear.")[0][0] == ""


def test_sentences_survive_decimals_and_abbreviations() -> None:
    assert said("A 1.2 cm cyst, approx. 3 mm larger. No mass.") == ["a 1.2 cm cyst, approx. 3 mm larger.", "no mass."]
    assert said("in der A. cerebri media. Kein Infarkt.") == ["in der a. cerebri media.", "kein infarkt."]


def test_list_entries_end_a_sentence_and_wrapped_lines_do_not() -> None:
    assert said("1. nodule\n2) cyst\n- mass\n[x] tear: yes\n\nlast") == ["nodule", "cyst", "mass", "tear: yes", "last"]
    wrapped = "there is a nodule in the right upper lobe that has been stable for\ntwo years."
    assert said(wrapped) == [wrapped.replace("\n", " ")]


def test_odd_characters_become_plain_ones() -> None:
    assert clean("12\u2009–\u200b15 × 3\r\n“A”\x00\x1f") == '12\u2009- 15 x 3\n"a"  '


@pytest.mark.parametrize(
    ("text", "language"),
    [("No nodule in the left lung.", "en"), ("Kein Rundherd in der linken Lunge.", "de"), ("", "en")],
)
def test_the_language_is_told(text: str, language: str) -> None:
    assert language_of(clean(text)) == language
