"""Extraction: values with their lines, what the model may add, and what is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from osler.engine.session import Session
from osler.errors import FileFormatError, RequestError, UnsupportedError
from osler.readers.document_words import Line, Word
from osler.tasks.extract import ExtractRequest, check_form, extract
from osler.tasks.extract_model import fill_form, occurs, read_line
from osler.writers import load_schema
from tests.cli.mini import needs_mini
from tests.readers.make_document import GERMAN, make_pdf


def test_every_value_stands_in_its_line(tmp_path: Path) -> None:
    found = extract(ExtractRequest(path=make_pdf(tmp_path / "lab.pdf", GERMAN), unread="leave"))
    assert len(found.rows) == 7
    for row in found.rows:
        assert occurs(row.printed, row.line)
        assert row.way == "layout"
    assert len(found.answer.observations) == len(found.rows) == len(found.answer.evidence)
    assert found.unread == ((str(tmp_path / "lab.pdf"), 1, "Natrium 139 136 145"),)
    assert found.answer.model.name == "none"
    jsonschema.validate(found.to_dict(), load_schema("extraction"))


def test_planted_instructions_appear_nowhere(tmp_path: Path) -> None:
    found = extract(ExtractRequest(path=make_pdf(tmp_path / "lab.pdf", GERMAN), unread="leave"))
    assert "healthy" not in found.answer.text
    assert "999" not in str(found.to_dict())


def test_a_folder_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a.pdf", GERMAN)
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 junk")
    Image.linear_gradient("L").save(tmp_path / "c.png")
    found = extract(ExtractRequest(path=tmp_path, unread="leave"))
    assert found.rows
    assert {Path(one.what).name for one in found.answer.left_out} == {"b.pdf", "c.png"}


def test_a_medical_image_is_refused_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "xray.png"
    Image.linear_gradient("L").save(path)
    with pytest.raises(UnsupportedError, match=r"looks like a medical image.*--as document"):
        extract(ExtractRequest(path=path))


def test_an_absent_file_and_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="there is no such file"):
        extract(ExtractRequest(path=tmp_path / "absent.pdf"))
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UnsupportedError, match=r"a\.json is no document"):
        extract(ExtractRequest(path=tmp_path / "a.json"))


@pytest.mark.parametrize("form", [[], {"type": "array"}, {}])
def test_a_form_is_an_object(form: Any) -> None:
    with pytest.raises(RequestError, match="not that of an object"):
        check_form(form)


def scripted(text: str) -> Session:
    """A session whose model says one thing, whatever it is asked."""
    return cast(Session, SimpleNamespace(ask=lambda *args, **options: SimpleNamespace(text=text, warnings=())))


def line_of(text: str) -> Line:
    return Line(page=2, words=tuple(Word(part, 9.0 * n, 0, 9.0 * n + 8, 8) for n, part in enumerate(text.split())))


def test_a_line_read_by_the_model_is_marked() -> None:
    session = scripted('{"name": "Natrium", "result": "139", "unit": "mmol/L"}')
    row, why = read_line(session, line_of("Natrium 139 136 145 mmol/L"), date=dt.date(2021, 2, 3), source="lab.pdf")
    assert not why
    assert row is not None
    assert (row.way, row.event.value, row.event.code, row.page) == ("model", 139.0, "2951-2", 2)
    assert "check which number" in row.problems[0]


@pytest.mark.parametrize("result", ["140", "13", "9", "39 136"])
def test_a_value_that_is_not_in_the_line_is_refused(result: str) -> None:
    session = scripted(f'{{"name": "Natrium", "result": "{result}", "unit": ""}}')
    row, why = read_line(session, line_of("Natrium 139 136 145"), date=None, source="lab.pdf")
    assert row is None
    assert "does not stand there" in why


def test_a_form_keeps_only_what_the_document_says(tmp_path: Path) -> None:
    found = extract(ExtractRequest(path=make_pdf(tmp_path / "lab.pdf", GERMAN), unread="leave"))
    schema = {"type": "object", "properties": {"kind": {"enum": ["lab report", "letter"]}}}
    session = scripted('{"kind": "lab report", "potassium": 5.8, "ward": "Ward 9", "list": ["11,2", "77"]}')
    form, refused, _ = fill_form(session, found.documents, schema=schema, max_tokens=9)
    assert form == {"kind": "lab report", "potassium": 5.8, "ward": None, "list": ["11,2", None]}
    assert refused == (
        "/ward: 'Ward 9' does not occur in the document.",
        "/list/1: '77' does not occur in the document.",
    )


@given(st.integers(0, 99_999), st.integers(0, 99_999))
def test_a_part_of_a_number_is_not_that_number(value: int, other: int) -> None:
    assert occurs(str(value), f"a {other} b") == (value == other)


@pytest.mark.slow
@needs_mini
def test_the_mini_reads_what_the_rules_could_not(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "lab.pdf", GERMAN)
    form = {
        "type": "object",
        "properties": {"sample_date": {"type": "string", "maxLength": 12}},
        "required": ["sample_date"],
        "additionalProperties": False,
    }
    found = extract(ExtractRequest(path=path, form=form, device="cpu"))
    by_model = [row for row in found.rows if row.way == "model"]
    assert len(by_model) + len(found.unread) == 1
    for row in by_model:
        assert row.printed in ("139", "136", "145")
    text = "\n".join(page for one in found.documents for page in one.document.pages)
    assert (
        found.filled is None or found.filled["sample_date"] in (None, "") or occurs(found.filled["sample_date"], text)
    )
    jsonschema.validate(found.to_dict(), load_schema("extraction"))
