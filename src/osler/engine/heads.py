"""The heads that a network offers, by skill; a task uses one only where the weights list the skill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from osler.engine.head_features import HeadFeatures
from osler.engine.heads_boxes import BoxFinder
from osler.engine.heads_embedding import Embedder
from osler.engine.heads_findings import FindingReader
from osler.engine.heads_progression import ChangeReader

if TYPE_CHECKING:
    from osler.engine.backend import AnyNetwork
    from osler.weights.skills import Skill


def offered_heads(network: AnyNetwork) -> Mapping[Skill, Any]:
    """Returns objects that fit the protocols of `osler.tasks.heads`; they share the features of a study."""
    heads, vision = network.heads, network.config.vision
    if heads is None or vision is None:
        return {}
    features = HeadFeatures(network)
    found: dict[Skill, Any] = {
        "boxes": BoxFinder(heads, features=features, side=vision.side),
        "findings": FindingReader(heads, features=features),
        "embeddings": Embedder(heads, features=features),
        "progression": ChangeReader(heads, temporal=network.temporal, features=features),
    }
    return found
