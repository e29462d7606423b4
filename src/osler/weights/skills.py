"""What a set of weights was trained to do, as its configuration says.

A task asks before it runs: weights that were never trained to draw boxes would
draw some all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from osler.errors import CheckpointError
from osler.weights.catalog import find_model
from osler.weights.json_file import read_json

Skill = Literal[
    "answers", "reports", "box_text", "box_tokens", "boxes", "findings", "change_text", "progression", "embeddings"
]
"""``box_text``: boxes written as published ``box_2d`` text; ``boxes``: regressed by the box head from a label;
``box_tokens``: from the state of a box token that the decoder writes.
``change_text``: what changed between two images, in words; ``progression``: by the progression head."""

PUBLISHED_SKILLS: frozenset[Skill] = frozenset({"answers", "reports", "box_text", "change_text"})
"""Of MedGemma 1.5 (technical report, arXiv 2604.05081, section 3)."""


def skills_of(name_or_path: str) -> frozenset[Skill]:
    """Returns what a model was trained to do, by its configuration alone: no weights are loaded.

    Args:
        name_or_path: As for `load_checkpoint`.

    Raises:
        RequestError: If the name is unknown.
        CheckpointError: If its configuration cannot be read.
    """
    place = find_model(name_or_path)
    if not (place / "config.json").is_file():
        return frozenset()
    content = read_json(place / "config.json")
    if content.get("model_type") in ("osler", "osler-quantized"):
        listed = content.get("trained", ["answers"])
        return read_skills(listed if isinstance(listed, list) else [], source=str(place / "config.json"))
    return PUBLISHED_SKILLS if "vision_config" in content else frozenset({"answers"})


def read_skills(names: Iterable[str], *, source: str) -> frozenset[Skill]:
    """Checks the skills that a configuration lists.

    Raises:
        CheckpointError: If one is unknown.
    """
    listed = frozenset(names)
    if unknown := sorted(listed - set(get_args(Skill))):
        raise CheckpointError(
            f"{source} lists skills that this version does not know: {', '.join(map(repr, unknown))}.",
            allowed=f"Known: {', '.join(get_args(Skill))}.",
            next_step="Install the version of Osler that the folder was made with.",
        )
    return listed  # type: ignore[return-value]
