"""Drawings for viewers: a presentation state with the boxes on their images, and the answer picture as a capture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pictures
from PIL import ImageCms

from osler import __version__
from osler.errors import RequestError
from osler.extras import import_extra
from osler.readers.dicom_source import instance_headers
from osler.study import Answer, Box2D, Study
from osler.writers.dicom_about import (
    RESEARCH_NOTE,
    PlacedBox,
    equipment,
    finish,
    frames_of,
    identification,
    place_box,
    require_valid,
    used_headers,
    without_warnings,
)
from osler.writers.dicom_codes import short_text
from osler.writers.text import printable

_SHORT_TEXT = 1024
# What the other objects copy of the patient and the study, and the capture of the library leaves out.
_PATIENT_AND_STUDY = (
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified", "IssuerOfPatientID", "StudyDescription", "PatientAge", "Laterality",
)  # fmt: skip


@without_warnings
def write_gsps(answer: Answer, *, study: Study) -> tuple[bytes, ...]:
    """Returns the bytes of presentation states with the boxes drawn, one for each study and kind of image.

    Args:
        answer: Its boxes on slices and images are drawn, each with its label, score and the research note.
        study: What it is about.

    Raises:
        RequestError: If no box lies on an image, or the extra ``dicom`` is missing.
        UnsupportedError: If the images are not from DICOM files.
        GeometryError: If a box lies outside of its image.
        FileFormatError: If the files are gone.
    """
    import_extra("highdicom", extra="dicom")
    require_valid(answer)
    placed = [place_box(box, study=study) for box in answer.boxes]
    drawn = [entry for entry in placed if entry.pixel is not None]
    if not drawn:
        raise RequestError(
            "The answer has no box on an image, so there is nothing to draw.",
            allowed="A presentation state holds boxes on slices or images.",
            next_step="Leave --gsps out, or write --sr, which holds boxes in mm.",
        )
    groups: dict[tuple[str, bool, tuple[str, ...]], list[tuple[PlacedBox, Any]]] = {}
    for entry in drawn:
        (header,) = instance_headers(entry.series, origins=[entry.origin] if entry.origin else ()).values()
        key = (str(header.StudyInstanceUID), int(header.get("SamplesPerPixel", 1)) > 1, _frame_rescale(entry, header))
        groups.setdefault(key, []).append((entry, header))
    return tuple(
        _presentation(group, answer=answer, color=color, rescale=rescale)
        for (_study, color, rescale), group in groups.items()
    )


def _frame_rescale(entry: PlacedBox, header: Any) -> tuple[str, ...]:
    """Slope, intercept and type of a frame of a multi-frame file: one presentation state has one of them."""
    if entry.origin is None or entry.origin.frames < 2:
        return ()
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    own = frames[entry.origin.frame] if entry.origin.frame < len(frames) else None
    for groups in (own, *(header.get("SharedFunctionalGroupsSequence") or ())[:1]):
        found = groups.get("PixelValueTransformationSequence") if groups is not None else None
        if found:
            first = found[0]
            return str(first.RescaleSlope), str(first.RescaleIntercept), str(first.get("RescaleType") or "US")
    return ()


def _presentation(
    group: Sequence[tuple[PlacedBox, Any]], *, answer: Answer, color: bool, rescale: tuple[str, ...]
) -> bytes:
    hd = import_extra("highdicom", extra="dicom")
    layer = hd.pr.GraphicLayer(layer_name="OSLER", order=1, description=short_text(RESEARCH_NOTE))
    by_image: dict[tuple[str, int], list[tuple[PlacedBox, Any]]] = {}
    for entry, header in group:
        frame = entry.origin.frame if entry.origin else 0
        by_image.setdefault((str(header.SOPInstanceUID), frame), []).append((entry, header))
    annotations = [_annotation(entries, layer=layer) for entries in by_image.values()]
    headers = {str(header.SOPInstanceUID): header for _entry, header in group}
    kind = hd.pr.ColorSoftcopyPresentationState if color else hd.pr.GrayscaleSoftcopyPresentationState
    given: dict[str, Any] = {}
    if color and not any("ICCProfile" in header for header in headers.values()):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        # A monitor's profile in Pillow; DICOM takes the same color space as an input.
        given["icc_profile"] = profile[:12] + b"spac" + profile[16:]
    if rescale and not color:
        slope, intercept, unit = rescale
        given["modality_lut_transformation"] = hd.ModalityLUTTransformation(
            rescale_slope=float(slope), rescale_intercept=float(intercept), rescale_type=unit
        )
    state = kind(
        referenced_images=list(headers.values()),
        content_label="OSLER",
        content_description=short_text(RESEARCH_NOTE),
        graphic_annotations=annotations,
        graphic_layers=[layer],
        content_creator_name="Osler^",
        **identification(answer, kind="PR"),
        **equipment(answer),
        **given,
    )
    if "Laterality" not in state:
        state.Laterality = None
    return finish(state, description=f"Osler {answer.task} (research)")


def _annotation(entries: Sequence[tuple[PlacedBox, Any]], *, layer: Any) -> Any:
    """The boxes of one image (or frame), their labels, and the note in its lower left corner."""
    hd = import_extra("highdicom", extra="dicom")
    graphics, texts = [], []
    for entry, header in entries:
        assert entry.pixel is not None
        tracking = {
            "tracking_id": short_text(entry.box.label, limit=_SHORT_TEXT) or "unnamed",
            "tracking_uid": hd.UID(),
        }
        outline = _outline(entry.pixel, columns=int(header.Columns), rows=int(header.Rows))
        graphics.append(hd.pr.GraphicObject(graphic_type="POLYLINE", graphic_data=outline, units="PIXEL", **tracking))
        label = f"{printable(entry.box.label)} {entry.box.score:.0%}"
        texts.append(
            hd.pr.TextObject(
                text_value=label if len(label) <= _SHORT_TEXT else f"{label[: _SHORT_TEXT - 1]}…",
                units="PIXEL",
                anchor_point=(float(outline[0, 0]), float(outline[0, 1])),
                anchor_point_visible=False,
                **tracking,
            )
        )
    texts.append(
        hd.pr.TextObject(
            text_value=RESEARCH_NOTE, units="DISPLAY", bounding_box=(0.02, 0.94, 0.98, 0.99), text_justification="LEFT"
        )
    )
    first, header = entries[0]
    return hd.pr.GraphicAnnotation(
        referenced_images=[header],
        graphic_layer=layer,
        referenced_frame_number=frames_of(first.origin) if first.origin else None,
        graphic_objects=graphics,
        text_objects=texts,
    )


def _outline(box: Box2D, *, columns: int, rows: int) -> np.ndarray:
    """The closed outline. Edges are pixel edges, 0 to the size (PS3.3 C.10.5.1.2 counts the same way)."""
    x0, x1 = (min(max(x, 0.0), float(columns)) for x in (box.x0, box.x1))
    y0, y1 = (min(max(y, 0.0), float(rows)) for y in (box.y0, box.y1))
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], dtype=np.float32)


@without_warnings
def write_capture(answer: Answer, *, study: Study, picture: bytes) -> bytes:
    """Returns the answer picture as the bytes of a DICOM secondary capture in the study.

    Args:
        answer: What the picture shows.
        study: What it is about.
        picture: PNG, as `draw_answer` made it; the safety note stands in its pixels.

    Raises:
        RequestError: If the extra ``dicom`` is missing, or the answer is about another study.
        UnsupportedError: If the images are not from DICOM files.
        FileFormatError: If the files are gone.
    """
    hd = import_extra("highdicom", extra="dicom")
    header = next(iter(used_headers(answer, study=study).values()))
    with Pictures.open(io.BytesIO(picture)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    capture = hd.sc.SCImage.from_ref_dataset(
        header,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        **identification(answer, kind="SC"),
    )
    for keyword in _PATIENT_AND_STUDY:
        if keyword in header and keyword not in capture:
            capture[keyword] = header[keyword]
    if "Laterality" not in capture:
        capture.Laterality = None
    capture.PatientOrientation = None  # a sheet of many views has no one orientation
    capture.ManufacturerModelName = short_text(answer.model.name)
    capture.SoftwareVersions = __version__
    capture.BurnedInAnnotation = "YES"
    capture.ImageComments = short_text(RESEARCH_NOTE)
    return finish(capture, description=f"Osler {answer.task} (research)")
