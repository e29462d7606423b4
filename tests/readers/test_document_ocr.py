"""Recognition of text: offline, silent, upright."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from osler.readers.document_ocr import TextRecognizer
from osler.readers.document_words import Page, lines_of

pytest.importorskip("rapidocr")

_OFFLINE = """
import socket, sys
def refuse(*args, **options):
    sys.exit("a connection was tried")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy as np
from PIL import Image
from osler.readers.document_ocr import TextRecognizer
words = TextRecognizer().words(np.asarray(Image.open(sys.argv[1]).convert("RGB")))
sys.exit(0 if any("Potassium" in word.text for word in words) else "nothing was recognized")
"""


def page(*, turn: float = 0.0) -> Image.Image:
    picture = Image.new("RGB", (900, 400), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=26)
    for row, (name, value, unit) in enumerate(
        [
            ("Potassium", "5.8", "mmol/L"),
            ("Sodium", "139", "mmol/L"),
            ("Creatinine", "0.92", "mg/dL"),
            ("Glucose", "104", "mg/dL"),
        ]
    ):
        for x, text in ((60, name), (420, value), (600, unit)):
            draw.text((x, 60 + 70 * row), text, fill="black", font=font)
    return picture.rotate(turn, expand=True, fillcolor="white")


@pytest.fixture(scope="module")
def recognizer() -> TextRecognizer:
    return TextRecognizer()


@pytest.mark.parametrize("turn", [0, 4, -6, 90, 180, 270])
def test_a_page_in_any_position(turn: float, recognizer: TextRecognizer) -> None:
    words = recognizer.words(np.asarray(page(turn=turn)))
    lines = [line.plain for line in lines_of(Page(number=1, words=tuple(words), reading="OCR"))]
    assert lines == ["Potassium 5.8 mmol/L", "Sodium 139 mmol/L", "Creatinine 0.92 mg/dL", "Glucose 104 mg/dL"]


def test_an_empty_page(recognizer: TextRecognizer) -> None:
    assert recognizer.words(np.full((300, 300, 3), 255, dtype=np.uint8)) == []


def test_no_connection_and_no_log(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    page().save(path)
    run = subprocess.run([sys.executable, "-c", _OFFLINE, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Potassium" not in run.stdout + run.stderr
    assert run.stdout == ""
