"""Boxes from a FHIR bundle that Osler wrote: the same boxes, in patient mm and in pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping

from osler.readers.fhir_fields import Json, part
from osler.study import Box2D, Box3D, FoundBox

MM_EDGES = tuple(
    (f"lowest edge toward {name} (LPS)", f"highest edge toward {name} (LPS)")
    for name in ("left", "posterior", "superior")
)
"""Names of the components that hold a box in the patient: the low and the high edge along each axis, mm."""
PIXEL_EDGES = tuple(f"{name} edge in the image" for name in ("left", "upper", "right", "lower"))
"""Names of the components that hold x0, y0, x1 and y1, pixels of the file."""

_PLACE = re.compile(r"Box on series (?P<series>.*?)(?:, slice (?P<slice>\d+))?; the value is its score\.")


def place_note(box: FoundBox) -> str:
    """Says on which series, and on which slice counted from 1, a box lies."""
    where = f"series {box.series}" + (f", slice {box.slice + 1}" if box.slice is not None else "")
    return f"Box on {where}; the value is its score."


def boxes_of_bundle(bundle: Json) -> tuple[FoundBox, ...]:
    """Returns the boxes of a bundle of `osler.writers.fhir_report`, in order; other Observations are passed over.

    Args:
        bundle: As read from JSON.

    Raises:
        KeyError: If an Observation has some edges of a box but not all. ValueError: If an edge is no number.
    """
    resources = (part(entry, "resource") for entry in bundle.get("entry", ()) if isinstance(entry, Mapping))
    found = (_box(one) for one in resources if one.get("resourceType") == "Observation")
    return tuple(box for box in found if box is not None)


def _box(resource: Json) -> FoundBox | None:
    notes = [str(note.get("text", "")) for note in resource.get("note", ()) if isinstance(note, Mapping)]
    place = next((match for text in notes if (match := _PLACE.fullmatch(text))), None)
    if place is None:
        return None
    edges = {
        str(part(component, "code").get("text")): float(part(component, "valueQuantity")["value"])
        for component in resource.get("component", ())
    }
    patient = pixel = None
    if MM_EDGES[0][0] in edges:
        low, high = (tuple(edges[pair[end]] for pair in MM_EDGES) for end in (0, 1))
        patient = Box3D(low=low, high=high)  # type: ignore[arg-type]  # three axes
    if PIXEL_EDGES[0] in edges:
        x0, y0, x1, y1 = (edges[name] for name in PIXEL_EDGES)
        pixel = Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
    return FoundBox(
        label=str(part(resource, "code").get("text", "")),
        series=place["series"],
        score=float(part(resource, "valueQuantity").get("value", 100.0)) / 100,
        slice=None if place["slice"] is None else int(place["slice"]) - 1,
        pixel=pixel,
        patient=patient,
    )
