"""The one object that every surface returns: command, server, viewer, Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from osler.study.boxes import Box2D, Box3D
from osler.study.pixels import LeftOut

ANSWER_SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBox:
    """A labeled box.

    Args:
        label: What it encloses.
        series: Series identifier.
        score: 0 to 1.
        slice: Index along the volume, ``None`` for an image or a box over many slices.
        pixel: In the pixels of the given file.
        patient: In patient LPS mm, where the file has a frame.
    """

    label: str
    series: str
    score: float
    slice: int | None = None
    pixel: Box2D | None = None
    patient: Box3D | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding with its probability; ``probability`` is ``None`` for "cannot tell"."""

    name: str
    probability: float | None
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progression:
    """What became of a finding between two dates."""

    finding: str
    change: str
    days: int | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a statement rests on.

    Args:
        kind: ``"slice"``, ``"image"``, ``"prior"``, ``"event"``, ``"text"``.
        series: Series identifier, if an image.
        slice: Slice index (0-based, along the normal), if a volume.
        file: File of that slice.
        sop_uid: SOP Instance UID of that slice.
        frame: DICOM frame number within the file, from 1; ``None`` where it holds one frame.
        note: A short text.
    """

    kind: str
    series: str = ""
    slice: int | None = None
    file: str = ""
    sop_uid: str = ""
    frame: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedSeries:
    """A series that the model saw.

    Args:
        series: Identifier.
        modality: DICOM modality.
        description: As in the file.
        slices: Indices that were shown (0-based, along the normal); empty for an image.
        of: How many slices the series has.
        view: How they were shown, such as ``"CT windows"``.
        tokens: Image tokens spent.
    """

    series: str
    modality: str
    description: str = ""
    slices: tuple[int, ...] = ()
    of: int = 1
    view: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStamp:
    """Which weights answered, how, and under which sampling."""

    name: str
    weights: str
    bits: int
    backend: str
    device: str
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and everything needed to check it.

    Args:
        text: The answer. Empty only where ``stopped`` says why.
        stopped: ``"end"``, ``"max_tokens"``, ``"stop_string"``.
        preprocess: Hash of the preprocessing contract.
        timings: Seconds per stage.
    """

    text: str
    model: ModelStamp
    preprocess: str
    stopped: str = "end"
    boxes: tuple[FoundBox, ...] = ()
    findings: tuple[Finding, ...] = ()
    progression: tuple[Progression, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    used: tuple[UsedSeries, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    tokens: dict[str, int] | None = None
    timings: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the published JSON form; fields that hold nothing yet are absent."""
        record: dict[str, Any] = {"schema": ANSWER_SCHEMA_VERSION, "text": self.text, "stopped": self.stopped}
        for name in ("boxes", "findings", "progression"):
            entries = getattr(self, name)
            if entries:
                record[name] = [_plain(entry) for entry in entries]
        for name in ("evidence", "used", "left_out"):
            record[name] = [_plain(entry) for entry in getattr(self, name)]
        record["warnings"] = list(self.warnings)
        record["model"] = _plain(self.model)
        record["preprocess"] = self.preprocess
        if self.tokens:
            record["tokens"] = dict(self.tokens)
        record["timings"] = {stage: round(seconds, 4) for stage, seconds in (self.timings or {}).items()}
        return record

    def to_json(self, *, indent: int | None = 2) -> str:
        """Returns `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


def _plain(entry: Any) -> dict[str, Any]:
    """A dataclass as a dict without ``None`` and empty texts."""
    record: dict[str, Any] = {}
    for name in entry.__dataclass_fields__:
        value = getattr(entry, name)
        if isinstance(value, Box2D):
            record[name] = {edge: _bare(getattr(value, edge)) for edge in ("x0", "y0", "x1", "y1")}
        elif isinstance(value, Box3D):
            record["mm"] = {"low": _bare(value.low), "high": _bare(value.high)}
        elif value is not None and value != "":
            record[name] = _bare(value)
    return record


def _bare(value: Any) -> Any:
    """NumPy numbers as Python's and tuples as lists: what JSON can hold."""
    if isinstance(value, tuple):
        return [_bare(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value
