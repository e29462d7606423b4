"""The heads that a network offers, by skill; a task uses one only where the weights list the skill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osler.engine.head_features import HeadFeatures
from osler.engine.heads_boxes import BoxFinder
from osler.engine.heads_embedding import Embedder
from osler.engine.heads_findings import FindingReader
from osler.engine.heads_progression import ChangeReader
from osler.model.osler import Osler
from osler.weights.skills import Skill

HEAD_SKILLS: frozenset[Skill] = frozenset({"boxes", "findings", "progression", "embeddings"})
"""Skills that only heads have."""


def offered_heads(model: Osler) -> Mapping[Skill, Any]:
    """Returns objects that fit the protocols of `osler.tasks.heads`; they share the features of a study."""
    if model.heads is None or model.vision is None:
        return {}
    features = HeadFeatures(model)
    found: dict[Skill, Any] = {
        "boxes": BoxFinder(model.heads, features=features, side=model.vision.config.side),
        "findings": FindingReader(model.heads, features=features),
        "embeddings": Embedder(model.heads, features=features),
    }
    if model.temporal is not None:
        found["progression"] = ChangeReader(model.heads, temporal=model.temporal, features=features)
    return found
