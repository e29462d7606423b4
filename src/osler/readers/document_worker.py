"""A process that reads documents for another one: ``python -m osler.readers.document_worker``.

PDFium and the recognition of text are native code that meets files from anywhere: a hang or
a crash ends this process and not the user's. Each request is one line of JSON on standard
input; the answers are lines of JSON: first the number of pages, then one line a page.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from osler.readers.blob import ZipHandle, blob_at
from osler.readers.document_words import Word

_MEMORY_BYTES = 8 * 2**30


class _Recognizers:
    """The recognizer of text, loaded when the first page needs it."""

    def __init__(self) -> None:
        self._one: Any = None

    def get(self) -> Any:
        if self._one is None:
            from osler.readers.document_ocr import TextRecognizer

            self._one = TextRecognizer()
        return self._one


def serve(requests: BinaryIO, *, answers: BinaryIO) -> None:
    """Answers requests until the input ends. What fails is answered by ``{"failed": reason}``."""
    archives: dict[str, ZipHandle] = {}
    recognizers = _Recognizers()
    for line in requests:
        request = json.loads(line)
        try:
            blob = blob_at(request["path"], member=request["member"], archives=archives)
            with blob.open() as stream:
                data = stream.read()
            pages = _picture if request["kind"] == "picture" else _pdf
            for answer in pages(data, request=request, recognizers=recognizers):
                _send(answers, answer)
        except Exception as error:  # of any kind: the other side names the file
            _send(answers, {"failed": _reason(error)})


def _send(answers: BinaryIO, record: dict[str, Any]) -> None:
    answers.write(json.dumps(record).encode() + b"\n")
    answers.flush()


def _reason(error: Exception) -> str:
    """What went wrong, in a word that the other side knows, and never text of the file."""
    text = str(error).lower()
    if "password" in text:
        return "password"
    if "security" in text:
        return "security"
    if isinstance(error, MemoryError) or "alloc" in text:
        return "memory"
    if isinstance(error, ImportError):
        return "missing"
    return "damaged"


def _pdf(data: bytes, *, request: dict[str, Any], recognizers: _Recognizers) -> Iterator[dict[str, Any]]:
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    try:
        yield {"pages": len(document)}
        recognized = 0
        for index in range(min(len(document), request["most_pages"])):
            try:
                page = document[index]
                answer = _pdf_page(page, recognizers=recognizers, may_recognize=recognized < request["most_recognized"])
                page.close()
            except Exception as error:  # one bad page does not take the others along
                answer = {"problem": _reason(error), "words": [], "reading": "text layer"}
            recognized += answer["reading"] == "OCR"
            yield answer
    finally:
        document.close()


def _pdf_page(page: Any, *, recognizers: _Recognizers, may_recognize: bool) -> dict[str, Any]:
    from osler.readers.document_pdf import has_ink, has_text, render, text_words

    words = text_words(page)
    if has_text(words) or not has_ink(page):
        return _answer(words, reading="text layer")
    if not may_recognize:
        return {"problem": "unrecognized", "words": [], "reading": "text layer"}
    try:
        recognizer = recognizers.get()
    except ImportError:
        return {"problem": "missing", "words": [], "reading": "text layer"}
    return _answer(recognizer.words(render(page)), reading="OCR")


def _picture(data: bytes, *, request: dict[str, Any], recognizers: _Recognizers) -> Iterator[dict[str, Any]]:
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "MPO")) as picture:
        frames = int(getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
        yield {"pages": frames}
        for number in range(min(frames, request["most_recognized"])):
            picture.seek(number)
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((4800, 4800))
            ground = Image.new("RGB", upright.size, (255, 255, 255))
            rgba = upright.convert("RGBA")
            ground.paste(rgba, mask=rgba.getchannel("A"))
            yield _answer(recognizers.get().words(np.asarray(ground)), reading="OCR")


def _answer(words: list[Word], *, reading: str) -> dict[str, Any]:
    rows = [[w.text, *(round(float(v), 2) for v in (w.x0, w.y0, w.x1, w.y1)), round(w.score, 3)] for w in words]
    return {"words": rows, "reading": reading}


def _limit_memory() -> None:
    """Lets a file that unpacks without end meet an error and not the end of the machine's memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))


if __name__ == "__main__":
    _limit_memory()
    serve(sys.stdin.buffer, answers=sys.stdout.buffer)
