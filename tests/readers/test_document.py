from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from PIL import Image

from osler.errors import CapacityError, FileFormatError, UnsupportedError
from osler.readers import open_study
from osler.readers.blob import DiskBlob
from osler.readers.document import ReadDocument, read_document, understand
from osler.readers.document_process import DocumentLimits, DocumentProcess
from osler.readers.document_words import Page, Word
from osler.synth.documents.discharge import discharge_letter_pdf
from osler.synth.documents.lab_pdf import LAYOUTS, Layout, lab_report_pdf
from osler.synth.documents.scan import scan_pages
from osler.synth.documents.sheet import LabSheet, lab_sheets
from osler.synth.draw import draw_patient
from osler.synth.timeline import build_timeline, calendar_date
from tests.readers.make_document import GERMAN, make_pdf


def read(path: Path, *, limits: DocumentLimits | None = None) -> ReadDocument:
    blob = DiskBlob(path, path.stat().st_size)
    return read_document(blob, kind="pdf", limits=limits or DocumentLimits())


@pytest.fixture(scope="module")
def sheet() -> LabSheet:
    """Values of one synthetic patient, with earlier days."""
    return next(
        sheets[-1] for number in range(50) if len(sheets := lab_sheets(draw_patient(seed=9, number=number))) > 2
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_reads_back_to_its_facts(layout: Layout, sheet: LabSheet, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(lab_report_pdf(sheet, layout=layout, variant=1))
    sheets = (*sheet.earlier[-5:], sheet) if layout == "cumulative" else (sheet,)
    wanted = {
        (one.loinc, each.date): (one.value, {"low": "L", "normal": "", "high": "H"}[one.flag])
        for each in sheets
        for one in each.results
    }
    found = read(path)
    assert {(e.code, e.date): (e.value, e.flag) for e in found.events} == wanted
    assert not found.unread
    assert all(
        row.printed in row.line and row.line in found.document.pages[row.page - 1].replace("\t", " ")
        for row in found.rows
    )


def test_a_german_report(tmp_path: Path) -> None:
    found = read(make_pdf(tmp_path / "befund.pdf", GERMAN))
    rows = {row.event.name: row.event for row in found.rows}
    assert found.document.date == dt.date(2021, 2, 3)
    assert (rows["Hemoglobin"].value, rows["Hemoglobin"].unit, rows["Hemoglobin"].code) == (13.4, "g/dL", "718-7")
    assert (rows["Potassium"].value, rows["Potassium"].flag) == (5.8, "H")
    assert (rows["Platelets"].value, rows["Platelets"].unit) == (1234.0, "10*3/uL")
    assert rows["Leukocytes"].unit == "10*9/L"
    crp = rows["C-reactive protein"]
    assert (crp.value, crp.flag) == ("<0.3", "")
    assert crp.reference is not None
    assert crp.reference.high == 5.0
    assert rows["HBs-Antigen"].value == "negativ"


def test_another_specimen_is_not_given_the_code_of_serum(tmp_path: Path) -> None:
    found = read(make_pdf(tmp_path / "befund.pdf", GERMAN))
    urine = next(row.event for row in found.rows if "Urin" in row.event.name)
    assert (urine.name, urine.code) == ("Urin-Kreatinin", "")


def test_a_line_of_unclear_numbers_is_left_unread(tmp_path: Path) -> None:
    found = read(make_pdf(tmp_path / "befund.pdf", GERMAN))
    assert [line.plain for line in found.unread] == ["Natrium 139 136 145"]
    assert "Sodium" not in {row.event.name for row in found.rows}


def test_planted_instructions_change_nothing(tmp_path: Path) -> None:
    planted = read(make_pdf(tmp_path / "planted.pdf", GERMAN))
    clean = read(make_pdf(tmp_path / "clean.pdf", [row for row in GERMAN if "Ignore" not in row]))
    assert [row.event.value for row in planted.rows] == [row.event.value for row in clean.rows]
    assert 999.0 not in [row.event.value for row in planted.rows]


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_rotated_page_reads_the_same(rotate: int, tmp_path: Path) -> None:
    plain = read(make_pdf(tmp_path / "plain.pdf", GERMAN))
    turned = read(make_pdf(tmp_path / "turned.pdf", GERMAN, rotate=rotate))
    assert [row.event.value for row in turned.rows] == [row.event.value for row in plain.rows]
    assert turned.document.pages == plain.document.pages


@pytest.mark.parametrize("style", ["prose", "form"])
def test_a_letter_gives_diagnoses_and_drugs(style: str, tmp_path: Path) -> None:
    patient = draw_patient(seed=17, number=2)
    path = tmp_path / "letter.pdf"
    path.write_bytes(discharge_letter_pdf(patient, style=style))  # type: ignore[arg-type]
    events = read(path).events
    timeline, day = build_timeline(patient), patient.exams[-1].day
    assert {e.name for e in events if e.kind == "condition"} == {s.name for s in timeline.conditions if s.start <= day}
    drugs = {(s.name, calendar_date(s.start)) for s in timeline.medications if s.start <= day}
    assert {(e.name, e.date) for e in events if e.kind == "medication"} == drugs
    assert all(e.precision == "month" and e.system == "ICD-10" for e in events if e.kind == "condition")


def test_a_flag_that_contradicts_its_range_is_said(tmp_path: Path) -> None:
    rows = (
        ((40, "Test"), (250, "Result"), (330, "Flag"), (380, "Unit"), (450, "Reference range")),
        ((40, "Potassium"), (250, "4.2"), (330, "H"), (380, "mmol/L"), (450, "3.5 - 5.1")),
    )
    (row,) = read(make_pdf(tmp_path / "a.pdf", rows)).rows
    assert row.event.flag == ""
    assert row.problems == ("The printed flag H does not agree: the value lies within its range.",)


def test_limits_in_columns_of_their_own(tmp_path: Path) -> None:
    rows = (
        ((40, "Test"), (250, "Result"), (320, "Unit"), (400, "Lower"), (460, "Upper"), (520, "Previous")),
        ((40, "Sodium"), (250, "131"), (320, "mmol/L"), (400, "135"), (460, "145"), (520, "139")),
    )
    (row,) = read(make_pdf(tmp_path / "a.pdf", rows)).rows
    assert (row.event.value, row.event.flag) == (131.0, "L")
    assert row.event.reference is not None
    assert (row.event.reference.low, row.event.reference.high) == (135.0, 145.0)


def test_a_misread_name_and_a_lost_decimal_point_of_a_scan() -> None:
    cells = [("Hemoglobln", 40), ("134", 250), ("g/dL", 330), ("12.0", 420), ("-", 450), ("15.5", 460)]
    words = tuple(Word(text, x, 10.0, x + 8.0 * len(text), 20.0, 0.7) for text, x in cells)
    found = understand("scan.jpg", pages=[Page(number=1, words=words, reading="OCR")])
    (row,) = found.rows
    assert row.event.code == "718-7"
    assert any("decimal point" in problem for problem in row.problems)
    assert any("recognized from a picture" in problem for problem in found.document.problems)


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"locked\.pdf is a PDF that is protected by a password.*without one"):
        read(make_pdf(tmp_path / "locked.pdf", ["secret"], password="abc"))


def test_damaged_pdfs(tmp_path: Path) -> None:
    whole = make_pdf(tmp_path / "whole.pdf", GERMAN).read_bytes()
    for name, data in (("junk.pdf", b"%PDF-1.4 junk"), ("cut.pdf", whole[:900])):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(FileFormatError, match=rf"{name} is a PDF that cannot be read: it is damaged"):
            read(path)


def test_a_document_without_text(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no text was found"):
        read(make_pdf(tmp_path / "blank.pdf", []))


def test_a_long_document_is_read_in_part(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "long.pdf", ["Sodium 139 mmol/L (135 - 145)"], pages=10_000)
    found = read(path, limits=DocumentLimits(pages=5))
    assert len(found.document.pages) == 5
    assert "Of 10,000 pages the first 5 were read." in found.document.problems


def test_a_giant_page(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "giant.pdf", ["Sodium 139 mmol/L (135 - 145)"], size=(14_400, 14_400))
    assert [event.value for event in read(path).events] == [139.0]


def test_a_file_that_takes_too_long_is_left(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "slow.pdf", GERMAN)
    with pytest.raises(CapacityError, match=r"slow\.pdf is a PDF that cannot be read: it takes too long"):
        read(path, limits=DocumentLimits(page_seconds=0.0001))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "large.pdf", GERMAN)
    with pytest.raises(CapacityError, match=r"At most 10 bytes are read"):
        read(path, limits=DocumentLimits(bytes=10))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"needs the package 'pypdfium2'.*pip install 'osler\[documents\]'"):
        read(make_pdf(tmp_path / "a.pdf", GERMAN))


def test_one_process_reads_many_and_survives_a_bad_one(tmp_path: Path) -> None:
    good = make_pdf(tmp_path / "good.pdf", GERMAN)
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"%PDF-1.4 junk")
    with DocumentProcess() as process:
        for path, fails in ((good, False), (bad, True), (good, False)):
            blob = DiskBlob(path, path.stat().st_size)
            if fails:
                with pytest.raises(FileFormatError, match="damaged"):
                    read_document(blob, kind="pdf", process=process)
            else:
                assert read_document(blob, kind="pdf", process=process).rows


def test_a_folder_of_documents_and_an_image(tmp_path: Path) -> None:
    make_pdf(tmp_path / "befund.pdf", GERMAN)
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 junk")
    Image.linear_gradient("L").save(tmp_path / "xray.png")
    study = open_study(tmp_path)
    assert [document.name for document in study.documents] == ["befund.pdf"]
    assert len(study.images()) == 1
    assert len(study.events) == 7
    assert [one.what for one in study.left_out] == [str(tmp_path / "bad.pdf")]
    assert any("Whose documents these are is not checked" in problem for problem in study.problems)


def test_a_document_dated_in_the_future_is_said_and_its_values_are_kept(tmp_path: Path) -> None:
    make_pdf(tmp_path / "befund.pdf", [GERMAN[0], GERMAN[1].replace("2021", "2093"), *GERMAN[2:]])
    Image.linear_gradient("L").save(tmp_path / "xray.png")
    for place in (tmp_path / "befund.pdf", tmp_path):
        study = open_study(place)
        assert "A document is dated in the future: 2093-02-03." in study.problems
        assert study.documents[0].date == dt.date(2093, 2, 3)
        assert len(study.events) == 7


def test_a_scan_is_recognized_and_may_be_forced_to_be_an_image(sheet: LabSheet, tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    page = scan_pages(lab_report_pdf(sheet, layout="table"), style="clean", key=3)[0].rotate(180)
    path = tmp_path / "scan.png"
    page.resize((page.width * 2 // 3, page.height * 2 // 3)).save(path)
    study = open_study(path)
    (document,) = study.documents
    truth = {(one.loinc, one.value) for one in sheet.results}
    found = {(event.code, event.value) for event in study.events}
    assert document.reading == "OCR"
    assert len(found & truth) >= 0.9 * len(truth)
    assert len(found - truth) <= 1
    assert len(open_study(path, pictures="image").images()) == 1
