"""Scanned documents: pictures of the page that can still be read, and nothing but pictures."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from osler.errors import RequestError
from osler.synth.documents.lab_pdf import lab_report_pdf
from osler.synth.documents.scan import SCANNERS, ScanStyle, scan_jpeg, scan_pages, scan_pdf
from osler.synth.documents.sheet import lab_sheets
from tests.synth.documents.lab_text import pdf_text
from tests.synth.documents.people import make_patient


@pytest.fixture(scope="module")
def report() -> bytes:
    sheet = lab_sheets(make_patient())[0]
    return lab_report_pdf(dataclasses.replace(sheet, results=sheet.results[:20]), layout="table")


@pytest.mark.parametrize("style", sorted(SCANNERS))
def test_a_scan_is_the_page_made_worse(style: ScanStyle, report: bytes) -> None:
    scanner = SCANNERS[style]
    (page,) = scan_pages(report, style=style, key=3)
    clean = pypdfium2.PdfDocument(report)[0].render(scale=scanner.dpi / 72).to_pil().convert("L")
    assert page.size == clean.size
    seen, drawn = np.asarray(page.convert("L"), dtype=float), np.asarray(clean, dtype=float)
    assert 2 < np.abs(seen - drawn).mean() < 60
    coarse = (page.size[0] // 16, page.size[1] // 16)
    likeness = np.corrcoef(
        np.asarray(page.convert("L").resize(coarse)).ravel(), np.asarray(clean.resize(coarse)).ravel()
    )[0, 1]
    assert likeness > 0.5


def test_a_fax_is_black_and_white(report: bytes) -> None:
    (page,) = scan_pages(report, style="fax", key=3)
    assert set(np.unique(np.asarray(page))) == {0, 255}


def test_the_same_key_gives_the_same_scan(report: bytes) -> None:
    assert scan_jpeg(report, style="office", key=1) == scan_jpeg(report, style="office", key=1)
    assert scan_jpeg(report, style="office", key=1) != scan_jpeg(report, style="office", key=2)


def test_a_scanned_pdf_has_no_text(report: bytes) -> None:
    scanned = scan_pdf(report, style="office", key=1)
    assert pdf_text(scanned).strip() == ""
    page = pypdfium2.PdfDocument(scanned)[0]
    assert page.get_size() == pytest.approx((595, 842), abs=2)


def test_a_jpeg_tells_its_resolution(report: bytes) -> None:
    picture = Image.open(io.BytesIO(scan_jpeg(report, style="clean", key=1)))
    assert picture.format == "JPEG"
    assert picture.info["dpi"] == (200, 200)


def test_an_unknown_style_is_refused(report: bytes) -> None:
    with pytest.raises(RequestError, match=r"Unknown scan style 'faxx'.*Did you mean 'fax'"):
        scan_pages(report, style="faxx", key=1)  # type: ignore[arg-type]
