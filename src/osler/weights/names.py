"""The tensor names of the published layouts, and Osler's.

==============================  ==========================================  ===========================
hub layout, old                 `transformers` 4.52 and later               Osler
==============================  ==========================================  ===========================
``language_model.model.X``      ``model.language_model.X``                  ``language_model.X``
``vision_tower.vision_model.X`` ``model.vision_tower[.vision_model].X``     ``vision_tower.X``
``multi_modal_projector.X``     ``model.multi_modal_projector.X``           ``multi_modal_projector.X``
text-only: ``model.X``          ``model.X``                                 ``language_model.X``
==============================  ==========================================  ===========================

The language head is the embedding, so an ``lm_head.weight`` is left out, and so
is the image tower's pooling head, which no projector reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

from osler.errors import CheckpointError

Layout = Literal["multimodal", "text"]
Value = TypeVar("Value")

# Longest first: the first prefix that fits is replaced.
_PREFIXES = (
    ("model.vision_tower.vision_model.", "vision_tower."),
    ("vision_tower.vision_model.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("language_model.model.", "language_model."),
    ("model.language_model.", "language_model."),
    ("model.vision_tower.", "vision_tower."),
    ("multi_modal_projector.", "multi_modal_projector."),
    ("language_model.", "language_model."),
    ("vision_tower.", "vision_tower."),
    ("model.", "language_model."),
)
_UNUSED = ("lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight")


def own_name(name: str) -> str | None:
    """Returns Osler's name of a published tensor, ``None`` for one that has no use."""
    if name in _UNUSED or name.endswith(".rotary_emb.inv_freq"):
        return None
    for prefix, own in _PREFIXES:
        if name.startswith(prefix):
            renamed = own + name.removeprefix(prefix)
            return None if renamed.startswith("vision_tower.head.") or renamed.endswith(".position_ids") else renamed
    return name


def published_name(name: str, *, layout: Layout) -> str:
    """Returns the name in the hub layout, which every version of `transformers` reads."""
    if layout == "text":
        return name.replace("language_model.", "model.", 1)
    return name.replace("language_model.", "language_model.model.", 1).replace(
        "vision_tower.", "vision_tower.vision_model.", 1
    )


def rename(tensors: Mapping[str, Value], *, source: str) -> dict[str, Value]:
    """Renames a file's tensors to Osler's names.

    Raises:
        CheckpointError: If two tensors get the same name.
    """
    renamed: dict[str, Value] = {}
    twice = []
    for name, value in tensors.items():
        own = own_name(name)
        if own is None:
            continue
        if own in renamed:
            twice.append(name)
        renamed[own] = value
    if twice:
        raise CheckpointError(f"{source!r} holds these tensors twice, under two layouts: {_first(twice)}.")
    return renamed


def _first(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:6])
