"""Sizes for a comparison, from what people or a model have drawn: boxes and label maps.

A box is measured by its longest edge (in mm where the image has a spacing, else
in pixels), a label map by the volume of each label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import FileFormatError, OslerError, UnsupportedError
from osler.readers import open_study
from osler.readers.fhir_boxes import boxes_of_bundle
from osler.study import Box2D, Box3D, Evidence, FoundBox, Image, TimePoint, Volume

LONGEST_EDGE = "longest edge"
VOLUME = "volume"
PIXELS = "{pixels}"
"""UCUM has no unit for pixels; an annotation stands in its place."""

_MOST_BYTES = 64 << 20
_LABEL_MAPS = (".nii", ".nii.gz", ".mgz", ".mgh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The size of one thing at one time point.

    Args:
        finding: Label, as drawn.
        measure: `LONGEST_EDGE` or `VOLUME`.
        value: In ``unit``.
        unit: UCUM.
        evidence: What was measured.
    """

    finding: str
    measure: str
    value: float
    unit: str
    evidence: Evidence


def read_drawn(path: str | Path, *, point: TimePoint) -> tuple[Measurement, ...]:
    """Reads what was drawn on a study: a JSON file of boxes or a label map.

    Args:
        path: ``osler locate --json``, or a JSON list of ``{"label", "x0", "y0", "x1", "y1"}`` in file pixels; or a
            NIfTI or MGH label map.
        point: The study that it was drawn on.

    Raises:
        FileFormatError: If the file cannot be read so.
        UnsupportedError: If it is of another kind.
    """
    file = Path(path)
    if file.name.lower().endswith(".json"):
        return measured_boxes(_boxes(file, point=point), point=point)
    if file.name.lower().endswith(_LABEL_MAPS):
        return _label_volumes(file)
    raise UnsupportedError(
        f"{file.name!r} is neither boxes nor a label map.",
        allowed=f"JSON as `osler locate --json` prints it, or {', '.join(_LABEL_MAPS)}.",
    )


def measured_boxes(boxes: Iterable[FoundBox], *, point: TimePoint) -> tuple[Measurement, ...]:
    """Measures boxes: of several with one label the largest counts."""
    by_series = {series.series: series for series in point.series}
    largest: dict[str, Measurement] = {}
    for box in boxes:
        value, unit = _longest(box, series=by_series.get(box.series))
        found = Measurement(
            finding=box.label,
            measure=LONGEST_EDGE,
            value=value,
            unit=unit,
            evidence=Evidence(
                kind="box",
                series=box.series,
                slice=box.slice,
                note=box.label,
                date=point.date,
                pixel=box.pixel,
                patient=box.patient,
            ),
        )
        if box.label not in largest or value > largest[box.label].value:
            largest[box.label] = found
    return tuple(largest.values())


def _longest(box: FoundBox, *, series: object | None) -> tuple[float, str]:
    if box.patient is not None:
        return max(box.patient.size), "mm"
    assert box.pixel is not None
    width, height = box.pixel.x1 - box.pixel.x0, box.pixel.y1 - box.pixel.y0
    if isinstance(series, Image) and series.spacing is not None:
        return max(width * series.spacing[0], height * series.spacing[1]), "mm"
    return max(width, height), PIXELS


def _boxes(file: Path, *, point: TimePoint) -> list[FoundBox]:
    record = _json(file)
    if isinstance(record, dict) and record.get("resourceType") == "Bundle":
        try:
            return list(boxes_of_bundle(record))
        except (AttributeError, KeyError, TypeError, ValueError, OslerError) as error:
            raise _bad(file, f"a box of the bundle is not one ({type(error).__name__})") from None
    entries = record.get("boxes", []) if isinstance(record, dict) else record
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _bad(file, "it holds no list of boxes")
    own = [series.series for series in point.series]
    boxes = []
    for number, entry in enumerate(entries, start=1):
        try:
            boxes.append(_box(entry, series=own))
        except (KeyError, TypeError, ValueError, OslerError) as error:
            raise _bad(file, f"box {number} is not one ({type(error).__name__})") from None
    return boxes


def _box(entry: dict[str, Any], *, series: Sequence[str]) -> FoundBox:
    label = entry["label"]
    if not isinstance(label, str) or not label.strip():
        raise ValueError
    pixel = entry.get("pixel", entry if "x0" in entry else None)
    mm = entry.get("mm")
    if pixel is None and mm is None:
        raise KeyError("pixel")
    named = str(entry.get("series", ""))
    return FoundBox(
        label=" ".join(label.split()),
        series=named if named in series else (series[0] if len(series) == 1 else named),
        score=float(entry.get("score", 1.0)),
        slice=int(entry["slice"]) if "slice" in entry else None,
        pixel=None if pixel is None else Box2D(**{edge: float(pixel[edge]) for edge in ("x0", "y0", "x1", "y1")}),
        patient=None if mm is None else Box3D(low=_corner(mm["low"]), high=_corner(mm["high"])),
    )


def _corner(numbers: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(number) for number in numbers)
    return x, y, z


def _json(file: Path) -> Any:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise _bad(file, f"it is larger than {_MOST_BYTES >> 20} MiB")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(file, f"it cannot be read ({type(error).__name__})") from None
    except (ValueError, RecursionError):
        raise _bad(file, "it is not JSON") from None


def _bad(file: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{file.name!r} cannot be used as boxes: {why}.",
        allowed="JSON as `osler locate --json` prints it, its --fhir, or a list of objects with label, x0, y0, x1, y1.",
    )


def _label_volumes(file: Path) -> tuple[Measurement, ...]:
    """The volume of each label in milliliters."""
    volumes = [series for series in open_study(file).series() if isinstance(series, Volume)]
    if len(volumes) != 1:
        raise FileFormatError(f"{file.name!r} holds {len(volumes)} volumes.", allowed="One label map.")
    labels = volumes[0].read()
    values, counts = np.unique(labels, return_counts=True)
    if not np.array_equal(values, np.round(values)) or len(values) > 1000:
        raise FileFormatError(
            f"{file.name!r} is no label map: its values are not whole numbers, or more than 1,000.",
            next_step="Give the mask, not the scan.",
        )
    milliliters = float(np.prod(volumes[0].spacing)) / 1000
    return tuple(
        Measurement(
            finding=f"label {int(value)}",
            measure=VOLUME,
            value=round(float(count) * milliliters, 4),
            unit="mL",
            evidence=Evidence(kind="document", file=str(file), note=f"label {int(value)}"),
        )
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
        if value != 0
    )
