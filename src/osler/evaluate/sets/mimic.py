"""Where tables and pictures of MIMIC-CXR-JPG, and reports of MIMIC-CXR, lie: ``cxr/mimic-cxr``, as at PhysioNet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osler.evaluate.sets.xrays import each_row

FOLDER = "cxr/mimic-cxr"
SPLIT = "mimic-cxr-2.0.0-split.csv"
METADATA = "mimic-cxr-2.0.0-metadata.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class MimicImage:
    """One picture.

    Args:
        dicom: Its id. study: Of the study, without ``s``. patient: Of the subject, without ``p``.
        part: ``"train"``, ``"validate"`` or ``"test"``, officially.
    """

    dicom: str
    study: str
    patient: str
    part: str

    def path(self, root: Path) -> Path:
        """Where it lies."""
        return picture(root, f"{self._study}/{self.dicom}")

    def report(self, root: Path) -> Path:
        """Where the report on its study lies: beside the folder of the pictures, of ``mimic-cxr-reports.zip``."""
        return root / FOLDER / "files" / f"{self._study}.txt"

    @property
    def _study(self) -> str:
        return f"p{self.patient[:2]}/p{self.patient}/s{self.study}"


def picture(root: Path, place: str) -> Path:
    """Where the picture of ``p10/p10000032/s50414267/<id>`` lies."""
    return root / FOLDER / "files" / f"{place}.jpg"


def table(root: Path, name: str) -> Path:
    """Where a table lies, packed by gzip as published or not."""
    path = root / FOLDER / name
    return path if path.is_file() else path.with_name(f"{name}.gz")


def missing_tables(root: Path, *names: str) -> str:
    """Says which of some tables are missing; empty if none is."""
    gone = [f"{FOLDER}/{name}.gz" for name in names if not table(root, name).is_file()]
    return f"not found: {', '.join(gone)}" if gone else ""


def images(root: Path) -> Iterator[MimicImage]:
    """Lists every picture of the table of splits.

    Raises:
        FileFormatError: If it cannot be read.
    """
    for row in each_row(table(root, SPLIT), columns=("dicom_id", "study_id", "subject_id", "split")):
        yield MimicImage(dicom=row["dicom_id"], study=row["study_id"], patient=row["subject_id"], part=row["split"])


def frontal(root: Path) -> frozenset[str]:
    """The ids of frontal pictures.

    Raises:
        FileFormatError: If the table of metadata cannot be read.
    """
    rows = each_row(table(root, METADATA), columns=("dicom_id", "ViewPosition"))
    return frozenset(row["dicom_id"] for row in rows if row["ViewPosition"] in ("AP", "PA"))
