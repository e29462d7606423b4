"""Chest X-rays of public sets: their tables, and the pictures opened as what they are."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from osler.errors import FileFormatError
from osler.readers import open_study
from osler.study import Study, TimePoint

EPOCH = dt.date(2000, 1, 1)
"""Day 0 of sets that give days, or an order, without dates."""

# Findings of NIH ChestX-ray14 under the names of `osler.prepare.finding_names`.
NIH_FINDINGS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "pulmonary edema",
    "Effusion": "pleural effusion",
    "Emphysema": "emphysema",
    "Fibrosis": "pulmonary fibrosis",
    "Hernia": "hiatal hernia",
    "Mass": "lung mass",
    "Nodule": "pulmonary nodule",
    "Pleural_Thickening": "pleural thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
"""Infiltration has no counterpart and is left out."""


def each_row(path: Path, *, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Reads a CSV file row by row, packed by gzip (``.gz``) or not; a cell that is not there is empty.

    Raises:
        FileFormatError: If it cannot be read or a column is missing.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            if missing := sorted(set(columns) - set(reader.fieldnames or ())):
                raise FileFormatError(
                    f"{path.name} has no column {missing[0]!r}.", allowed=f"Columns: {', '.join(columns)}."
                )
            yield from reader
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise FileFormatError(f"{path.name} cannot be read: {error}.") from error


def read_table(path: Path, *, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads a CSV file as a whole; see `each_row`."""
    return list(each_row(path, columns=columns))


def open_xray(path: Path, *, date: dt.date | None = None) -> Study:
    """Opens a picture and says what a DICOM header would: a chest X-ray, and its date if that is known.

    Raises:
        DataError: If it cannot be read.
    """
    study = open_study(path)
    points = tuple(
        dataclasses.replace(
            point,
            date=date,
            series=tuple(dataclasses.replace(one, modality="DX", body_part="CHEST") for one in point.series),  # type: ignore[type-var]
        )
        for point in study.timepoints
    )
    return dataclasses.replace(study, timepoints=points)


def together(studies: Sequence[Study]) -> Study:
    """One study of several dates of one patient, oldest first."""
    points: tuple[TimePoint, ...] = tuple(point for study in studies for point in study.timepoints)
    return dataclasses.replace(studies[-1], timepoints=points)


def nih_picture(root: Path, name: str) -> Path:
    """Where the picture of an ``Image Index`` lies, PNG as published or JPEG; time pairs put a folder before it."""
    path = root / "cxr" / "nih" / "images" / f"{Path(name).stem}.png"
    return path if path.is_file() else path.with_suffix(".jpg")
