"""The one object that every surface returns: command, server, viewer, Python."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from osler.study.boxes import Box2D, Box3D
from osler.study.pixels import LeftOut
from osler.study.record import ClinicalEvent, ReferenceRange

ANSWER_SCHEMA_VERSION = "1.1"

Change = Literal["improved", "stable", "worsened", "new", "resolved", "cannot tell"]


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
    """What became of a finding between two dates.

    Args:
        finding: What is followed.
        change: What became of it.
        days: From the earlier to the later date, if both are known.
        probability: Of the change, 0 to 1, where a model gave one.
        measure: What was measured, such as ``"longest diameter"``; empty if nothing was.
        before: Its value at the earlier date, in ``unit``. now: At the later date.
        unit: UCUM, such as ``"mm"``.
        earlier: Day of the prior. later: Day of the study that it is compared with.
    """

    finding: str
    change: Change
    days: int | None = None
    probability: float | None = None
    measure: str = ""
    before: float | None = None
    now: float | None = None
    unit: str = ""
    earlier: dt.date | None = None
    later: dt.date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a statement rests on.

    Args:
        kind: ``"slice"``, ``"image"``, ``"tile"``, ``"box"``, ``"prior"``, ``"event"``, ``"document"``, ``"text"``.
        series: Series identifier, if an image.
        slice: Slice index (0-based, along the normal), if a volume.
        file: File of that slice.
        sop_uid: SOP Instance UID of that slice.
        frame: DICOM frame number within the file, from 1; ``None`` where it holds one frame.
        note: A short text.
        date: Day of the study, event or document.
        pixel: A region of that image, in the pixels of the file (level 0 of a slide). patient: In patient mm.
        slide: A region of a whole slide, in mm from its upper left corner.
        code: Of an event. value: Of an event, in ``unit`` (UCUM) if a number.
    """

    kind: str
    series: str = ""
    slice: int | None = None
    file: str = ""
    sop_uid: str = ""
    frame: int | None = None
    note: str = ""
    date: dt.date | None = None
    pixel: Box2D | None = None
    patient: Box3D | None = None
    slide: Box2D | None = None
    code: str = ""
    value: float | str | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One sentence of a report, with what it rests on.

    Args:
        section: ``"findings"``, ``"impression"``...
        text: The sentence.
        evidence: Empty for a sentence that nothing supports; every surface marks such a one.
    """

    section: str
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One look into the record on the way to an answer.

    Args:
        tool: Such as ``"search_events"``.
        arguments: Such as ``{"kind": "observation", "code": "4548-4"}``.
        result: What came back, in short.
    """

    tool: str
    arguments: dict[str, str]
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A study that a search found.

    Args:
        study: Path, as it was indexed.
        score: Cosine similarity of images, -1 to 1; of words, the share of the best score found.
        series: Series identifier, if an image matched. slice: Index along a volume.
        text: What matched, if a text did.
    """

    study: str
    score: float
    series: str = ""
    slice: int | None = None
    text: str = ""


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


NO_MODEL = ModelStamp(name="none", weights="none", bits=32, backend="none", device="cpu")
"""Of an answer that was looked up or computed, and not asked of a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and everything needed to check it.

    Args:
        text: The answer. Empty only where ``stopped`` says why.
        stopped: ``"end"``, ``"max_tokens"``, ``"stop_string"``.
        preprocess: Hash of the preprocessing contract.
        timings: Seconds per stage.
        task: Which command or method gave it.
        untrained: What this task would need and these weights were not trained for, such as ``"boxes"``;
            nothing was made up in its place.
        statements: The text, sentence by sentence, with evidence.
        steps: How the record was searched.
        observations: Values read from documents or the record.
        matches: What a search found, best first.
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
    task: str = "ask"
    untrained: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    steps: tuple[Step, ...] = ()
    observations: tuple[ClinicalEvent, ...] = ()
    matches: tuple[Match, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the published JSON form; fields that hold nothing yet are absent."""
        record: dict[str, Any] = {
            "schema": ANSWER_SCHEMA_VERSION,
            "task": self.task,
            "text": self.text,
            "stopped": self.stopped,
        }
        for name in ("boxes", "findings", "progression", "statements", "steps", "observations", "matches"):
            entries = getattr(self, name)
            if entries:
                record[name] = [_plain(entry) for entry in entries]
        if self.untrained:
            record["untrained"] = list(self.untrained)
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
        if isinstance(value, Box3D):
            record["mm"] = {"low": _bare(value.low), "high": _bare(value.high)}
        elif value is not None and value != "":
            record[name] = _bare(value)
    return record


def _bare(value: Any) -> Any:
    """What JSON can hold: NumPy numbers as Python's, tuples as lists, dates as ISO 8601."""
    if isinstance(value, tuple):
        return [_bare(entry) for entry in value]
    if isinstance(value, Box2D):
        return {edge: _bare(getattr(value, edge)) for edge in ("x0", "y0", "x1", "y1")}
    if isinstance(value, Evidence | ReferenceRange):
        return _plain(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value
