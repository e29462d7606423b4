"""Switching the parts that a network adds to the published one: what is off leaves an identity.

Without ``volume`` slabs are means of their slices, without ``adapter`` the decoder
reads soft tokens alone, without ``temporal`` each date is seen by itself, without
``heads`` nothing is found but what the decoder writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, get_args

from osler.errors import RequestError, unknown_name

if TYPE_CHECKING:
    from osler.weights.checkpoint import Checkpoint
    from osler.weights.skills import Skill

Part = Literal["volume", "adapter", "temporal", "heads"]

PARTS: tuple[Part, ...] = get_args(Part)

HEAD_SKILLS: frozenset[Skill] = frozenset({"boxes", "findings", "progression", "embeddings"})

PART_MODULES: dict[Part, tuple[str, ...]] = {
    "volume": ("volume", "volume_projection"),
    "adapter": ("adapter",),
    "temporal": ("temporal",),
    "heads": ("heads",),
}
"""The modules of the network that each part is made of."""


def check_parts(names: Collection[str]) -> tuple[Part, ...]:
    """Returns the named parts in their order.

    Raises:
        RequestError: If one is unknown, with the nearest name.
    """
    if isinstance(names, str):
        raise RequestError(f"Parts as one text: {names!r}.", allowed=f"A list of: {', '.join(PARTS)}.")
    for name in names:
        if name not in PARTS:
            raise unknown_name("part", name=str(name), known=PARTS)
    return tuple(part for part in PARTS if part in names)


def parts_without(names: Collection[str]) -> tuple[Part, ...] | None:
    """Returns all parts but the named ones, ``None`` where none is named.

    Raises:
        RequestError: If one is unknown, with the nearest name.
    """
    off = check_parts(names)
    return tuple(part for part in PARTS if part not in off) if off else None


def keep_parts(checkpoint: Checkpoint, parts: Collection[str] | None) -> Checkpoint:
    """Takes the other parts out of a checkpoint that was just loaded; its network is changed in place.

    Skills of the heads leave with them, and the identity of the weights changes, so that nothing that was
    remembered of the whole network is taken for that of the rest.

    Args:
        checkpoint: With a network of its own.
        parts: That are kept, of those that it has; ``None`` for all.

    Raises:
        RequestError: If a part is unknown, with the nearest name.
    """
    if parts is None:
        return checkpoint
    kept, model = check_parts(parts), checkpoint.model
    off = tuple(part for part in PARTS if part not in kept and getattr(model.config, part) is not None)
    if not off:
        return checkpoint
    for part in off:
        for module in PART_MODULES[part]:
            setattr(model, module, None)
    model.config = dataclasses.replace(model.config, **dict.fromkeys(off))
    told = f"without {', '.join(off)}"
    return dataclasses.replace(
        checkpoint,
        identity=sha256(f"{checkpoint.identity} {told}".encode()).hexdigest() if checkpoint.identity else "",
        trained=checkpoint.trained - HEAD_SKILLS if "heads" in off else checkpoint.trained,
        warnings=(*checkpoint.warnings, f"{checkpoint.name} runs {told}."),
    )
