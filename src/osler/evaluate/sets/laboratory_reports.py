"""Laboratory reports as pictures or PDFs to JSON, by the published prompt; Osler's rules beside the model.

The reports behind the published figures are internal, but for the Mendeley ones. This reads any
in Osler's layout: ``lab-reports/NAME/reports/`` with PDFs, pictures, or folders of pages, and
``lab-reports/NAME/wanted.json``, an object from the name of a report to the list of its tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osler.errors import CapacityError, FileFormatError, OslerError
from osler.evaluate.laboratory_json import field_counts, plain_test, read_tests
from osler.evaluate.published_questions import LABORATORY_REPORT
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.choice_files import inside, read_records
from osler.evaluate.sets.questions import shown_together
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.extras import import_extra
from osler.readers.blob import DiskBlob
from osler.readers.document import read_document
from osler.readers.document_labs import DocumentRow
from osler.readers.document_process import DocumentKind, missing_packages
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.weights.skills import Skill

MOST_TOKENS = 8192
"""Of an answer: the longest that the model card of MedGemma 1.5 names."""
MOST_PAGES = 40
"""Pages of a report: rendered ones are 12 MB each, and take 260 tokens."""
_ALLOWED = "An object from the name of a report to a list of tests, each an object with 'name'."


class LaboratoryReports:
    """F1 of the fields of laboratory tests.

    Args:
        source: Name of the folder. title: For people.
    """

    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (Measure(name="macro F1", field="f1", over="parts"),)
    batch = 1

    def __init__(self, source: str, *, title: str) -> None:
        self.name = f"lab-reports-{source}"
        self.title = title
        self._folder = f"lab-reports/{source}"

    def plan(self, setting: Setting) -> Plan:
        """Reads what is wanted of each report."""
        wanted, reports = f"{self._folder}/wanted.json", f"{self._folder}/reports"
        if absent := missing_files(setting.root, wanted, reports):
            return Plan(absent=absent)
        path = setting.root / wanted
        try:
            records = json.loads(path.read_text(encoding="utf-8")).items()
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise FileFormatError(
                f"{path.name} cannot be read: {type(error).__name__}: {error}.", allowed=_ALLOWED
            ) from error
        folder = setting.root / reports
        named = ((name, (folder, name, tests)) for name, tests in records)
        found = read_records(named, _wanted, path=path, allowed=_ALLOWED)
        cases = [Case(name=name, patient=name, content=entry) for name, entry in found.items()]
        notes = (
            "The report names the metric and prints no rule for it: how tests are matched and fields compared is "
            "Osler's, so compare with the published figure with care.",
            "Rules: Osler's reading of documents without a model, which gives no specimen and no method.",
        )
        missing = "" if not missing_packages("pdf") else "Without the rules: pip install 'osler[documents]'."
        return Plan(cases=shuffled(cases), notes=(*notes, *([missing] if missing else [])))

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the pages."""
        if isinstance(case.content, OslerError):
            raise case.content
        return pages_of(case.content[0])

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks for the tests of each report; a row a field."""
        rows = []
        for case in cases:
            study = case.opened or self.open(setting, case)
            path, wanted = case.content
            inquiry = Inquiry(study=study, question=LABORATORY_REPORT)
            (said,) = setting.responder.ask([inquiry], max_tokens=MOST_TOKENS)
            counts = {MODEL: field_counts(wanted, read_tests(said))}
            if (ruled := read_by_rules(path)) is not None:
                counts["rules"] = field_counts(wanted, ruled)
            rows += [
                Row(
                    case=f"{case.name}#{field}",
                    patient=case.patient,
                    part=field,
                    values={"f1": {system: found[field] for system, found in counts.items()}},
                    asked=field,
                    said=said,
                    truth=json.dumps([test.get(field, "") for test in wanted], ensure_ascii=False),
                    picture={"file": str(path)} if path.is_file() and path.suffix.lower() != ".pdf" else {},
                )
                for field in counts[MODEL]
            ]
        return rows


def _wanted(entry: tuple[Path, str, Any]) -> tuple[Path, list[dict[str, str]]]:
    """Where a report lies, and its tests."""
    folder, name, record = entry
    tests = [plain_test(test) for test in record]
    if not tests or not all(test.get("name") for test in tests):
        raise ValueError("no tests, or a test without a name")
    return inside(folder, name), tests


def page_files(path: Path) -> list[Path]:
    """The files of a report: itself, or those in its folder by name.

    Raises:
        FileFormatError: If there is none.
    """
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    if not files or not all(one.is_file() for one in files):
        raise FileFormatError(f"{path.name} is not there, or is an empty folder.", allowed="A PDF, a picture or pages.")
    return files


def pages_of(path: Path) -> Study:
    """Opens the pages of a report as images, PDFs rendered at 200 dpi.

    Raises:
        OslerError: If a file is at fault, or the package that renders PDFs is missing.
    """
    points: list[TimePoint] = []
    for file in page_files(path):
        opened = _rendered(file) if file.suffix.lower() == ".pdf" else shown_together([file])
        points += opened.timepoints if opened is not None else ()
    return Study(timepoints=(TimePoint(series=tuple(one for point in points for one in point.series)),))


def _rendered(path: Path) -> Study:
    from osler.readers.document_pdf import render

    pdfium = import_extra("pypdfium2", extra="documents")
    try:
        document = pdfium.PdfDocument(path)
        try:
            if len(document) > MOST_PAGES:
                raise CapacityError(f"{path.name} has {len(document)} pages.", allowed=f"At most {MOST_PAGES}.")
            pages = [render(page) for page in document]
        finally:
            document.close()
    except (OSError, pdfium.PdfiumError, ValueError) as error:
        raise FileFormatError(
            f"{path.name} cannot be rendered: {error}.", allowed="A PDF without a password."
        ) from error
    if not pages:
        raise FileFormatError(f"{path.name} has no page.", allowed="A PDF with pages.")
    images = tuple(
        Image(series=f"{path.name} p. {number}", pixels=ArrayPixels(page), units="RGB")
        for number, page in enumerate(pages, start=1)
    )
    return Study(timepoints=(TimePoint(series=images),))


def read_by_rules(path: Path) -> list[Mapping[str, str]] | None:
    """What Osler's rules read from a report; ``None`` where their packages are missing."""
    found: list[Mapping[str, str]] = []
    for file in page_files(path):
        kind: DocumentKind = "pdf" if file.suffix.lower() == ".pdf" else "picture"
        if missing_packages(kind):
            return None
        try:
            read = read_document(DiskBlob(file, file.stat().st_size), kind=kind)
        except OslerError:  # a page without text is a page of which the rules read nothing
            continue
        found += [_as_test(row) for row in read.rows if row.event.kind == "observation"]
    return found


def _as_test(row: DocumentRow) -> dict[str, str]:
    event = row.event
    day = event.date.strftime("%d-%m-%Y") if event.date else ""
    return plain_test({"name": event.name, "result": row.printed, "unit": event.unit, "sample_collection_time": day})


LABORATORY_REPORT_SETS = tuple(
    LaboratoryReports(source, title=f"Laboratory reports to JSON, {called}")
    for source, called in (("ehr2", "EHR2"), ("ehr3", "EHR3"), ("ehr4", "EHR4"), ("mendeley", "Mendeley"))
)
