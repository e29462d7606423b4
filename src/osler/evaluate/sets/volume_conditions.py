"""Conditions on CT and MR volumes, asked one by one: CT-RATE by macro F1, tables of one's own by macro accuracy."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from osler.errors import FileFormatError
from osler.evaluate.imaging_prompts import ImagingPrompts
from osler.evaluate.sets.choice_files import inside
from osler.evaluate.sets.types import missing_files
from osler.evaluate.sets.xrays import read_table
from osler.evaluate.sets.yes_no_questions import (
    ACCURACY_FIRST,
    Benchmark,
    Exam,
    Exams,
    YesNoQuestions,
    yes_no_word,
)
from osler.readers import open_study
from osler.study import Study, Volume

Modality = Literal["CT", "MR"]

EIGHTEEN = (
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)
"""Columns of CT-RATE's labels, which are asked for under these names."""

_CT_RATE = "ct/ct-rate"
_CT_RATE_LABELS = f"{_CT_RATE}/multi_abnormality_labels/valid_predicted_labels.csv"
_VOLUME = re.compile(r"^(valid_\d+)_([a-z]+)_(\d+)\.nii\.gz$")
_CONDITIONS: dict[Modality, str] = {"CT": "ct/conditions", "MR": "mr/conditions"}
_COLUMNS = ("volume", "patient", "condition", "label")


def _ct_rate(root: Path) -> Exams:
    """The first reconstruction of each scan: 1,564 of 3,039 volumes."""
    if absent := missing_files(root, _CT_RATE_LABELS, f"{_CT_RATE}/valid_fixed"):
        return Exams(absent=absent)
    exams = []
    for row in read_table(root / _CT_RATE_LABELS, columns=("VolumeName", *EIGHTEEN)):
        named = _VOLUME.match(row["VolumeName"])
        if named is None or named[3] != "1":
            continue
        patient, scan = named[1], f"{named[1]}_{named[2]}"
        path = root / _CT_RATE / "valid_fixed" / patient / scan / row["VolumeName"]
        cells = {finding: row[finding] for finding in EIGHTEEN}
        exams.append(Exam(name=row["VolumeName"], patient=patient, path=path, cells=cells))
    return _there(exams)


def _conditions(root: Path, *, modality: Modality) -> Exams:
    """Volumes of a table, each with its conditions; rows that disagree on one, or name no volume, fail alone."""
    folder = _CONDITIONS[modality]
    if absent := missing_files(root, f"{folder}/questions.csv"):
        return Exams(absent=absent)
    exams: dict[str, Exam] = {}
    for number, row in enumerate(read_table(root / folder / "questions.csv", columns=_COLUMNS), start=1):
        volume, condition, label = row["volume"].strip() or f"record {number}", row["condition"], row["label"]
        exam = exams.get(volume) or _exam(root / folder, row, name=volume)
        known = exam.cells.get(condition, label)
        exams[volume] = replace(
            exam,
            cells={**exam.cells, condition: label if known == label else f"{known} and {label}"},
            history={**exam.history, condition: row.get("history", "").strip()},
        )
    return _there(list(exams.values()))


def _exam(folder: Path, row: dict[str, str], *, name: str) -> Exam:
    try:
        path, problem = inside(folder, row["volume"].strip()), ""
    except ValueError as error:
        path, problem = folder, f"questions.csv, {name!r}: {error}."
    return Exam(name=name, patient=row["patient"], path=path, cells={}, problem=problem)


def _there(exams: list[Exam]) -> Exams:
    found = tuple(exam for exam in exams if exam.problem or exam.path.exists())
    return Exams(found=found, missing=len(exams) - len(found))


def _open(exam: Exam, *, modality: Modality) -> Study:
    """Reads a volume; MR that names no modality, as NIfTI does not, becomes MR.

    Raises:
        DataError: If it cannot be read, or is no such volume.
    """
    study = open_study(exam.path)
    volumes = study.volumes()
    kinds = {volume.modality or "MR" for volume in volumes}
    if kinds != {modality}:
        seen = f"is taken as {', '.join(sorted(kinds))}, not as {modality}" if kinds else "holds no volume"
        raise FileFormatError(
            f"{exam.path.name} {seen}.",
            allowed="CT in Hounsfield units." if modality == "CT" else "MR.",
            next_step="Export it with its slope and intercept applied." if modality == "CT" else "",
        )
    points = tuple(
        replace(
            point,
            series=tuple(replace(one, modality=modality) for one in point.series if isinstance(one, Volume)),
        )
        for point in study.timepoints
    )
    return replace(study, timepoints=points)


def _ask(prompts: ImagingPrompts, exam: Exam, finding: str, *, prompt: Literal["ct_rate", "ct", "mr"]) -> str:
    return str(getattr(prompts, prompt)).format(finding=finding, history=exam.history.get(finding, ""))


def _own(name: str, *, modality: Modality, prompt: Literal["ct", "mr"]) -> Benchmark:
    """Conditions of a table of one's own, in the words that the report has for its CT and MR."""
    return Benchmark(
        name=name,
        title=f"Conditions on {modality} (a table of your own)",
        source=name,
        find=partial(_conditions, modality=modality),
        read=yes_no_word,
        allowed="yes or no.",
        open=partial(_open, modality=modality),
        ask=partial(_ask, prompt=prompt),
        argues=True,
        measures=ACCURACY_FIRST,
        blind=False,
        batch=1,
        notes=("The report's volumes are not public: its figure holds for them, half of each condition's present.",),
    )


VOLUME_CONDITION_SETS = (
    YesNoQuestions(
        Benchmark(
            name="ct-rate",
            title="CT-RATE, zero-shot (18 abnormalities)",
            source="ct-rate",
            find=_ct_rate,
            read=yes_no_word,
            allowed="1 or 0.",
            open=partial(_open, modality="CT"),
            ask=partial(_ask, prompt="ct_rate"),
            blind=False,
            batch=1,
            notes=(
                "The first reconstruction of each scan of the validation split, 1,564 in all.",
                "The report says both that volumes were resampled and that they were not: here they are as published.",
            ),
        )
    ),
    YesNoQuestions(_own("ct-conditions", modality="CT", prompt="ct")),
    YesNoQuestions(_own("mr-conditions", modality="MR", prompt="mr")),
)
