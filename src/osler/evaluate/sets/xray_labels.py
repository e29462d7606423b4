"""CXR14, CheXpert and MIMIC-CXR, asked finding by finding as MedGemma's report does: macro F1."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from osler.evaluate.imaging_prompts import ImagingPrompts, finding_question
from osler.evaluate.sets import mimic
from osler.evaluate.sets.types import missing_files
from osler.evaluate.sets.xrays import each_row, nih_picture, open_xray, read_table
from osler.evaluate.sets.yes_no_questions import Benchmark, Exam, Exams, YesNoQuestions, yes_no_word
from osler.study import Study

FIVE = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Pleural Effusion": "pleural effusion",
}
"""Columns of CheXpert and MIMIC-CXR to the five findings that the report asks for."""

THREE = {"Airspace opacity": "lung opacity", "Pneumothorax": "pneumothorax", "Fracture": "fracture"}
"""Columns of the adjudicated labels of CXR14 to the three findings that the report asks for."""

_CXR14 = "cxr/nih/four_findings_expert_labels/test_labels.csv"
_CHEXPERT = "cxr/chexpert"
_BELOW = re.compile(r"(?:^|/)((?:test|valid)/(patient\d+)/.+)$")
_LABELS = "1 (present), 0 (absent), -1 (uncertain) or nothing (not mentioned)."


def original_label(cell: str) -> bool:
    """What a label says where uncertain and missing ones count as absent.

    Raises:
        ValueError: If it is none of 1, 0, -1 and nothing.
    """
    return _number(cell) == 1


def explicit_label(cell: str) -> bool | None:
    """What a label says where uncertain and missing ones are not asked about.

    Raises:
        ValueError: If it is none of 1, 0, -1 and nothing.
    """
    number = _number(cell)
    return None if number in (None, -1) else number == 1


def _number(cell: str) -> float | None:
    number = float(cell) if cell.strip() else None
    if number not in (None, 1, 0, -1):
        raise ValueError(cell)
    return number


def _cxr14(root: Path) -> Exams:
    if absent := missing_files(root, _CXR14, "cxr/nih/images"):
        return Exams(absent=absent)
    rows = read_table(root / _CXR14, columns=("Image Index", "Patient ID", *THREE))
    exams = [
        Exam(
            name=row["Image Index"],
            patient=row["Patient ID"],
            path=nih_picture(root, row["Image Index"]),
            cells={finding: row[column] for column, finding in THREE.items()},
        )
        for row in rows
    ]
    return _there(exams)


def _chexpert(root: Path) -> Exams:
    """The test set where it is there, else the validation set, which is published with the training data."""
    folder = root / _CHEXPERT
    tables = [folder / name for name in ("test_labels.csv", "valid.csv") if (folder / name).is_file()]
    if not tables:
        return Exams(absent=f"not found: {_CHEXPERT}/test_labels.csv or valid.csv")
    exams = []
    for row in read_table(tables[0], columns=("Path", *FIVE)):
        # A folder such as CheXpert-v1.0-small stands before some paths.
        below = _BELOW.search(row["Path"])
        place, patient = (below[1], below[2]) if below else (row["Path"], row["Path"])
        cells = {finding: row[column] for column, finding in FIVE.items()}
        exams.append(Exam(name=place, patient=patient, path=folder / place, cells=cells))
    notes = ()
    if tables[0].name == "valid.csv":
        notes = ("This is CheXpert's validation set (234 pictures): the published figure is of the test set (668).",)
    return _there(exams, notes=notes)


def _mimic(root: Path, *, labels: str, only: str) -> Exams:
    """Frontal pictures of the official test split, labeled by study."""
    if absent := mimic.missing_tables(root, labels, mimic.SPLIT, mimic.METADATA):
        return Exams(absent=absent)
    tested = [image for image in mimic.images(root) if image.part == "test"]
    views = mimic.frontal(root)
    chosen: frozenset[str] | None = None
    if (listed := root / mimic.FOLDER / only).is_file():
        chosen = frozenset(row["dicom_id"] for row in each_row(listed, columns=("dicom_id",)))
    studies = {image.study for image in tested}
    rows = each_row(mimic.table(root, labels), columns=("study_id", *FIVE))
    cells = {
        row["study_id"]: {finding: row[column] for column, finding in FIVE.items()}
        for row in rows
        if row["study_id"] in studies
    }
    exams = [
        Exam(name=image.dicom, patient=image.patient, path=image.path(root), cells=cells[image.study])
        for image in tested
        if image.study in cells and (image.dicom in chosen if chosen is not None else image.dicom in views)
    ]
    told = f"Only the pictures that {only} lists." if chosen is not None else "All frontal pictures of the test split."
    return _there(exams, notes=(told,))


def _there(exams: list[Exam], *, notes: tuple[str, ...] = ()) -> Exams:
    found = tuple(exam for exam in exams if exam.path.is_file())
    return Exams(found=found, missing=len(exams) - len(found), notes=notes)


def _open(exam: Exam) -> Study:
    return open_xray(exam.path)


def _ask(prompts: ImagingPrompts, exam: Exam, finding: str) -> str:
    return prompts.yes_no.format(question=finding_question(finding))


XRAY_LABEL_SETS = (
    YesNoQuestions(
        Benchmark(
            name="cxr14",
            title="CXR14 (3 findings)",
            source="nih",
            find=_cxr14,
            open=_open,
            ask=_ask,
            read=yes_no_word,
            allowed="YES or NO.",
            notes=("Labels that radiologists agreed upon (Majkowska et al., Radiology 2020), 1,962 pictures in all.",),
        )
    ),
    YesNoQuestions(
        Benchmark(
            name="chexpert",
            title="CheXpert (5 findings)",
            source="chexpert",
            find=_chexpert,
            open=_open,
            ask=_ask,
            read=explicit_label,
            allowed=_LABELS,
            notes=("Uncertain and missing labels are not asked about; the test set has none.",),
        )
    ),
    YesNoQuestions(
        Benchmark(
            name="mimic-cxr",
            title="MIMIC-CXR, labels of CheXpert's program (5 findings)",
            source="mimic-cxr",
            find=partial(_mimic, labels="mimic-cxr-2.0.0-chexpert.csv", only="maira-images.csv"),
            open=_open,
            ask=_ask,
            read=original_label,
            allowed=_LABELS,
            notes=(
                "Uncertain and missing labels count as absent, as in the report.",
                "The published figure is of the 2,461 pictures of MAIRA-1's test set, which maira-images.csv can list.",
            ),
        )
    ),
    YesNoQuestions(
        Benchmark(
            name="mimic-cxr-med-gemini",
            title="MIMIC-CXR, labels of Med-Gemini (5 findings)",
            source="mimic-cxr",
            find=partial(_mimic, labels="med-gemini-labels.csv", only="med-gemini-images.csv"),
            open=_open,
            ask=_ask,
            read=explicit_label,
            allowed=_LABELS,
            notes=(
                "Uncertain and missing labels are not asked about, as in the report.",
                "The labels behind the published figure (1,532 pictures) were not published: it holds for them alone.",
            ),
        )
    ),
)
