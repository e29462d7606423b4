"""Laboratory reports are shown page by page with the published words, and scored beside Osler's rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from osler.errors import CapacityError, FileFormatError
from osler.evaluate.published import PUBLISHED
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import chosen_sets, run_set
from osler.evaluate.sets import laboratory_reports
from osler.evaluate.sets.laboratory_reports import pages_of, read_by_rules
from osler.evaluate.sets.types import Setting
from tests.evaluate.sets.question_folders import HEMOGLOBIN, POTASSIUM, write_laboratory_reports
from tests.evaluate.test_runner import Counting
from tests.readers.make_document import make_pdf

PROMPT = (
    "You are a Clinical Data Extraction Specialist. Your job is to parse lab reports with high precision.\nFrom the "
    "given lab report, extract all lab tests into a JSON list.\nEach test object in the list must include: name, "
    "result, unit, range, panel, method, specimen, sample_collection_time (formatted as DD-MM-YYYY HH:MM:SS)"
)
ROWS = (
    "Laboratory report",
    "Collected: 03.02.2021",
    ((40, "Test"), (250, "Result"), (330, "Unit"), (420, "Reference")),
    ((40, "Hemoglobin"), (250, "13.4"), (330, "g/dl"), (420, "12.0 - 15.5")),
    ((40, "Potassium"), (250, "5.8"), (330, "mmol/l"), (420, "3.5 - 5.1")),
)


class Typist(Counting):
    """Writes hemoglobin for every report; keeps how many pages it was shown."""

    style = PUBLISHED

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        self.questions = getattr(self, "questions", set()) | {inquiry.question for inquiry in inquiries}
        self.pages = getattr(self, "pages", []) + [len(one.study.images()) for one in inquiries if one.study]
        return [f"```json\n{json.dumps([HEMOGLOBIN])}\n```" for _ in inquiries]


def test_reports_are_asked_and_scored_by_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laboratory_reports, "read_by_rules", lambda path: [POTASSIUM])
    write_laboratory_reports(tmp_path)
    (one,) = chosen_sets(("lab-reports-ehr2",))
    model = Typist()
    result = run_set(one, Setting(root=tmp_path, responder=model))
    assert model.questions == {PROMPT}
    assert sorted(model.pages) == [1, 2]
    found = {entry.part: entry for entry in measured(result.rows, one.measures, draws=20)}
    # Of three wanted tests one is right, of two that were said one: every field but the time has 2 * 1 / (3 + 2).
    fields = {part: entry.systems[MODEL].value for part, entry in found.items() if part}
    assert fields == pytest.approx(
        {"name": 0.4, "result": 0.4, "unit": 0.4, "specimen": 0.4, "sample_collection_time": 1.0}
    )
    assert found[""].systems[MODEL].value == pytest.approx(sum(fields.values()) / 5)
    assert found["name"].systems["rules"].value == pytest.approx(2 * 2 / (3 + 2))
    failed = {entry.case: entry.why for entry in result.failed}
    assert set(failed) == {"gone.pdf", "bad.png"}
    assert "gone.pdf is not there" in failed["gone.pdf"]
    assert "a test without a name" in failed["bad.png"]


def test_a_pdf_is_shown_as_pages_and_read_by_the_rules(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "report.pdf", ROWS, pages=2)
    assert [image.pixels.shape for image in pages_of(path).images()] == [(2339, 1653, 3)] * 2
    found = read_by_rules(path)
    assert found is not None
    first = {test["name"]: test for test in found}
    assert (first["Hemoglobin"]["result"], first["Hemoglobin"]["unit"]) == ("13.4", "g/dL")
    assert first["Potassium"]["sample_collection_time"] == "03-02-2021"


def test_what_is_no_pdf_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").write_bytes(b"%PDF-1.4 rubbish")
    with pytest.raises(FileFormatError, match=r"x\.pdf cannot be rendered"):
        pages_of(tmp_path / "x.pdf")
    locked = make_pdf(tmp_path / "locked.pdf", ROWS, password="secret")
    with pytest.raises(FileFormatError, match=r"locked\.pdf cannot be rendered"):
        pages_of(locked)
    with pytest.raises(CapacityError, match=r"long\.pdf has 41 pages"):
        pages_of(make_pdf(tmp_path / "long.pdf", ROWS, pages=41))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match="empty is not there, or is an empty folder"):
        pages_of(tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"a": 3}', b'{"../../x.png": [{"name": "Na"}]}'])
def test_a_table_that_is_something_else_is_a_plain_error(tmp_path: Path, content: bytes) -> None:
    (one,) = chosen_sets(("lab-reports-mendeley",))
    absent = run_set(one, Setting(root=tmp_path, responder=Typist()))
    assert absent.why == "not found: lab-reports/mendeley/wanted.json, lab-reports/mendeley/reports"
    write_laboratory_reports(tmp_path, "mendeley")
    (tmp_path / "lab-reports/mendeley/wanted.json").write_bytes(content)
    result = run_set(one, Setting(root=tmp_path, responder=Typist()))
    assert result.state == "failed"
    assert "wanted.json" in result.why
