"""The near end of a process that reads documents (`osler.readers.document_worker`), with deadlines."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, Literal

from osler.errors import CapacityError, DataError, FileFormatError, UnsupportedError
from osler.readers.blob import Blob
from osler.readers.document_words import Page, Word
from osler.readers.limits import sized

DocumentKind = Literal["pdf", "picture"]
_PACKAGES: dict[DocumentKind, tuple[str, ...]] = {"pdf": ("pypdfium2",), "picture": ("rapidocr", "onnxruntime")}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLimits:
    """How much of a document is read.

    Args:
        pages: First pages that are read.
        recognized: Of them, pages without text whose text is recognized from the picture.
        bytes: Largest file.
        page_seconds: For a page with text. recognition_seconds: For a page that is recognized.
            A document that takes longer is left there.
    """

    pages: int = 200
    recognized: int = 40
    bytes: int = 512 * 2**20
    page_seconds: float = 60.0
    recognition_seconds: float = 180.0


DOCUMENT_LIMITS = DocumentLimits()


def require_packages(blob: Blob, *, kind: DocumentKind) -> None:
    """Checks that what reads documents is installed.

    Raises:
        UnsupportedError: If it is not; the message has the command.
    """
    missing = missing_packages(kind)
    if missing:
        what = "a PDF" if kind == "pdf" else "a picture of a document"
        raise UnsupportedError(
            f"{blob.name} is {what}, which needs the package {missing[0]!r}, which is not installed.",
            next_step="pip install 'osler[documents]'",
        )


def missing_packages(kind: DocumentKind) -> tuple[str, ...]:
    """Names the packages for a kind of document that are not installed."""
    return tuple(name for name in _PACKAGES[kind] if importlib.util.find_spec(name) is None)


class DocumentProcess:
    """Reads one document after the other in a process of its own; use as a context manager."""

    def __init__(self, *, limits: DocumentLimits = DOCUMENT_LIMITS) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> DocumentProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def read(self, blob: Blob, *, kind: DocumentKind) -> tuple[list[Page], tuple[str, ...]]:
        """Reads the words of a document's pages.

        Returns:
            The pages, and what was noticed.

        Raises:
            FileFormatError: If the file is damaged, is protected or has no pages.
            CapacityError: If it is too large, or takes too much time or memory.
            UnsupportedError: If a package is missing.
        """
        require_packages(blob, kind=kind)
        if blob.size > self._limits.bytes:
            raise CapacityError(
                f"{blob.name} is a document of {sized(blob.size)}.",
                allowed=f"At most {sized(self._limits.bytes)} are read.",
                next_step="Save the pages that matter as a document of their own.",
            )
        with self._lock:
            return self._read(blob, kind=kind)

    def stop(self) -> None:
        """Ends the process, whatever it is at."""
        if self._process is None:
            return
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
        self._process.wait()
        self._process = None

    def _read(self, blob: Blob, *, kind: DocumentKind) -> tuple[list[Page], tuple[str, ...]]:
        path, member = blob.address()
        limits = self._limits
        self._send(
            {
                "path": path,
                "member": member,
                "kind": kind,
                "most_pages": limits.pages,
                "most_recognized": limits.recognized,
            }
        )
        head = self._receive(limits.page_seconds)
        if "failed" in head:
            raise _failure(blob, reason=head["failed"], kind=kind)
        count = int(head["pages"])
        if count < 1:
            raise FileFormatError(f"{blob.name} is a document without pages.", next_step="Export it again.")
        most = min(count, limits.pages if kind == "pdf" else limits.recognized)
        pages: list[Page] = []
        problems = [] if most == count else [f"Of {count:,} pages the first {most} were read."]
        for number in range(1, most + 1):
            answer = self._receive(limits.recognition_seconds)
            if "failed" in answer:
                if not pages:
                    raise _failure(blob, reason=answer["failed"], kind=kind)
                problems.append(
                    f"Reading ended at page {number} of {count:,}: {_WHY.get(answer['failed'], 'it is damaged')}."
                )
                break
            pages.append(_page(answer, number=number))
        return pages, (*problems, *_page_problems(pages))

    def _send(self, request: dict[str, Any]) -> None:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = _start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.stop()

    def _receive(self, seconds: float) -> dict[str, Any]:
        """The next answer; a process that takes too long or ends is stopped."""
        process = self._process
        if process is None or process.stdout is None:
            return {"failed": "crash"}
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return json.loads(line)
        self.stop()
        return {"failed": "time" if late.is_set() else "crash"}


_WHY = {
    "time": "it takes too long",
    "memory": "it needs too much memory",
    "crash": "the reader of documents ended over it",
    "password": "it is protected by a password",
    "security": "its protection is of a kind that is not known",
    "damaged": "it is damaged",
    "missing": "the package for it is not installed",
}


def _failure(blob: Blob, *, reason: str, kind: DocumentKind) -> DataError:
    what = "PDF" if kind == "pdf" else "picture of a document"
    if reason in ("password", "security"):
        return FileFormatError(
            f"{blob.name} is a PDF that {_WHY[reason].removeprefix('it ')}.",
            next_step="Open it with its password and save a copy without one.",
        )
    if reason in ("time", "memory"):
        return CapacityError(
            f"{blob.name} is a {what} that cannot be read: {_WHY[reason]}.",
            next_step="Print it to a new PDF, or save the pages that matter as pictures.",
        )
    why = _WHY.get(reason, "it is damaged")
    return FileFormatError(f"{blob.name} is a {what} that cannot be read: {why}.", next_step="Copy or export it again.")


def _page(answer: dict[str, Any], *, number: int) -> Page:
    words = tuple(Word(text, x0, y0, x1, y1, score) for text, x0, y0, x1, y1, score in answer["words"])
    return Page(number=number, words=words, reading=answer["reading"], problem=answer.get("problem", ""))


def _page_problems(pages: list[Page]) -> list[str]:
    """One sentence a reason for pages that have no text."""
    by_reason: dict[str, list[str]] = {}
    for page in pages:
        if page.problem:
            by_reason.setdefault(page.problem, []).append(str(page.number))
    problems = []
    for reason, numbers in by_reason.items():
        shown = ", ".join(numbers[:8]) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
        why = {
            "unrecognized": "a picture, and enough pictures were recognized already",
            "missing": "a picture, and recognition needs: pip install 'osler[documents]'",
        }.get(reason, _WHY.get(reason, "it is damaged"))
        problems.append(f"Page {shown} was not read: {why}.")
    return problems


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        return subprocess.Popen(
            # -P: nothing is imported from the folder that the user stands in, which may hold anything.
            [sys.executable, "-P", "-m", "osler.readers.document_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise UnsupportedError(
            "Documents are read in a process of their own, and this machine starts none.",
            next_step="Read the document elsewhere and give its text.",
        ) from error
