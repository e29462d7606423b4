"""What a trained head must offer to be used by a task.

A session whose weights hold heads offers them as ``session.heads``, a mapping
from a `Skill` to an object that fits the protocol here. A task uses a head
only where the skill is also listed in ``session.trained``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from osler.engine.head_results import HeadBox, HeadChange, Known
from osler.study import Study

if TYPE_CHECKING:
    import numpy as np

    from osler.engine.session import Session
    from osler.prepare import PreparedImages
    from osler.weights.skills import Skill


class BoxHead(Protocol):
    """Finds boxes of labels (skill ``"boxes"``)."""

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it was trained on; empty where any text may be asked for."""
        ...

    def scope_of(self, labels: Sequence[str]) -> str:
        """What it was found good for with all of these labels, in words; empty where it reads everything."""
        ...

    def everywhere(self) -> BoxHead:
        """Returns the same head without `labels`, asked also where it was not found good; its scopes stay."""
        ...

    def locate(self, session: Session, study: Study, *, labels: Sequence[str]) -> Sequence[HeadBox]:
        """Returns the boxes that it is sure enough of; none for a label that is not there."""
        ...


class FindingsHead(Protocol):
    """Gives a probability for each finding in one pass (skill ``"findings"``)."""

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on, of `osler.prepare.finding_names`."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted on patients kept out of training."""
        ...

    def looked_at(self, study: Study) -> Study:
        """Returns the study with those series alone that it reads, its time points in their places."""
        ...

    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        """Returns a probability for each finding, ``None`` where it abstains ("cannot tell")."""
        ...

    def told(self, session: Session, study: Study) -> str:
        """Returns what the decoder, where it was trained for it, is told of a study; empty for nothing."""
        ...


class ProgressionHead(Protocol):
    """Says what became of a finding between the dates of a study (skill ``"progression"``)."""

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on, of `osler.prepare.finding_names`."""
        ...

    def changes(
        self, session: Session, study: Study, *, findings: Sequence[str], known: Known = "nothing"
    ) -> Sequence[HeadChange]:
        """Compares the last time point of a study with the one before."""
        ...


class EmbeddingHead(Protocol):
    """Puts images and texts into one space (skill ``"embeddings"``)."""

    def images(self, prepared: PreparedImages) -> np.ndarray:
        """Returns one unit vector an image, (N, E)."""
        ...

    def text(self, session: Session, text: str) -> np.ndarray:
        """Returns the unit vector of a text, (E,)."""
        ...


def head_for(session: Session, skill: Skill) -> Any | None:
    """Returns the head for a skill, or ``None`` where the weights were not trained for it."""
    heads: Mapping[str, Any] = getattr(session, "heads", {})
    return heads.get(skill) if skill in session.trained else None
