"""From the images that the network sees to the picture that people see."""

from __future__ import annotations

from collections.abc import Sequence

from osler.prepare import PreparedImages, ShownImage
from osler.study import Answer, Box2D, FoundBox, Slide, Study, Volume
from osler.writers.picture import Tile, draw_sheet, edge_letters, encode_png
from osler.writers.text import SAFETY_NOTE
from osler.writers.tile_map import tile_caption, tile_maps, tiles_on_sheet

_SHOWN_BOX_LABEL = "{label} {score:.0%}"


def draw_answer(prepared: PreparedImages, *, study: Study, question: str, answer: Answer) -> bytes:
    """Draws what the model saw, with the question above and the answer below.

    Args:
        prepared: The images of the request; without any, only the texts are drawn.
        study: Where they come from.
        question: As asked.
        answer: Its boxes are drawn on their slices.

    Returns:
        The contents of a PNG file.
    """
    model = answer.model
    stamp = f"{model.name} ({model.bits} bits, {model.backend} on {model.device})"
    notes = (*_color_notes(prepared), f"{stamp}, preprocessing {answer.preprocess[:16]}.", SAFETY_NOTE)
    tiles = view_tiles(prepared, study=study, boxes=answer.boxes)
    leads = tile_maps(prepared, study=study, boxes=answer.boxes)
    return encode_png(draw_sheet(tiles, title=question, body=answer.text, footer="\n".join(notes), leads=leads))


def draw_view(prepared: PreparedImages, *, study: Study, model: str) -> bytes:
    """Draws what a model would see of a study.

    Args:
        prepared: The images.
        study: Where they come from.
        model: Name of the model.

    Returns:
        The contents of a PNG file.
    """
    contract = prepared.pixels.preprocess
    size = contract.image_size
    count = len(prepared.images)
    title = f"What {model} would see: {count} {'image' if count == 1 else 'images'} of {size}x{size} px"
    notes = (*_color_notes(prepared), f"Preprocessing {contract.short_hash}.", SAFETY_NOTE)
    tiles, leads = view_tiles(prepared, study=study), tile_maps(prepared, study=study)
    return encode_png(draw_sheet(tiles, title=title, footer="\n".join(notes), leads=leads))


def view_tiles(prepared: PreparedImages, *, study: Study, boxes: Sequence[FoundBox] = ()) -> tuple[Tile, ...]:
    """Returns one tile for each image that the network sees, in its order; of a slide, at most 30 of its tiles."""
    # Two studies of a patient may hold the same Series UID.
    by_place = {
        (number, series.series): series for number, point in enumerate(study.timepoints) for series in point.series
    }
    several = len({image.series for image in prepared.images}) > 1
    tiles: list[Tile] = []
    some = tiles_on_sheet(prepared)
    for image, rgb in zip(prepared.images, prepared.pixels.rgb, strict=True):
        if image.tile is not None and image.tile.number not in some[image.timepoint, image.series]:
            continue
        series = by_place[image.timepoint, image.series]
        kind = series.modality or "image"
        if isinstance(series, Volume):
            caption = f"{(image.slice or 0) + 1} of {series.shape[0]}"
            lead = _when(study, image.timepoint) or (kind if several else "")
            dated = len(study.timepoints) > 1 and study.timepoints[image.timepoint].date is not None
            caption = f"{lead}: {caption}" if dated else f"{lead} slice {caption}".lstrip()  # "slice" has no room there
        elif isinstance(series, Slide):
            caption = tile_caption(image)
        else:
            caption = " ".join(part for part in (_when(study, image.timepoint), kind, series.view) if part)
        mapping = image.pixel_map
        columns_mm, rows_mm = (series.spacing or (1.0, 1.0))[:2]
        if mapping.turn.transposed:
            columns_mm, rows_mm = rows_mm, columns_mm
        tiles.append(
            Tile(
                pixels=rgb,
                caption=caption,
                aspect=(mapping.padded_width * columns_mm) / (mapping.padded_height * rows_mm),
                letters=edge_letters(image.affine, turn=mapping.turn) if image.affine is not None else None,
                boxes=tuple(_boxes_on(image, boxes=boxes)),
            )
        )
    return tuple(tiles)


def _when(study: Study, timepoint: int) -> str:
    """Tells the time points of a study apart: by date, else by their order."""
    if len(study.timepoints) < 2:
        return ""
    date = study.timepoints[timepoint].date
    return date.isoformat() if date is not None else f"study {timepoint + 1}"


def _boxes_on(image: ShownImage, *, boxes: Sequence[FoundBox]) -> list[tuple[str, Box2D]]:
    """The boxes that lie on one image, as fractions of it."""
    size = image.pixel_map.image_size
    found: list[tuple[str, Box2D]] = []
    for box in boxes:
        shown = _on_image(box, image) if box.series == image.series else None
        if shown is not None:
            label = _SHOWN_BOX_LABEL.format(label=box.label, score=box.score)
            found.append((label, shown.to_unit(width=size, height=size)))
    return found


def _on_image(box: FoundBox, image: ShownImage) -> Box2D | None:
    """A box in the network's pixels of an image that it lies on; one over many slices is cut by each."""
    if box.pixel is not None:
        here = image.slice is None or box.slice is None or box.slice == image.slice
        return image.to_model(box.pixel) if here else None
    if box.patient is None or image.affine is None:
        return None
    voxel = box.patient.to_voxel(image.affine)
    center = (image.slice or 0) + 0.5
    return image.from_patient(box.patient) if voxel.low[2] <= center <= voxel.high[2] else None


def _color_notes(prepared: PreparedImages) -> tuple[str, ...]:
    if not any(series.view.startswith("CT windows") for series in prepared.used):
        return ()
    windows = [f"{window.low:g} to {window.high:g}" for window in prepared.pixels.preprocess.ct_windows]
    return (f"Red, green and blue show CT values of {windows[0]}, {windows[1]} and {windows[2]} HU.",)
