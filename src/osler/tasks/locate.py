"""Locate: boxes of what is named, in pixels of the file and in mm of the patient.

A trained box head is used where the weights have one. What it was not trained on is
drawn by box tokens where the decoder writes them, else by the published box text where
it was taught, which is asked for one image at a time. Weights trained for none of these
draw nothing: boxes are never made up.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from osler.errors import CapacityError, RequestError
from osler.prepare import PreparedImages, ShownImage, prepare_images
from osler.progress import Progress
from osler.study import Answer, Box2D, Evidence, FoundBox, Study, Volume
from osler.tasks.box_text import (
    BOX_SCHEMA,
    BoxText,
    box_prompt,
    check_labels,
    from_square,
    read_box_text,
    same_label,
)
from osler.tasks.box_tokens import written_boxes
from osler.tasks.heads import BoxHead, HeadBox, head_for
from osler.tasks.join_boxes import SliceBox, join_boxes
from osler.tasks.model_choice import SightChoice
from osler.tasks.opening import (
    Done,
    OnStudy,
    as_study,
    flat,
    merged,
    noticed,
    one_by_one,
    open_and_load,
    untrained,
)

if TYPE_CHECKING:
    from osler.engine.session import Session

DEFAULT_SLICES = 24
_MAX_TOKENS = 1000

Retry = Callable[["Session", Study, str], str]
"""Asks again under a grammar, so that the text can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocateRequest(SightChoice):
    """What to locate, where, and with which weights.

    Args:
        path: The scan.
        labels: What to draw boxes around, such as ``"right lung"``.
        slices: Slices of a volume that are asked about at most, evenly spread (box text only).
    """

    path: str | Path
    labels: tuple[str, ...]
    slices: int = DEFAULT_SLICES


def run_locate(request: LocateRequest, *, on_progress: Progress | None = None, on_study: OnStudy | None = None) -> Done:
    """Opens the study, loads the model and locates; cheap checks come first.

    Args:
        request: What to do.
        on_progress: Called as reading, loading and answering go on.
        on_study: Called with the study before the model is loaded; may refuse it.

    Raises:
        OslerError: If the labels, the files or the model are at fault.
    """
    labels = check_labels(request.labels)
    _check_slices(request.slices)
    opened = open_and_load(
        request.path,
        choice=request,
        on_progress=on_progress,
        on_study=on_study,
    )
    return opened.done(locate(opened.session, opened.study, labels, slices=request.slices, on_progress=on_progress))


def locate(
    session: Session,
    study: Study | str | Path,
    labels: Sequence[str],
    *,
    slices: int = DEFAULT_SLICES,
    on_progress: Progress | None = None,
) -> Answer:
    """Draws boxes around what is named.

    Example:
        >>> answer = osler.locate(session, "chest.png", ["right lung"])  # doctest: +SKIP
        >>> answer.boxes[0].pixel, answer.untrained  # doctest: +SKIP

    Args:
        session: From `osler.load`.
        study: A study, or a path to one.
        labels: Names, one at least; ``"left"`` is the patient's left.
        slices: Slices of a volume that are asked about at most, evenly spread (box text only).
        on_progress: Called with ``"locate"``, images done and images in all.

    Returns:
        An answer whose ``boxes`` are in file pixels (images) and patient LPS mm (where the file has a frame);
        for a volume one 3D box for each chain of `osler.tasks.join_boxes`, its slices as evidence. Without a
        trained skill there are no boxes and ``untrained`` says so.

    Raises:
        RequestError: If the labels or the count of slices are at fault.
        DataError: If the study cannot be read.
    """
    wanted = check_labels(labels)
    _check_slices(slices)
    opened = as_study(study)
    said = flat(noticed(session, opened, wanted))
    return draw_boxes(session, opened, wanted, slices=slices, warnings=said, on_progress=on_progress)


def draw_boxes(
    session: Session,
    study: Study,
    labels: Sequence[str],
    *,
    slices: int = DEFAULT_SLICES,
    warnings: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> Answer:
    """Draws boxes as `locate` does, but never asks the decoder first which part of the body a study shows.

    Args:
        session: From `osler.load`. study: To look at. labels: As `osler.tasks.box_text.check_labels` gives them.
        slices: See `locate`. warnings: Of the answer, before its own.
        on_progress: See `locate`.
    """
    head: BoxHead | None = head_for(session, "boxes")
    if head is not None or "box_tokens" in session.trained:
        return _by_head(session, study, head, labels=labels, slices=slices, warnings=warnings, on_progress=on_progress)
    if "box_text" in session.trained:
        return _ByText(session=session, study=study, slices=slices).answer(labels, warnings, on_progress=on_progress)
    text = (
        f"{session.checkpoint.name} was not trained to draw boxes, so none is drawn around "
        f"{_listed(labels)}. A model that was trained to (`osler models`), such as MedGemma 1.5, can."
    )
    return untrained(session, study, task="locate", skill="boxes", text=text, warnings=warnings)


def _by_head(
    session: Session,
    study: Study,
    head: BoxHead | None,
    *,
    labels: Sequence[str],
    slices: int,
    warnings: Sequence[str],
    on_progress: Progress | None,
) -> Answer:
    """Boxes of the labels that the head was trained on; of others by box tokens or box text, where they were taught."""
    known = [label for label in labels if head is not None and (not head.labels or label in head.labels)]
    strange = [label for label in labels if label not in known]
    found: list[FoundBox] = []
    if head is not None and known:
        found += [_placed(box, session.prepare(study)) for box in head.locate(session, study, labels=known)]
    notes: list[str] = []
    evidence: tuple[Evidence, ...] = ()
    by_text = "box_text" in session.trained
    if known and by_text:
        notes.append(
            f"Boxes of {_listed(known)} are the box head's. Without heads (`--without heads`), the decoder is asked, "
            "which was taught boxes as text."
        )
    if strange and "box_tokens" in session.trained:
        found += [_placed(box, session.prepare(study)) for box in written_boxes(session, study, labels=strange)]
        notes.append(
            f"Boxes of {_listed(strange)} stand where the decoder wrote a box token, which is taught on pictures; "
            "their scores are the probability of that token."
        )
    elif strange and by_text:
        written = _ByText(session=session, study=study, slices=slices).answer(strange, (), on_progress=on_progress)
        found += written.boxes
        notes += written.warnings
        evidence = written.evidence
    elif strange:
        notes.append(f"The box head was not trained on {_listed(strange)}.")
    blank = session.blank(study)
    if head is not None and head.scope_of(known) and not found and not (strange and by_text):
        notes.append(f"The box head reads {head.scope_of(known)} only; boxes on anything else are not drawn.")
    told = ("Scores are the box head's probabilities.",) if known else ()
    return dataclasses.replace(
        blank,
        task="locate",
        text=_summary(found, labels=labels),
        boxes=tuple(found),
        evidence=(*blank.evidence, *evidence),
        warnings=merged((*warnings, *blank.warnings, *notes, *told)),
    )


def _placed(box: HeadBox, prepared: PreparedImages) -> FoundBox:
    """A box of a head, taken to file pixels and the patient."""
    if box.image is None or box.box is None:
        return FoundBox(label=box.label, series=box.series, score=box.score, patient=box.patient)
    image = prepared.images[box.image]
    return FoundBox(
        label=box.label,
        series=box.series,
        score=box.score,
        slice=image.slice,
        pixel=image.to_file(box.box),
        patient=image.to_patient(box.box) if image.affine is not None else None,
    )


@dataclass(slots=True, kw_only=True)
class _ByText:
    """Locates by the published box text, one image and one label at a time; of equal images one is asked about."""

    session: Session
    study: Study
    slices: int

    def answer(self, labels: Sequence[str], said: Sequence[str], *, on_progress: Progress | None) -> Answer:
        contract = dataclasses.replace(self.session.checkpoint.preprocess, aspect="pad-square")
        prepared = prepare_images(self.study, preprocess=contract)
        numbers = _chosen(prepared, limit=self.slices)
        written: list[_Written] = []
        asked: dict[tuple[str, bytes], list[_Written]] = {}
        notes: list[str] = []
        total = len(numbers) * len(labels)
        for number, one in zip(numbers, one_by_one(prepared, numbers), strict=True):
            twin = self.session.showing(self.study, one)
            pixels = hashlib.sha256(one.pixels.rgb.tobytes()).digest()
            for label in labels:
                # The prompt holds nothing else of a slice, and answers are greedy: air and blanked slices say the same.
                if (label, pixels) not in asked:
                    asked[label, pixels] = self._on_image(twin, one, number=number, label=label, notes=notes)
                written += [dataclasses.replace(entry, number=number) for entry in asked[label, pixels]]
                if on_progress is not None:
                    on_progress("locate", len(written), total)
        boxes, evidence = _boxes(written, self.study, prepared=prepared, numbers=numbers)
        blank = self.session.showing(self.study, prepared).blank(self.study)
        if boxes:
            notes.append("Scores are mean probabilities of the digits that the model wrote; they are not calibrated.")
        return dataclasses.replace(
            blank,
            task="locate",
            text=_summary(boxes, labels=labels),
            boxes=tuple(boxes),
            evidence=evidence,
            warnings=merged((*said, *blank.warnings, *notes)),
        )

    def _on_image(
        self, twin: Session, one: PreparedImages, *, number: int, label: str, notes: list[str]
    ) -> list[_Written]:
        """What the model writes about one label on one image; unreadable text is asked for again once."""
        prompt = box_prompt(label)
        text = twin.ask(self.study, prompt, max_tokens=_MAX_TOKENS).text
        read = read_box_text(text)
        if read.problem:
            text = _ask_constrained(twin, self.study, prompt)
            again = read_box_text(text)
            where = _name_of(one)
            if again.problem:
                notes.append(f"The answer about {label!r} on {where} could not be used ({again.problem}): no box.")
                return [_Written(number=number, label=label)]
            notes.append(f"The answer about {label!r} on {where} was asked for again under a grammar ({read.problem}).")
            read = again
        others = [entry.label for entry in read.boxes if not same_label(entry.label, label)]
        if others:
            notes.append(f"Asked for {label!r}, the model also drew {_listed(others)}: left out.")
        mine = [entry.box for entry in read.boxes if same_label(entry.label, label)]
        score = _score(twin, self.study, prompt, text=text, read=read) if mine else 0.0
        return [_Written(number=number, label=label, boxes=tuple(mine), score=score)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What was written about a label on an image: boxes in fractions of the padded square."""

    number: int
    label: str
    boxes: tuple[Box2D, ...] = ()
    score: float = 0.0


def _ask_constrained(twin: Session, study: Study, prompt: str) -> str:
    from osler.engine.constrained import JsonSchema

    return twin.ask(study, prompt, max_tokens=_MAX_TOKENS, constraint=JsonSchema(BOX_SCHEMA)).text


def _score(twin: Session, study: Study, prompt: str, *, text: str, read: BoxText) -> float:
    """The geometric mean of the probabilities of the digits of the list."""
    try:
        (scored,) = twin.score(study, prompt, [text[: read.end]]).scored
    except CapacityError:
        return 0.0
    stream, place, logprobs = twin.checkpoint.tokenizer.stream(), 0, []
    for token, logprob in zip(scored.token_ids, scored.logprobs, strict=True):
        piece = stream.push(token)
        place += len(piece)
        if place > read.start and piece.strip().isdigit():
            logprobs.append(logprob)
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0


def _chosen(prepared: PreparedImages, *, limit: int) -> list[int]:
    """Numbers of the images that are asked about: every single image, and evenly spread slices of each volume."""
    by_series: dict[tuple[int, str], list[int]] = {}
    for number, image in enumerate(prepared.images):
        by_series.setdefault((image.timepoint, image.series), []).append(number)
    chosen: list[int] = []
    for numbers in by_series.values():
        if len(numbers) > limit:
            places = np.linspace(0, len(numbers) - 1, limit).round().astype(int)
            numbers = [numbers[place] for place in dict.fromkeys(places.tolist())]
        chosen += numbers
    return sorted(chosen)


def _boxes(
    written: Sequence[_Written], study: Study, *, prepared: PreparedImages, numbers: Sequence[int]
) -> tuple[list[FoundBox], tuple[Evidence, ...]]:
    """Boxes of images as they are, those of volumes joined; the slices behind the joined ones as evidence."""
    boxes: list[FoundBox] = []
    evidence: list[Evidence] = []
    by_place = {
        (number, series.series): series for number, point in enumerate(study.timepoints) for series in point.series
    }
    for (timepoint, name), series in by_place.items():
        here = [n for n in numbers if (prepared.images[n].timepoint, prepared.images[n].series) == (timepoint, name)]
        mine = [entry for entry in written if entry.number in here]
        if isinstance(series, Volume):
            joined, behind = _volume_boxes(mine, series, prepared=prepared, numbers=here)
            boxes += joined
            evidence += behind
        else:
            boxes += [box for entry in mine for box in _image_boxes(entry, prepared=prepared)]
    return boxes, tuple(evidence)


def _image_boxes(entry: _Written, *, prepared: PreparedImages) -> list[FoundBox]:
    image = prepared.images[entry.number]
    found = []
    for box in entry.boxes:
        pixel, patient = from_square(box, image=image)
        if pixel.area > 0:  # a box in the padding alone encloses nothing
            found.append(
                FoundBox(
                    label=entry.label,
                    series=image.series,
                    score=entry.score,
                    slice=image.slice,
                    pixel=pixel,
                    patient=patient,
                )
            )
    return found


def _volume_boxes(
    written: Sequence[_Written], volume: Volume, *, prepared: PreparedImages, numbers: Sequence[int]
) -> tuple[list[FoundBox], list[Evidence]]:
    looked_at = [prepared.images[number].slice or 0 for number in numbers]
    boxes: list[FoundBox] = []
    evidence: list[Evidence] = []
    for label in dict.fromkeys(entry.label for entry in written):
        slices = []
        for entry in (entry for entry in written if entry.label == label):
            image = prepared.images[entry.number]
            size = image.pixel_map.image_size
            for box in entry.boxes:
                series_box = image.pixel_map.to_file(box.to_pixel(width=size, height=size))
                if series_box.area > 0:
                    place = list(numbers).index(entry.number)
                    slices.append(SliceBox(place=place, box=series_box, score=entry.score))
                    evidence.append(_slice_evidence(label, box, image=image))
        joined = join_boxes(slices, looked_at=looked_at, depth=volume.shape[0], affine=volume.affine)
        boxes += [
            FoundBox(label=label, series=volume.series, score=entry.score, patient=entry.patient) for entry in joined
        ]
    return boxes, evidence


def _slice_evidence(label: str, box: Box2D, *, image: ShownImage) -> Evidence:
    pixel, patient = from_square(box, image=image)
    return Evidence(
        kind="box",
        series=image.series,
        slice=image.slice,
        file=image.origin.file if image.origin else "",
        sop_uid=image.origin.sop_uid if image.origin else "",
        note=label,
        pixel=pixel,
        patient=patient,
    )


def _summary(boxes: Sequence[FoundBox], *, labels: Sequence[str]) -> str:
    parts = []
    for label in labels:
        count = sum(box.label == label for box in boxes)
        parts.append(f"{label}: {count or 'no'} {'box' if count == 1 else 'boxes'}")
    return "; ".join(parts)


def _name_of(one: PreparedImages) -> str:
    image = one.images[0]
    return "the image" if image.slice is None else f"slice {image.slice + 1}"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f"{label!r}" for label in labels)


def _check_slices(slices: int) -> None:
    if isinstance(slices, bool) or not isinstance(slices, int) or slices < 1:
        raise RequestError(f"{slices!r} slices.", allowed="A whole number from 1.")
