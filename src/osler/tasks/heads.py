"""What a trained head must offer to be used by a task.

A session whose weights hold heads offers them as ``session.heads``, a mapping
from a `Skill` to an object that fits the protocol here. A task uses a head
only where the skill is also listed in ``session.trained``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from osler.study import Box2D, Box3D, Change, Study

if TYPE_CHECKING:
    from osler.engine.session import Session
    from osler.weights.skills import Skill


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadBox:
    """A box that a head found: on one image of the prepared study, or in the patient.

    Args:
        label: One of the labels asked for.
        series: Series identifier.
        score: Probability that the label is there and its box fits, 0 to 1.
        image: Number of the image among those of ``session.prepare(study)``, for ``box``.
        box: In the network's pixels of that image.
        patient: In patient LPS mm, instead of ``image`` and ``box``.
    """

    label: str
    series: str
    score: float
    image: int | None = None
    box: Box2D | None = None
    patient: Box3D | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadChange:
    """What a progression head makes of one finding, with the probability of it."""

    finding: str
    change: Change
    probability: float


class BoxHead(Protocol):
    """Finds boxes of labels (skill ``"boxes"``)."""

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it was trained on; empty where any text may be asked for."""
        ...

    def locate(self, session: Session, study: Study, *, labels: Sequence[str]) -> Sequence[HeadBox]:
        """Returns the boxes that it is sure enough of; none for a label that is not there."""
        ...


class FindingsHead(Protocol):
    """Gives a probability for each finding in one pass (skill ``"findings"``)."""

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on, of `osler.tasks.finding_names`."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted on patients kept out of training."""
        ...

    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        """Returns a probability for each finding, ``None`` where it abstains ("cannot tell")."""
        ...


class ProgressionHead(Protocol):
    """Says what became of a finding between the dates of a study (skill ``"progression"``)."""

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on, of `osler.tasks.finding_names`."""
        ...

    def changes(self, session: Session, study: Study, *, findings: Sequence[str]) -> Sequence[HeadChange]:
        """Compares the last time point of a study with the one before."""
        ...


def head_for(session: Session, skill: Skill) -> Any | None:
    """Returns the head for a skill, or ``None`` where the weights were not trained for it."""
    heads: Mapping[str, Any] = getattr(session, "heads", {})
    return heads.get(skill) if skill in session.trained else None
