"""How exactly laboratory reports and letters are read: precision and recall of each field.

    python benchmarks/read_documents.py                      200 reports of each layout, with their text layer
    python benchmarks/read_documents.py --kind scans --count 50     50 scans of each style
    python benchmarks/read_documents.py --kind letters

The documents are drawn by `osler.synth.documents`, whose facts are known. The rules were
tuned on seeds below 1000; this measures on others (--seed, 5000 by default).
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from osler.readers.blob import DiskBlob
from osler.readers.document import ReadDocument, read_document
from osler.readers.document_process import DocumentProcess
from osler.readers.document_units import ucum_of
from osler.synth.documents.discharge import discharge_letter_pdf
from osler.synth.documents.lab_pdf import LAYOUTS, lab_report_pdf
from osler.synth.documents.layout_cumulative import MOST_DATES
from osler.synth.documents.scan import SCANNERS, scan_pdf
from osler.synth.documents.sheet import LabSheet, lab_sheets
from osler.synth.draw import draw_patient
from osler.synth.facts import PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.timeline import build_timeline, calendar_date

FIELDS = ("value", "name", "unit", "range", "flag", "date")
_FLAGS = {"low": "L", "normal": "", "high": "H"}


@dataclass
class Score:
    """Counts of one kind of document."""

    documents: int = 0
    truths: int = 0
    found: int = 0
    right: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    misses: list[str] = field(default_factory=list)

    def add(self, wanted: dict[tuple, tuple], got: dict[tuple, tuple], *, name: str) -> None:
        """Adds a document: what it holds and what was read, by (LOINC, date)."""
        self.documents += 1
        self.truths += len(wanted)
        self.found += len(got)
        for key, truth in wanted.items():
            read = got.get(key)
            if read is None:
                self.misses.append(f"{name}: missed {key} {truth[0]}")
                continue
            for field_name, one, other in zip(FIELDS, truth, read, strict=True):
                if one == other:
                    self.right[field_name] += 1
                else:
                    self.misses.append(f"{name}: {key} {field_name} {other!r}, not {one!r}")
        self.misses += [f"{name}: made up {key} {got[key][0]}" for key in got.keys() - wanted.keys()]


def main() -> None:
    """Reads the documents and prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=("reports", "scans", "letters"), default="reports")
    parser.add_argument("--count", type=int, default=200, help="documents of each kind")
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--styles", nargs="+", choices=tuple(SCANNERS), default=tuple(SCANNERS), help="of scans")
    parser.add_argument("--misses", type=int, default=0, help="print so many of the errors")
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    processor = platform.processor() or platform.machine()
    print(f"{processor}, Python {platform.python_version()}, commit {commit.stdout.strip()}")
    print(f"seed {options.seed}, {options.count} documents of each kind\n")
    if options.kind == "letters":
        _letters(options)
    else:
        _reports(options)


def _reports(options: argparse.Namespace) -> None:
    kinds = LAYOUTS if options.kind == "reports" else options.styles
    print("| kind | documents | values | precision | recall | " + " | ".join(FIELDS[1:]) + " | s a document |")
    print("|---|---|---|---|---|" + "---|" * len(FIELDS))
    with DocumentProcess() as process, tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            score = Score()
            for number, sheet in enumerate(_sheets(options)):
                layout = kind if options.kind == "reports" else LAYOUTS[number % len(LAYOUTS)]
                pdf = lab_report_pdf(sheet, layout=layout, variant=number)
                if options.kind == "scans":
                    pdf = scan_pdf(pdf, style=kind, key=1000 * options.seed + number)
                path = Path(folder, "report.pdf")
                path.write_bytes(pdf)
                started = time.perf_counter()
                read = _read(path, process=process)
                score.seconds += time.perf_counter() - started
                score.add(_wanted(sheet, layout=layout), _got(read), name=f"{kind} {number} {layout}")
            _print(kind, score, options=options)


def _read(path: Path, *, process: DocumentProcess) -> ReadDocument:
    return read_document(DiskBlob(path, path.stat().st_size), kind="pdf", process=process)


def _sheets(options: argparse.Namespace) -> Iterator[LabSheet]:
    """One sheet of each patient that has any: the last."""
    given = number = 0
    while given < options.count:
        sheets = lab_sheets(draw_patient(seed=options.seed, number=number))
        number += 1
        if sheets:
            given += 1
            yield sheets[-1]


def _wanted(sheet: LabSheet, *, layout: str) -> dict[tuple, tuple]:
    sheets = (*sheet.earlier[-(MOST_DATES - 1) :], sheet) if layout == "cumulative" else (sheet,)
    cells = {"6690-2", "777-3", "751-8", "731-0"}
    return {
        (one.loinc, each.date): (
            one.value,
            one.loinc,
            (ucum_of(one.unit, cells=one.loinc in cells) or "") if one.unit else "",
            (float(one.low) if one.low else None, float(one.high) if one.high else None),
            _FLAGS[one.flag],
            each.date,
        )
        for each in sheets
        for one in each.results
    }


def _got(read: ReadDocument) -> dict[tuple, tuple]:
    got: dict[tuple, tuple] = {}
    for number, event in enumerate(row.event for row in read.rows if row.event.kind == "observation"):
        reference = event.reference
        limits = (reference.low, reference.high) if reference else (None, None)
        key = (event.code or event.name, event.date)
        if key in got:  # a value read twice is made up once
            key = (*key, number)
        got[key] = (event.value, event.code, event.unit, limits, event.flag, event.date)
    return got


def _letters(options: argparse.Namespace) -> None:
    print("| kind | letters | entries | precision | recall |\n|---|---|---|---|---|")
    totals: dict[str, Counter[str]] = {"condition": Counter(), "medication": Counter(), "laboratory value": Counter()}
    misses: list[str] = []
    with DocumentProcess() as process, tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            patient = draw_patient(seed=options.seed, number=number)
            path = Path(folder, "letter.pdf")
            path.write_bytes(discharge_letter_pdf(patient, style=("prose", "form")[number % 2]))
            events = _read(path, process=process).events
            for kind, wanted in _facts(patient).items():
                got = _named(events, kind=kind)
                totals[kind].update(
                    truth=sum(wanted.values()), found=sum(got.values()), right=sum((wanted & got).values())
                )
                misses += [f"letter {number}: missed {one}" for one in wanted - got]
                misses += [f"letter {number}: made up {one}" for one in got - wanted]
    for kind, count in totals.items():
        precision, recall = (100 * count["right"] / max(count[name], 1) for name in ("found", "truth"))
        print(f"| {kind} | {options.count} | {count['truth']} | {precision:.2f}% | {recall:.2f}% |")
    print("\n".join(misses[: options.misses]))


def _facts(patient: PatientFacts) -> dict[str, Counter[tuple]]:
    """What a letter after the last exam says."""
    day = patient.exams[-1].day
    codes = {entry.key: entry.icd10 for entry in load_ontology().conditions}
    timeline = build_timeline(patient)
    conditions = Counter(
        (span.name, codes[span.key] or "", calendar_date(span.start).replace(day=1))
        for span in timeline.conditions
        if span.start <= day
    )
    drugs = Counter(
        (
            span.name,
            calendar_date(span.start),
            None if span.stop is None or span.stop > day else calendar_date(span.stop),
        )
        for span in timeline.medications
        if span.start <= day
    )
    sheets = [sheet for sheet in lab_sheets(patient) if sheet.date <= calendar_date(day)][-4:]
    keys = {one.key for sheet in sheets for one in sheet.results if one.flag != "normal"}
    labs = Counter((one.loinc, sheet.date, one.value) for sheet in sheets for one in sheet.results if one.key in keys)
    return {"condition": conditions, "medication": drugs, "laboratory value": labs}


def _named(events: tuple, *, kind: str) -> Counter[tuple]:
    if kind == "laboratory value":
        return Counter((e.code, e.date, e.value) for e in events if e.kind == "observation")
    if kind == "condition":
        return Counter((e.name, e.code, e.date) for e in events if e.kind == kind)
    return Counter((e.name, e.date, e.end) for e in events if e.kind == kind)


def _print(kind: str, score: Score, *, options: argparse.Namespace) -> None:
    def percent(count: int, of: int) -> str:
        return f"{100 * count / max(of, 1):.2f}%"

    fields = [percent(score.right[name], score.truths) for name in FIELDS[1:]]
    precision, recall = percent(score.right["value"], score.found), percent(score.right["value"], score.truths)
    seconds = f"{score.seconds / max(score.documents, 1):.2f}"
    print(
        f"| {kind} | {score.documents} | {score.truths} | {precision} | {recall} | {' | '.join(fields)} | {seconds} |"
    )
    print("".join(f"{miss}\n" for miss in score.misses[: options.misses]), end="", flush=True)


if __name__ == "__main__":
    main()
