"""The findings head at work: calibrated probabilities, and "cannot tell" where there is no ground for one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from osler.engine.head_features import HeadFeatures, frontal_xrays
from osler.model.heads import Heads
from osler.prepare.finding_names import finding_names

if TYPE_CHECKING:
    from osler.engine.session import Session
    from osler.study import Study


class FindingReader:
    """Gives a probability for each finding in one pass (skill ``"findings"``).

    Args:
        heads: Trained on X-rays. features: Of its network.
    """

    def __init__(self, heads: Heads, *, features: HeadFeatures) -> None:
        self._heads = heads
        self._features = features
        self._places = query_places(heads)

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on."""
        return frozenset(self._places)

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted on patients kept out of training."""
        return not bool(self._heads.findings.scale.isnan().all())

    @torch.inference_mode()
    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        """Reads the frontal X-rays of the last time point that has any.

        Args:
            session: With these weights. study: To look at.
            findings: Names of `findings`.

        Returns:
            A probability a finding. ``None`` where there is no X-ray, where this finding alone was never
            calibrated, or where the probability lies in the band of `HeadsConfig.unsure`.
        """
        prepared = session.prepare(study)
        numbers: list[int] = []
        for timepoint in reversed(range(len(study.timepoints))):
            numbers = numbers or frontal_xrays(study, prepared, timepoint=timepoint)
        if not numbers or not findings:
            return dict.fromkeys(findings)
        head = self._heads.findings
        _, logits_NF = head(self._features.of(prepared.pixels, numbers=numbers))
        logits_1F = logits_NF.mean(0, keepdim=True)
        found = (head.probabilities(logits_1F) if self.calibrated else logits_1F.sigmoid())[0].tolist()
        return {name: self._told(found[self._places[name]]) for name in findings}

    def _told(self, probability: float) -> float | None:
        low, high = self._heads.config.unsure
        return None if math.isnan(probability) or low < probability < high else probability


def query_places(heads: Heads) -> dict[str, int]:
    """Number of the query of each finding by its name; queries without a name that people can ask for are left out."""
    names = {finding.key: finding.name for finding in finding_names()}
    return {names[key]: place for place, key in enumerate(heads.config.findings) if key in names}
