"""Reads DICOM objects about images back: structured reports, segmentations, presentation states.

Osler's own and foreign ones: boxes come out as `FoundBox`, segments as masks,
texts as they stand. With the study that they are about, slices and places in
mm are found; without it, only what the object itself says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from osler.errors import DataError, FileFormatError, UnsupportedError
from osler.readers.dicom_errors import DECODE_ERRORS, brief
from osler.readers.dicom_presentation import read_presentation
from osler.readers.dicom_report import ReportContent, read_report
from osler.readers.dicom_segments import Segment, read_segments
from osler.readers.dicom_values import as_text
from osler.study import Finding, FoundBox, Study

ANNOTATION_MODALITIES = {"SR": "structured report", "SEG": "segmentation", "PR": "presentation state"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What a DICOM object says about images.

    Args:
        kind: ``"SR"``, ``"SEG"`` or ``"PR"``.
        title: Of the document, or the series description.
        source: The file.
        author: The software that wrote it, as it names itself.
        boxes: With a score of 1 where none is given.
        segments: Of a segmentation.
        findings: With their probability, without a place.
        texts: Section or name, and text.
        measurements: What was measured, its name, value and unit.
        references: How many images it refers to.
        problems: What could not be read, one sentence each.
    """

    kind: str
    title: str
    source: str
    author: str = ""
    boxes: tuple[FoundBox, ...] = ()
    segments: tuple[Segment, ...] = ()
    findings: tuple[Finding, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    measurements: tuple[tuple[str, str, float, str], ...] = ()
    references: int = 0
    problems: tuple[str, ...] = ()


def annotation_kind(path: str | Path) -> str:
    """Returns ``"SR"``, ``"SEG"`` or ``"PR"`` if a file is such an object, else an empty text."""
    place = Path(path)
    try:
        if not place.is_file():
            return ""
        with place.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return ""
            stream.seek(0)
            header = dcmread(stream, stop_before_pixels=True, specific_tags=["Modality"])
    except DECODE_ERRORS:
        return ""
    modality = as_text(header.get("Modality")).upper()
    return modality if modality in ANNOTATION_MODALITIES else ""


def read_annotations(path: str | Path, *, study: Study | None = None) -> Annotations:
    """Reads a structured report, a segmentation or a presentation state.

    Args:
        path: The file.
        study: What it is about, if known: then boxes have slices and places in mm.

    Raises:
        FileFormatError: If the file is damaged.
        UnsupportedError: If it is none of the three.
    """
    try:
        dataset = dcmread(path, force=True)
        return _read(dataset, source=str(path), study=study)
    except DataError:
        raise
    except DECODE_ERRORS as error:
        raise FileFormatError(
            f"{path} cannot be read as a DICOM object ({brief(error)}).", next_step="Copy or export it again."
        ) from error


def _read(dataset: Dataset, *, source: str, study: Study | None) -> Annotations:
    kind = as_text(dataset.get("Modality")).upper()
    about = Annotations(
        kind=kind,
        title=as_text(dataset.get("SeriesDescription")),
        source=source,
        author=" ".join(as_text(dataset.get(key)) for key in ("Manufacturer", "ManufacturerModelName")).strip(),
    )
    if kind == "SEG":
        segments, boxes, references, problems = read_segments(dataset, study=study)
        return replace(about, segments=segments, boxes=boxes, references=references, problems=problems)
    if kind == "PR":
        boxes, texts, references = read_presentation(dataset, study=study)
        return replace(about, boxes=boxes, texts=texts, references=references)
    if kind == "SR":
        content: ReportContent = read_report(dataset, study=study)
        return replace(
            about,
            title=content.title or about.title,
            boxes=content.boxes,
            findings=content.findings,
            texts=content.texts,
            measurements=content.measurements,
            references=content.references,
        )
    raise UnsupportedError(
        f"{source} is no structured report, segmentation or presentation state (modality {kind!r}).",
        allowed="SR, SEG and PR.",
        next_step="Open images with open_study.",
    )
