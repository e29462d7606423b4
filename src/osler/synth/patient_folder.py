"""One patient as a folder: DICOM series, FHIR bundle, PDFs, reports, and the facts they were made from.

::

    OSLER-7-12/
      README.txt                         what this is, and that nothing in it is real
      facts.json                         the facts, and what made them
      boxes.json                         where each lesion lies, in mm or pixels
      record.fhir.json                   FHIR R4 bundle
      images/exam-0-ct-chest-plain/      one DICOM series an exam
      images/exam-1-he-colon/            slide.tif (pyramidal) and slide.json: its cells and tumor boxes
      reports/exam-0-ct-chest-plain.txt  the imaging report
      documents/laboratory-2000-01-01.pdf, discharge-letter.pdf
      files.json                         every other file with its size and checksum

A folder is written under a hidden name and renamed when it is whole, so that what
stands under the patient's name is complete. Files that were lost or damaged later are
made again by the next run, from the same facts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

import osler
from osler.errors import RequestError
from osler.synth.dicom_files import write_image, write_volume
from osler.synth.documents.discharge import discharge_letter_pdf
from osler.synth.documents.lab_pdf import LAYOUTS, lab_report_pdf
from osler.synth.documents.phrases import exam_sentence
from osler.synth.documents.scan import SCANNERS, scan_pdf
from osler.synth.documents.sheet import lab_sheets
from osler.synth.draws import Draws
from osler.synth.facts import Exam, PatientFacts
from osler.synth.fhir_bundle import Attachments, fhir_bundle
from osler.synth.folder_files import FILE_LIST, broken_files, differing_files, list_files, list_to_json, read_list
from osler.synth.rendered import LesionBox, Render, Rendered, RenderedField, RenderedVolume
from osler.synth.slide_files import write_slide_files
from osler.synth.timeline import calendar_date, patient_id

FORMAT = 2
_FACTS, _BOXES, _BUNDLE, _README = "facts.json", "boxes.json", "record.fhir.json", "README.txt"
_PART = ".osler-{pid}-{name}.part"
_SCANNED_SHARE = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlan:
    """How patients are written; folders of other plans are not mixed.

    Args:
        images: ``"dicom"`` (slides as TIFF), or ``"none"`` for the record alone.
        documents: ``"all"`` (a share of the laboratory reports is scanned), ``"text"`` (none is), or ``"none"``.
        grid: What the renderer was asked for, in words.
    """

    images: Literal["dicom", "none"] = "dicom"
    documents: Literal["all", "text", "none"] = "all"
    grid: str = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFolder:
    """A patient's folder after a run.

    Args:
        path: The folder.
        state: Whether it was written, was there, or was there with losses that were mended.
        remade: Names of the files that were lost or damaged and were made again.
    """

    path: Path
    state: Literal["written", "kept", "mended"]
    remade: tuple[str, ...] = ()


def write_patient_folder(
    patient: PatientFacts,
    *,
    out: Path,
    render: Render | None = None,
    report_text: Callable[[Exam], str] = exam_sentence,
    plan: FolderPlan | None = None,
) -> WrittenFolder:
    """Writes a patient's folder below ``out``, whole or not at all.

    Args:
        patient: The facts.
        out: An existing folder.
        render: Draws an exam; without it there are no images.
        report_text: Gives the text of an exam's report.
        plan: What is written; by default everything that ``render`` can draw.

    Returns:
        The folder. If it stands there already with the same facts and plan, only files that are missing or
        damaged are made again.

    Raises:
        RequestError: If other data stands there, or the disk is full or read-only.
    """
    if plan is None:
        plan = FolderPlan(images="none" if render is None else "dicom")
    target = out / patient_id(patient)
    facts = facts_record(patient, plan=plan)
    there = target.exists() or target.is_symlink()
    if there and not _losses(target, facts=facts):
        return WrittenFolder(path=target, state="kept")
    part = out / _PART.format(pid=os.getpid(), name=target.name)
    try:
        part.mkdir()
        _fill(part, patient=patient, render=render, report_text=report_text, plan=plan, facts=facts)
        if there:
            return WrittenFolder(path=target, state="mended", remade=_mend(target, fresh=part))
        part.rename(target)
    except OSError as error:
        raise RequestError(
            f"Cannot write {str(target)!r}: {error.strerror or type(error).__name__}.",
            allowed="The folder must be writable and the disk must have room.",
            next_step="Free some space or name another folder; patients that are there already stay.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return WrittenFolder(path=target, state="written")


def facts_record(patient: PatientFacts, *, plan: FolderPlan) -> dict[str, Any]:
    """The facts as JSON, with what made them."""
    record = {
        "osler": osler.__version__,
        "format": FORMAT,
        "synthetic": True,
        "plan": dataclasses.asdict(plan),
        "day_0": calendar_date(0).isoformat(),
        "facts": dataclasses.asdict(patient),
    }
    return json.loads(json.dumps(record))  # tuples become lists, as they are read back


def remove_leftovers(out: Path) -> int:
    """Removes unfinished folders of processes that are gone; returns how many."""
    removed = 0
    for part in out.glob(".osler-*.part"):
        pid = part.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(part, ignore_errors=True)
            removed += 1
    return removed


def _losses(target: Path, *, facts: dict[str, Any]) -> tuple[str, ...]:
    """Files that a folder in the way lacks or has damaged.

    Raises:
        RequestError: If it is not this very patient: that says the list, or where it is gone, the facts.
    """
    records = read_list(target)
    wanted = hashlib.sha256(_json_bytes(facts)).hexdigest()
    if records is None or wanted not in {record.sha256 for record in records if record.name == _FACTS}:
        _require_same(target, facts=facts)
    return (FILE_LIST,) if records is None else broken_files(target, records=records)


def _mend(target: Path, *, fresh: Path) -> tuple[str, ...]:
    """Takes from a fresh folder what another one of the same patient lacks; returns the names."""
    names = differing_files(target, fresh=fresh)
    for name in (*names, FILE_LIST):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).replace(target / name)
    return names or (FILE_LIST,)


def _require_same(target: Path, *, facts: dict[str, Any]) -> None:
    """Checks that a folder in the way is this very patient."""
    try:
        found = json.loads((target / _FACTS).read_text(encoding="utf-8"))
        differ = [key for key in facts if found.get(key) != facts[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise RequestError(
            f"{str(target)!r} exists and is no patient folder of Osler.",
            allowed="A new folder, or one that an earlier run wrote.",
            next_step="Name another folder for the patients.",
        ) from error
    if differ:
        raise RequestError(
            f"{str(target)!r} holds another patient or another plan ({', '.join(differ)} differ).",
            allowed="The same seed, version and options as the run that wrote it.",
            next_step="Name another folder for the patients.",
        )


def _fill(
    folder: Path,
    *,
    patient: PatientFacts,
    render: Render | None,
    report_text: Callable[[Exam], str],
    plan: FolderPlan,
    facts: dict[str, Any],
) -> None:
    images: dict[int, int] = {}
    boxes: list[dict[str, Any]] = []
    if render is not None and plan.images == "dicom":
        for exam in patient.exams:
            rendered = render(patient, exam)
            if rendered is None or (isinstance(rendered, RenderedField) and rendered.spec is None):
                continue
            images[exam.number], shown = _write_exam(rendered, patient=patient, exam=exam, folder=folder)
            boxes += [_box(box, exam=exam) for box in shown]
    reports = _write_reports(folder, patient=patient, report_text=report_text)
    labs, letter = _write_documents(folder, patient=patient, plan=plan)
    files = Attachments(labs=labs, letter=letter, reports=reports, images=images)
    _write_json(folder / _BUNDLE, fhir_bundle(patient, report_text=report_text, attachments=files))
    _write_json(folder / _BOXES, boxes)
    _write_json(folder / _FACTS, facts)
    (folder / _README).write_text(_readme(patient, plan=plan), encoding="utf-8")
    (folder / FILE_LIST).write_text(list_to_json(list_files(folder)), encoding="utf-8")


def exam_name(exam: Exam) -> str:
    """The name of an exam's files, for example ``"exam-0-ct-chest-plain"``."""
    return f"exam-{exam.number}-{exam.protocol}"


def _write_exam(
    rendered: Rendered, *, patient: PatientFacts, exam: Exam, folder: Path
) -> tuple[int, tuple[LesionBox, ...]]:
    """Writes the images of an exam; returns how many files, and the boxes in them."""
    place = folder / "images" / exam_name(exam)
    place.mkdir(parents=True)
    if isinstance(rendered, RenderedField):
        assert rendered.spec is not None
        return 1, write_slide_files(rendered.spec, exam=exam, folder=place)
    if isinstance(rendered, RenderedVolume):
        return len(write_volume(rendered, patient=patient, exam=exam, folder=place)), rendered.boxes
    return len(write_image(rendered, patient=patient, exam=exam, folder=place)), rendered.boxes


def _box(box: LesionBox, *, exam: Exam) -> dict[str, Any]:
    about = {"exam": exam.number, "series_uid": exam.acquisition.series_uid}
    return about | {"finding": box.finding, "lesion": box.lesion} | dataclasses.asdict(box.box)


def _write_reports(folder: Path, *, patient: PatientFacts, report_text: Callable[[Exam], str]) -> dict[int, str]:
    (folder / "reports").mkdir()
    places = {}
    for exam in patient.exams:
        places[exam.number] = f"reports/{exam_name(exam)}.txt"
        (folder / places[exam.number]).write_text(report_text(exam) + "\n", encoding="utf-8")
    return places


def _write_documents(folder: Path, *, patient: PatientFacts, plan: FolderPlan) -> tuple[dict[int, str], str]:
    """Writes the PDFs; returns their addresses, by day, and the letter's."""
    if plan.documents == "none":
        return {}, ""
    (folder / "documents").mkdir()
    draws = Draws(seed=patient.seed, patients=np.array([patient.number]))
    days = sorted({lab.day for lab in patient.labs})
    labs = {}
    for day, sheet in zip(days, lab_sheets(patient), strict=True):
        layout = LAYOUTS[int(draws.below("document-layout", len(LAYOUTS), day)[0])]
        pdf = lab_report_pdf(sheet, layout=layout, variant=int(draws.below("document-variant", 8, day)[0]))
        if plan.documents == "all" and draws.uniform("document-scanned", day)[0] < _SCANNED_SHARE:
            style = tuple(SCANNERS)[int(draws.below("document-scanner", len(SCANNERS), day)[0])]
            pdf = scan_pdf(pdf, style=style, key=int(draws.bits("document-scan", day)[0]))
        labs[day] = f"documents/laboratory-{sheet.date.isoformat()}.pdf"
        (folder / labs[day]).write_bytes(pdf)
    if not patient.exams:
        return labs, ""
    letter = "documents/discharge-letter.pdf"
    (folder / letter).write_bytes(discharge_letter_pdf(patient))
    return labs, letter


def _write_json(path: Path, record: object) -> None:
    path.write_bytes(_json_bytes(record))


def _json_bytes(record: object) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def _readme(patient: PatientFacts, *, plan: FolderPlan) -> str:
    lines = [
        f"{patient_id(patient)}: a synthetic patient made by Osler {osler.__version__}",
        f"(seed {patient.seed}, number {patient.number}).",
        "",
        "Nothing here is real: no person, no hospital, no diagnosis. Not for care.",
        f"Dates are shifted: the first exam lies on {calendar_date(0).isoformat()} for every patient.",
        "",
        f"{_FACTS:<18} the facts from which everything else was made",
        f"{_BUNDLE:<18} the record as a FHIR R4 bundle",
        f"{_BOXES:<18} where the lesions lie (LPS mm; pixels in radiographs and slides)",
        f"{FILE_LIST:<18} every other file with its size and checksum",
        "reports/           imaging reports as text",
    ]
    if plan.documents != "none":
        lines.append("documents/         laboratory reports and the discharge letter, some of them scanned")
    if plan.images != "none":
        lines.append(f"images/            DICOM series, one an exam (grid: {plan.grid}); slides as TIFF")
    return "\n".join([*lines, "", "Look at it:  osler inspect .", ""])
