"""Extract: laboratory reports and letters to structured values, each with the line that it stands in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from osler.engine.options import check_speculation
from osler.errors import CapacityError, DataError, FileFormatError, RequestError, UnsupportedError
from osler.progress import Progress
from osler.readers.blob import Blob, DiskBlob
from osler.readers.document import ReadDocument, read_document
from osler.readers.document_kind import Pictures, is_document
from osler.readers.document_labs import DocumentRow
from osler.readers.document_process import DocumentKind, DocumentProcess
from osler.readers.folder import find_files
from osler.readers.sniff import HEAD_BYTES, kind_of
from osler.study import ANSWER_SCHEMA_VERSION, NO_MODEL, Answer, Evidence, LeftOut, ModelStamp
from osler.tasks.model_choice import ModelChoice

if TYPE_CHECKING:
    from osler.engine.session import Session

Unread = Literal["model", "leave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest(ModelChoice):
    """What to read, and how.

    Args:
        path: A PDF, a picture of a document, or a folder of them.
        pictures: ``"judge"`` leaves out pictures that look like medical images; ``"document"`` reads all.
        unread: Lines that the rules cannot read go to the language model, or are left and listed.
        form: JSON Schema of a form that the model fills from the documents.
        max_tokens: Longest filled form.
        speculation: ``"lookup"`` or ``"draft"`` guesses ahead while the form is filled, on PyTorch; see `Decoding`.
    """

    path: str | Path
    pictures: Pictures = "judge"
    unread: Unread = "model"
    form: Mapping[str, Any] | None = None
    max_tokens: int = 512
    speculation: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What was read.

    Args:
        answer: With the values as ``observations`` and their lines as ``evidence``.
        documents: The documents, as text.
        rows: Every value, diagnosis and drug, and how it was read.
        unread: ``(file, page, line)`` of lines that look like results and were read in no way.
        filled: The user's form, if one was given. refused: What the model wrote that stands nowhere.
    """

    answer: Answer
    documents: tuple[ReadDocument, ...]
    rows: tuple[DocumentRow, ...]
    unread: tuple[tuple[str, int, str], ...] = ()
    filled: Any = None
    refused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the published JSON form (``extraction.schema.json``)."""
        record: dict[str, Any] = {
            "schema": ANSWER_SCHEMA_VERSION,
            "documents": [
                {
                    "file": one.document.source,
                    "pages": len(one.document.pages),
                    "date": one.document.date.isoformat() if one.document.date else None,
                    "reading": one.document.reading,
                    "problems": list(one.document.problems),
                }
                for one in self.documents
            ],
            "values": [row_to_dict(row) for row in self.rows],
            "unread": [{"file": file, "page": page, "line": line} for file, page, line in self.unread],
            "refused": list(self.refused),
            "left_out": [{"what": one.what, "why": one.why, "count": one.count} for one in self.answer.left_out],
            "warnings": list(self.answer.warnings),
            "model": self.answer.model.name,
        }
        if self.filled is not None:
            record["form"] = self.filled
        return record


def row_to_dict(row: DocumentRow) -> dict[str, Any]:
    """Returns one value as plain JSON; unknown things are ``None``."""
    event = row.event
    reference = event.reference
    return {
        "kind": event.kind,
        "name": event.name,
        "code": event.code or None,
        "system": event.system or None,
        "value": event.value,
        "unit": event.unit or None,
        "range": {"low": reference.low, "high": reference.high} if reference else None,
        "flag": event.flag or None,
        "date": event.when or None,
        "until": event.end.isoformat() if event.end else None,
        "file": event.source.partition(" p. ")[0],
        "page": row.page,
        "line": row.line,
        "printed": row.printed,
        "way": row.way,
        "score": round(row.score, 3),
        "problems": list(row.problems),
    }


def extract(request: ExtractRequest, *, on_progress: Progress | None = None) -> Extraction:
    """Reads documents to structured values.

    The rules of the layout read the rows; the language model is loaded only for lines that they
    could not read and for a form. Nothing that is returned is absent from the text.

    Args:
        request: What to read.
        on_progress: Called with the stage, steps done and steps in all.

    Raises:
        OslerError: If the files, the form or the model are at fault.
    """
    request.check()
    check_speculation(request.speculation, backend=request.backend)
    report = on_progress or (lambda stage, done, total: None)
    started = time.perf_counter()
    report("read", 0, 0)
    documents, left_out = _documents(Path(request.path), pictures=request.pictures, report=report)
    read = time.perf_counter()
    asked = [(one, line) for one in documents for line in one.unread] if request.unread == "model" else []
    session = None
    timings = {"read": read - started}
    if asked or request.form is not None:
        report("load", 0, 0)
        session = request.load()  # torch comes with it: most documents do without
        timings["load"] = time.perf_counter() - read
    extraction = _read_by_model(session, request, documents=documents, report=report)
    answer = replace(
        extraction.answer,
        left_out=tuple(left_out),
        timings=timings | {"answer": time.perf_counter() - started - sum(timings.values())},
    )
    return replace(extraction, answer=answer)


def _read_by_model(
    session: Session | None, request: ExtractRequest, *, documents: Sequence[ReadDocument], report: Progress
) -> Extraction:
    rows = [row for one in documents for row in one.rows]
    unread: list[tuple[str, int, str]] = []
    warnings = [f"{one.document.name}: {problem}" for one in documents for problem in one.document.problems]
    lines = [(one, line) for one in documents for line in one.unread]
    for number, (one, line) in enumerate(lines):
        row = None
        if session is not None and request.unread == "model":
            from osler.tasks.extract_model import MOST_LINES, read_line

            if number < MOST_LINES:
                report("answer", number, len(lines))
                row, _ = read_line(session, line, date=one.document.date, source=one.document.source)
        if row is not None:
            rows.append(row)
        else:
            unread.append((one.document.source, line.page, line.plain))
    filled, refused = None, ()
    if session is not None and request.form is not None:
        from osler.tasks.extract_model import fill_form

        report("answer", 0, 0)
        filled, refused, more = fill_form(
            session,
            documents,
            schema=request.form,
            max_tokens=request.max_tokens,
            speculation=request.speculation,
        )
        warnings.extend(more)
    by_model = sum(row.way == "model" for row in rows)
    if by_model:
        warnings.append(
            f"{by_model} of {len(rows)} values were read by the language model: compare them with their lines."
        )
    stamp = NO_MODEL if session is None else _stamp(session)
    return Extraction(
        answer=_answer(rows, stamp=stamp, preprocess=_hash(session), warnings=warnings),
        documents=tuple(documents),
        rows=tuple(rows),
        unread=tuple(unread),
        filled=filled,
        refused=tuple(refused),
    )


def _answer(rows: Sequence[DocumentRow], *, stamp: ModelStamp, preprocess: str, warnings: Sequence[str]) -> Answer:
    return Answer(
        text="\n".join(describe(row) for row in rows) or "No values were found.",
        model=stamp,
        preprocess=preprocess,
        task="extract",
        observations=tuple(row.event for row in rows if row.event.kind == "observation"),
        evidence=tuple(
            Evidence(
                kind="document",
                file=row.event.source.partition(" p. ")[0],
                note=f"page {row.page}: {row.line}",
                date=row.event.date,
                code=row.event.code,
                value=row.event.value,
                unit=row.event.unit,
            )
            for row in rows
        ),
        warnings=tuple(warnings),
    )


def describe(row: DocumentRow) -> str:
    """Writes one value in one line: day, name, value, unit, range, flag."""
    event = row.event
    value = f"{event.value:g}" if isinstance(event.value, float) else (event.value or "")
    limits = ""
    if event.reference is not None:
        low, high = event.reference.low, event.reference.high
        limits = f"({low:g} to {high:g})" if low is not None and high is not None else ""
        limits = limits or (f"(up to {high:g})" if high is not None else f"(from {low:g})" if low is not None else "")
    until = f"until {event.end}" if event.end else event.status
    code = f"[{event.system} {event.code}]" if event.code else ""
    parts = (event.when or "no date", event.name, value, event.unit, limits, event.flag, until, code)
    return " ".join(part for part in parts if part)


def _stamp(session: Session) -> ModelStamp:
    checkpoint = session.checkpoint
    return ModelStamp(
        name=checkpoint.name,
        weights=checkpoint.source.name,
        bits=session.checkpoint.bits or 8 * session.runner.dtype.itemsize,
        backend=session.runner.backend,
        device=session.runner.place,
    )


def _hash(session: Session | None) -> str:
    return "" if session is None else session.checkpoint.preprocess.hash


def _documents(place: Path, *, pictures: Pictures, report: Progress) -> tuple[list[ReadDocument], list[LeftOut]]:
    """Reads the documents at a path; in a folder, what fails is listed and the rest goes on."""
    if place.is_dir():
        blobs, left_out = find_files(place)
    elif place.is_file():
        blobs, left_out = [DiskBlob(place, place.stat().st_size)], []
    else:
        raise FileFormatError(
            f"{str(place)!r} cannot be opened: there is no such file.",
            allowed="A PDF, a picture of a document, or a folder of them.",
            next_step="Check the path.",
        )
    documents: list[ReadDocument] = []
    with DocumentProcess() as process:
        for number, blob in enumerate(blobs):
            report("read", number, len(blobs))
            try:
                documents.append(read_document(blob, kind=_kind(blob, pictures=pictures), process=process))
            except (DataError, CapacityError) as error:
                if not place.is_dir():
                    raise
                left_out.append(LeftOut(what=blob.name, why=error.problem.removeprefix(blob.name).lstrip(": ")))
    if not documents:
        raise UnsupportedError(
            f"{place} holds no documents that can be read ({len(left_out)} left out).",
            allowed="PDFs, and pictures of documents (PNG, JPEG, TIFF).",
            next_step=f"First: {left_out[0].what} {left_out[0].why}"
            if left_out
            else "Check that this is the right path.",
        )
    return documents, left_out


def _kind(blob: Blob, *, pictures: Pictures) -> DocumentKind:
    try:
        with blob.open() as stream:
            kind = kind_of(stream.read(HEAD_BYTES))
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise FileFormatError(f"{blob.name} cannot be read ({reason}).", next_step="Check its permissions.") from error
    if kind == "pdf":
        return "pdf"
    if kind != "picture":
        raise UnsupportedError(
            f"{blob.name} is no document.",
            allowed="PDFs, and pictures of documents (PNG, JPEG, TIFF).",
            next_step="Ask about images and records with `osler ask` and `osler ehr`.",
        )
    if pictures == "image" or (pictures == "judge" and not is_document(blob)):
        raise UnsupportedError(
            f"{blob.name} looks like a medical image, not like a page of text.",
            next_step="If it is a document, add --as document.",
        )
    return "picture"


def check_form(form: Any) -> Mapping[str, Any]:
    """Checks that a user's form is a JSON schema of an object.

    Raises:
        RequestError: If not.
    """
    if not isinstance(form, dict) or form.get("type") != "object":
        raise RequestError(
            "The schema is not that of an object.",
            allowed='JSON Schema with "type": "object" and "properties".',
            next_step="See docs/how-to/read-a-lab-report.md.",
        )
    return form
