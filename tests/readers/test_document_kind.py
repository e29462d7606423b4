from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from osler.readers.document_kind import looks_like_document
from osler.synth.documents.lab_pdf import lab_report_pdf
from osler.synth.documents.scan import SCANNERS, ScanStyle, scan_pages
from osler.synth.documents.sheet import lab_sheets
from osler.synth.draw import draw_patient
from tests.shared_data import SHARED_DATA, needs_shared_data


@pytest.mark.parametrize("style", SCANNERS)
def test_scans_are_documents(style: ScanStyle) -> None:
    sheet = next(s[-1] for n in range(20) if (s := lab_sheets(draw_patient(seed=9, number=n))))
    page = scan_pages(lab_report_pdf(sheet, layout="table"), style=style, key=1)[0].convert("RGB")
    page.thumbnail((1000, 1000))
    assert looks_like_document(page)
    assert looks_like_document(page.rotate(90, expand=True))


def test_a_bright_image_with_burnt_in_text_stays_an_image() -> None:
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = 235 - 170 * np.exp(-3 * ((np.abs(x) - 0.45) ** 2 + (y / 1.4) ** 2))
    picture = Image.fromarray(body.astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for row in range(4):
        draw.text((8, 8 + 14 * row), "LEFT  PORTABLE  AP  12:40  KV 110", fill="white")
    assert not looks_like_document(picture)


@needs_shared_data
def test_real_images_are_no_documents() -> None:
    assert SHARED_DATA is not None
    files = sorted((SHARED_DATA / "cxr").rglob("*.jpg"))[::12] + sorted((SHARED_DATA / "vqa-rad").rglob("*.jpg"))[::6]
    taken = []
    for path in files:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((1000, 1000))
        if looks_like_document(small):
            taken.append(path.name)
    assert len(files) > 50
    assert taken == []
