"""From the images that the network sees to the tiles of a picture."""

from __future__ import annotations

from collections.abc import Sequence

from osler.prepare import PreparedImages, ShownImage
from osler.study import Answer, Box2D, FoundBox, Series, Study
from osler.writers.picture import Tile, draw_sheet, edge_letters
from osler.writers.text import SAFETY_NOTE

_CT_NOTE = "Red, green and blue are three HU windows: -1024 to 1024, -135 to 215 and 0 to 80."


def draw_answer(prepared: PreparedImages, *, study: Study, question: str, answer: Answer) -> bytes:
    """Draws what the model saw with the question above and the answer below.

    Returns:
        A PNG file's contents.
    """
    model = answer.model
    stamp = f"{model.name} ({model.bits} bits, {model.backend} on {model.device}), preprocessing {answer.preprocess[:16]}"
    return _sheet(
        view_tiles(prepared, study=study, boxes=answer.boxes), title=question, body=answer.text, notes=[stamp], prepared=prepared
    )


def draw_view(prepared: PreparedImages, *, study: Study, title: str, preprocess_hash: str) -> bytes:
    """Draws what a model with that preprocessing would see.

    Returns:
        A PNG file's contents.
    """
    notes = [f"preprocessing {preprocess_hash[:16]}"]
    return _sheet(view_tiles(prepared, study=study), title=title, body="", notes=notes, prepared=prepared)
