"""One patient as a folder: DICOM series, FHIR bundle, PDFs, reports, and the facts they were made from.

::

    OSLER-7-12/
      README.txt                         what this is, and that nothing in it is real
      facts.json                         the facts, and what made them
      boxes.json                         where each lesion lies, in mm or pixels
      record.fhir.json                   FHIR R4 bundle
      images/exam-0-ct-chest-plain/      one DICOM series an exam
      reports/exam-0-ct-chest-plain.txt  the imaging report
      documents/laboratory-2000-01-01.pdf, discharge-letter.pdf

A folder is written under a hidden name and renamed when it is whole, so that what
stands under the patient's name is complete.
"""

from __future__ import annotations

import dataclasses
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
from osler.synth.rendered import LesionBox, Render, RenderedField, RenderedImage, RenderedVolume
from osler.synth.timeline import calendar_date, patient_id

FORMAT = 1
_FACTS, _BOXES, _BUNDLE, _README = "facts.json", "boxes.json", "record.fhir.json", "README.txt"
_PART = ".osler-{pid}-{name}.part"
_SCANNED_SHARE = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlan:
    """How patients are written; folders of other plans are not mixed.

    Args:
        images: ``"dicom"``, or ``"none"`` for the record alone.
        documents: ``"all"`` (a share of the laboratory reports is scanned), ``"text"`` (none is), or ``"none"``.
        grid: What the renderer was asked for, in words.
    """

    images: Literal["dicom", "none"] = "dicom"
    documents: Literal["all", "text", "none"] = "all"
    grid: str = "full"


def write_patient_folder(
    patient: PatientFacts,
    *,
    out: Path,
    render: Render | None = None,
    report_text: Callable[[Exam], str] = exam_sentence,
    plan: FolderPlan | None = None,
) -> Path:
    """Writes a patient's folder below ``out``, whole or not at all.

    Args:
        patient: The facts.
        out: An existing folder.
        render: Draws an exam; without it there are no images.
        report_text: Gives the text of an exam's report.
        plan: What is written; by default everything that ``render`` can draw.

    Returns:
        The folder. If it stands there already with the same facts and plan, it is left as it is.

    Raises:
        RequestError: If other data stands there, or the disk is full or read-only.
    """
    if plan is None:
        plan = FolderPlan(images="none" if render is None else "dicom")
    target = out / patient_id(patient)
    facts = facts_record(patient, plan=plan)
    if target.exists() or target.is_symlink():
        _require_same(target, facts=facts)
        _require_whole(target)
        return target
    part = out / _PART.format(pid=os.getpid(), name=target.name)
    try:
        part.mkdir()
        _fill(part, patient=patient, render=render, report_text=report_text, plan=plan, facts=facts)
        part.rename(target)
    except OSError as error:
        raise RequestError(
            f"Cannot write {str(target)!r}: {error.strerror or type(error).__name__}.",
            allowed="The folder must be writable and the disk must have room.",
            next_step="Free some space or name another folder; patients that are there already stay.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


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


def _require_same(target: Path, *, facts: dict[str, Any]) -> None:
    """Checks that a folder in the way is this very patient, complete."""
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


def _require_whole(target: Path) -> None:
    """Checks that the files which the record names are there: somebody may have removed some."""
    try:
        entries = [entry["resource"] for entry in json.loads((target / _BUNDLE).read_text(encoding="utf-8"))["entry"]]
        named = {_BOXES, _README}
        for resource in entries:
            forms = [*resource.get("presentedForm", ()), *(part["attachment"] for part in resource.get("content", ()))]
            named |= {form["url"] for form in forms if form.get("url")}
        lost = sorted(name for name in named if not (target / name).is_file())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        lost = [_BUNDLE]
    if lost:
        raise RequestError(
            f"{str(target)!r} is not whole: {', '.join(lost[:3])} is damaged or missing.",
            allowed="Folders of an earlier run, as it left them.",
            next_step="Remove this patient's folder and give the same command again.",
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
            if rendered is not None and not isinstance(rendered, RenderedField):
                images[exam.number] = _write_exam(rendered, patient=patient, exam=exam, folder=folder)
                boxes += [_box(box, exam=exam) for box in rendered.boxes]
    reports = _write_reports(folder, patient=patient, report_text=report_text)
    labs, letter = _write_documents(folder, patient=patient, plan=plan)
    files = Attachments(labs=labs, letter=letter, reports=reports, images=images)
    _write_json(folder / _BUNDLE, fhir_bundle(patient, report_text=report_text, attachments=files))
    _write_json(folder / _BOXES, boxes)
    _write_json(folder / _FACTS, facts)
    (folder / _README).write_text(_readme(patient, plan=plan), encoding="utf-8")


def exam_name(exam: Exam) -> str:
    """The name of an exam's files, for example ``"exam-0-ct-chest-plain"``."""
    return f"exam-{exam.number}-{exam.protocol}"


def _write_exam(rendered: RenderedVolume | RenderedImage, *, patient: PatientFacts, exam: Exam, folder: Path) -> int:
    """Writes the DICOM files of an exam; returns how many."""
    place = folder / "images" / exam_name(exam)
    place.mkdir(parents=True)
    if isinstance(rendered, RenderedVolume):
        return len(write_volume(rendered, patient=patient, exam=exam, folder=place))
    return len(write_image(rendered, patient=patient, exam=exam, folder=place))


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
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
        f"{_BOXES:<18} where the lesions lie (LPS mm; pixels in radiographs)",
        "reports/           imaging reports as text",
    ]
    if plan.documents != "none":
        lines.append("documents/         laboratory reports and the discharge letter, some of them scanned")
    if plan.images != "none":
        lines.append(f"images/            DICOM series, one an exam (grid: {plan.grid})")
    return "\n".join([*lines, "", "Look at it:  osler inspect .", ""])
