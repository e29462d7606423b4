"""Markdown reports: everything is in them, and nothing from files or models acts as Markdown or HTML."""

from __future__ import annotations

import dataclasses

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from osler.study import Finding, FoundBox, Statement
from osler.writers.markdown import escaped, format_markdown
from osler.writers.text import SAFETY_NOTE
from tests.writers.answers import full_answer, least_answer

_ATTACKS = (
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "| a | b |",
    "# heading",
    "1. item",
    "- item",
    "`code` **bold** _em_",
    "http://example.org www.example.org a@example.org",
    "&lt; &amp; \\",
    "a\n\n> quote\n\n---",
    "[^1]: note",
)


def tokens(text: str) -> list[Token]:
    parsed = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)
    return [one for token in parsed for one in (token, *(token.children or ()))]


def shown(text: str) -> str:
    return " ".join(token.content for token in tokens(text) if token.type == "text")


def test_the_report_has_every_part() -> None:
    text = shown(format_markdown(full_answer(), question="What is this?"))
    for part in ("What is this?", "A nodule.", "no evidence", "1 2 to 3 4.5", "-1.0 -2.0 -3.0 to 1.0 2.0 3.0", "25%"):
        assert part in text
    for part in ("cannot tell", "worsened (50%), longest diameter 8 to 12.5 mm in 90 days", "HIGH", "up to 5"):
        assert part in text
    for part in ("Three slices are missing.", "osler-mini (4 bits, jax on cuda:0)", SAFETY_NOTE, "bbbbbbbbbbbbbbbb"):
        assert part in text


def test_evidence_is_numbered_once() -> None:
    answer = full_answer()
    twice = dataclasses.replace(answer, statements=(*answer.statements, answer.statements[0]))
    text = format_markdown(twice)
    assert text.count("\\[1\\]") == 2
    assert text.count("1. slice 1") == 1


def test_the_least_report_has_no_empty_sections() -> None:
    heads = [token.content for token in tokens(format_markdown(least_answer())) if token.type == "inline"]
    assert heads[0] == "Answer"
    assert "##" not in format_markdown(least_answer())


@pytest.mark.parametrize("attack", _ATTACKS)
def test_no_text_acts_as_markdown_or_html(attack: str) -> None:
    plain = format_markdown(_with("plain words"))
    text = format_markdown(_with(attack), question=attack)
    kinds = {token.type for token in tokens(text)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "code_inline", "fence", "s_open"}
    wanted = [token.type for token in tokens(plain) if token.type.startswith(("heading", "table", "tr", "list", "hr"))]
    found = [token.type for token in tokens(text) if token.type.startswith(("heading", "table", "tr", "list", "hr"))]
    assert found == wanted
    # In the dialects that link bare addresses, none is one.
    linked = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    assert not any(child.type == "link_open" for token in linked for child in token.children or ())


def _with(text: str):
    answer = full_answer()
    return dataclasses.replace(
        answer,
        text=text,
        boxes=(FoundBox(label=text, series=text, score=0.5),),
        findings=(Finding(name=text, probability=None),),
        statements=(Statement(section="findings", text=text),),
        warnings=(text,),
        untrained=(text,),
    )


def test_what_is_escaped_reads_as_it_was() -> None:
    for text in _ATTACKS:
        one_line = " ".join(text.split())
        parsed = MarkdownIt("commonmark").parse("x " + escaped(text))
        words = "".join(child.content for token in parsed for child in token.children or ())
        assert words == f"x {one_line}"


def test_a_picture_beside_the_report_is_shown() -> None:
    text = format_markdown(full_answer(), picture="a <b>.png")
    (image,) = [token for token in tokens(text) if token.type == "image"]
    assert image.attrGet("src") == "a%20%3Cb%3E.png"
