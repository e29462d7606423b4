"""Texts that a record carries."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest

from osler.readers.fhir_documents import document_of
from tests.readers.make_fhir import coded, resource


def form(text: str, kind: str = "text/plain; charset=utf-8") -> dict[str, str]:
    return {"contentType": kind, "data": base64.b64encode(text.encode()).decode()}


def test_a_report_with_text_and_conclusion() -> None:
    one = resource("DiagnosticReport", code=coded("CT chest"), effectiveDateTime="2020-01-02",
                   presentedForm=[form("Nodule of 8 mm.\r\nNo effusion.\x1b[2J")],
                   conclusion="Follow-up in 6 months.")  # fmt: skip
    document = document_of(one, source="f#r").document
    assert document is not None
    assert (document.name, document.date, document.source) == ("CT chest", dt.date(2020, 1, 2), "f#r")
    assert document.pages == ("Nodule of 8 mm.\nNo effusion.[2J\n\nConclusion: Follow-up in 6 months.",)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"presentedForm": [{"contentType": "application/pdf", "url": "a.pdf"}]}, "a file beside the record"),
        ({"presentedForm": [form("<b>", "text/html")]}, "damaged, too long or no plain text"),
        ({"presentedForm": [{"contentType": "text/plain", "data": "***=*"}]}, "damaged, too long or no plain text"),
        ({"presentedForm": [form("x" * 2_000_000)]}, "damaged, too long or no plain text"),
        ({"result": [{}]}, "no text of its own"),
        ({"conclusion": "x", "status": "entered-in-error"}, "entered in error"),
    ],
)
def test_reports_without_a_text(fields: dict[str, Any], why: str) -> None:
    found = document_of(resource("DiagnosticReport", code=coded("CT"), **fields), source="f")
    assert found.document is None
    assert why in found.left_out


def test_a_letter() -> None:
    one = resource("DocumentReference", type=coded("Discharge summary"), date="2020-01-02T12:00:00Z",
                   content=[{"attachment": form("Dear colleague")}])  # fmt: skip
    document = document_of(one, source="f").document
    assert document is not None
    assert (document.name, document.pages) == ("Discharge summary", ("Dear colleague",))
