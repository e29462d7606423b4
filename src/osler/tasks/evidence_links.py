"""What a sentence of a report rests on, and where it contradicts the study.

Rules, all on names and numbers, none by a model:

- ``slice n``: the nth slice of the prompt, if there is one;
- a modality or plane: the series that have it;
- a part of the body: the series whose files say that they show it;
- a laboratory test with a number: the event with that value, within 5%;
- a prior ("compared with", "unchanged", "new since"): a dated earlier study;
- a box: one whose label stands in the sentence; a size in mm must fit it within 20%.

A sentence that names what the study does not have is contradicted, and loses
all evidence.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from osler.prepare import PreparedImages, ShownImage
from osler.prepare.scope import kinds_of, named_kinds, named_parts, part_is_shown, regions_of
from osler.study import ClinicalEvent, Evidence, FoundBox, Series, Study, Volume
from osler.tasks.lab_names import agrees, stated_values

_SLICE = re.compile(
    r"\b(?:slices?|images?|im\.?)\s*#?(\d{1,4})(?:\s*(?:-|\u2013|to|and|,)\s*(\d{1,4}))?", re.IGNORECASE
)
_PLANE = re.compile(r"\b(axial|coronal|sagittal)\b", re.IGNORECASE)
_PRIOR = re.compile(
    r"\b(compar(?:ed|ison)|previous(?:ly)?|prior|earlier (?:study|exam\w*|scan)|unchanged|interval|since|"
    r"(?:has |have )?(?:improved|worsened|progressed|resolved|increased|decreased))\b",
    re.IGNORECASE,
)
_DENIED_PRIOR = re.compile(
    r"\bno (?:prior|previous|earlier|comparison)\b|\bnot? available for comparison\b", re.IGNORECASE
)
_DATE = re.compile(r"\b((?:19|20)\d\d)-(\d\d)-(\d\d)\b")
_SIZE = re.compile(r"\b(\d+(?:\.\d+)?)\s*(?:x\s*\d+(?:\.\d+)?\s*)*(mm|cm)\b", re.IGNORECASE)
_SIZE_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """What a sentence rests on, and what speaks against it.

    Args:
        evidence: Empty where nothing supports it, or something contradicts it.
        contradictions: One sentence each.
    """

    evidence: tuple[Evidence, ...] = ()
    contradictions: tuple[str, ...] = ()


def link(sentence: str, *, study: Study, prepared: PreparedImages, boxes: Sequence[FoundBox] = ()) -> Linked:
    """Finds what a sentence rests on.

    Args:
        sentence: Of a report.
        study: What it is about.
        prepared: What the model saw.
        boxes: Found before, by `osler.tasks.locate`.
    """
    checks = (
        _slices(sentence, prepared=prepared),
        _kinds(sentence, study=study),
        _planes(sentence, study=study),
        _parts(sentence, study=study),
        _labs(sentence, events=study.events),
        _priors(sentence, study=study),
        _boxes(sentence, study=study, boxes=boxes),
    )
    found: list[Evidence] = []
    against: list[str] = []
    for check in checks:
        for entry in check:
            (against if isinstance(entry, str) else found).append(entry)  # type: ignore[arg-type]
    if against:
        return Linked(contradictions=tuple(against))
    return Linked(evidence=tuple(dict.fromkeys(found)))


def _slices(sentence: str, *, prepared: PreparedImages) -> Iterator[Evidence | str]:
    numbered = {image.number: image for image in prepared.images if image.number is not None}
    if not numbered:
        return
    for match in _SLICE.finditer(sentence):
        for number in (int(text) for text in match.groups() if text):
            if number in numbered:
                yield _image_evidence(numbered[number], note=f"named as slice {number}")
            else:
                yield f"It names slice {number}, but {len(numbered)} slices were shown."


def _kinds(sentence: str, *, study: Study) -> Iterator[Evidence | str]:
    series = tuple(study.series())
    named, known = named_kinds(sentence), kinds_of([entry.modality for entry in series])
    if not named or not known or not all(entry.modality for entry in series):
        return
    if not named & known:
        yield f"It speaks of {' and '.join(sorted(named))}, but the study is {' and '.join(sorted(known))}."
        return
    for entry in series:
        if kinds_of([entry.modality]) & named:
            yield _series_evidence(entry, note=f"is {entry.modality}")


def _planes(sentence: str, *, study: Study) -> Iterator[Evidence | str]:
    volumes = study.volumes()
    for plane in dict.fromkeys(match.lower() for match in _PLANE.findall(sentence)):
        fitting = [volume for volume in volumes if volume.plane == plane]
        if volumes and not fitting:
            yield f"It speaks of a {plane} plane, but the slices are {volumes[0].plane}."
        for volume in fitting:
            yield _series_evidence(volume, note=f"is {plane}")


def _parts(sentence: str, *, study: Study) -> Iterator[Evidence | str]:
    series = tuple(study.series())
    for part in named_parts(sentence):
        known = [entry for entry in series if regions_of(entry)]
        fitting = [entry for entry in known if part_is_shown(part, regions=regions_of(entry))]
        if known and not fitting and len(known) == len(series):
            shown = sorted(frozenset().union(*map(regions_of, known)))
            yield f"It speaks of {part}, but the files say that they show the {' and '.join(shown)}."
        for entry in fitting:
            yield _series_evidence(entry, note=f"shows {part}")


def _labs(sentence: str, *, events: Sequence[ClinicalEvent]) -> Iterator[Evidence | str]:
    """Events with a stated value; a test that is named with numbers, none of which the record has, contradicts."""
    by_test: dict[str, list[ClinicalEvent]] = {}
    for event in events:
        if event.kind == "observation" and isinstance(event.value, int | float):
            by_test.setdefault(event.code or event.name.casefold(), []).append(event)
    for observed in by_test.values():
        stated = stated_values(sentence, event=observed[0])
        if not stated:
            continue
        fitting = [event for event in observed if any(agrees(number, float(event.value)) for number in stated)]
        yield from (event_evidence(event) for event in fitting)
        if not fitting:
            last = observed[-1]
            yield f"It gives {stated[0]:g} for {last.name}, but the record has {last.value:g} {last.unit}".strip() + "."


def _priors(sentence: str, *, study: Study) -> Iterator[Evidence | str]:
    if not _PRIOR.search(sentence) or _DENIED_PRIOR.search(sentence):
        return
    dated = [point for point in study.timepoints if point.date is not None]
    named = [dt.date(*map(int, parts)) for parts in _DATE.findall(sentence) if _is_date(parts)]
    if len(study.timepoints) < 2:
        yield "It speaks of an earlier study, but none was given."
    elif len(dated) < 2:
        yield "It speaks of an earlier study, but the studies have no dates."
    for date in named:
        if dated and date not in {point.date for point in dated}:
            yield f"It speaks of a study of {date.isoformat()}, but there is none of that day."
    for point in dated[:-1]:
        if not named or point.date in named:
            first = point.series[0].series if point.series else ""
            yield Evidence(kind="prior", series=first, date=point.date, note=point.description)


def _boxes(sentence: str, *, study: Study, boxes: Sequence[FoundBox]) -> Iterator[Evidence | str]:
    lowered = sentence.casefold()
    mine = [box for box in boxes if box.label.casefold() in lowered]
    sizes = [float(number) * (10 if unit.lower() == "cm" else 1) for number, unit in _SIZE.findall(sentence)]
    extent = max((_extent(series) for series in study.series()), default=0.0)
    for size in sizes:
        if extent and size > extent:
            yield f"It gives {size:g} mm, but the images span {extent:.0f} mm."
    longest = [max(box.patient.size) for box in mine if box.patient is not None]
    for size in sizes:
        if longest and not any(abs(size - length) <= _SIZE_TOLERANCE * length for length in longest):
            yield f"It gives {size:g} mm, but the box spans {max(longest):.0f} mm."
    for box in mine:
        yield Evidence(
            kind="box", series=box.series, slice=box.slice, note=box.label, pixel=box.pixel, patient=box.patient
        )


def event_evidence(event: ClinicalEvent) -> Evidence:
    """Names an event of the record as evidence."""
    return Evidence(
        kind="event",
        note=event.name,
        code=event.code,
        value=event.value,
        unit=event.unit,
        date=event.date,
        file=event.source,
    )


def _image_evidence(image: ShownImage, *, note: str) -> Evidence:
    return Evidence(
        kind="image" if image.slice is None else "slice",
        series=image.series,
        slice=image.slice,
        file=image.origin.file if image.origin else "",
        sop_uid=image.origin.sop_uid if image.origin else "",
        note=note,
    )


def _series_evidence(series: Series, *, note: str) -> Evidence:
    return Evidence(kind="image", series=series.series, note=note)


def _extent(series: Series) -> float:
    """The longest edge of a series in mm; 0 where the file does not say."""
    if not isinstance(series, Volume):
        spacing, size = getattr(series, "spacing", None), getattr(series, "size", (0, 0))
        return 0.0 if spacing is None else max(s * n for s, n in zip(spacing, size, strict=True)) * 1.42
    slices, rows, columns = series.shape
    column_mm, row_mm, slice_mm = series.spacing
    return float((columns * column_mm) ** 2 + (rows * row_mm) ** 2 + (slices * slice_mm) ** 2) ** 0.5


def _is_date(parts: tuple[str, ...]) -> bool:
    try:
        dt.date(*map(int, parts))
    except ValueError:
        return False
    return True
