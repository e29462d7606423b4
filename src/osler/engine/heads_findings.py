"""The findings head at work: calibrated probabilities, and "cannot tell" where there is no ground for one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from osler.engine.head_features import HeadFeatures, frontal_xrays, frontal_xrays_alone, text_states
from osler.model.heads import patch_positions
from osler.prepare import PreparedImages
from osler.prepare.finding_names import finding_names
from osler.prepare.finding_words import finding_words

if TYPE_CHECKING:
    from osler.engine.backend import AnyHeads
    from osler.engine.session import Session
    from osler.study import Study


class FindingReader:
    """Gives a probability for each finding in one pass (skill ``"findings"``).

    Args:
        heads: Trained on X-rays. features: Of its network.
    """

    def __init__(self, heads: AnyHeads, *, features: HeadFeatures) -> None:
        self._heads = heads
        self._features = features
        self._places = query_places(heads)
        self._spoken = frozenset(heads.config.told)
        levels = dict(zip(heads.config.told, heads.config.told_levels, strict=False))
        self._levels = {name: levels[key] for name, key in self._keys() if key in levels}

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on."""
        return frozenset(self._places)

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted on patients kept out of training."""
        return not bool(self._heads.findings.scale.isnan().all())

    def looked_at(self, study: Study) -> Study:
        """Returns a study with nothing but what `probabilities` reads of it: other images need not be prepared."""
        return frontal_xrays_alone(study)

    @torch.inference_mode()
    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        """Reads the frontal X-rays of the last time point that has any.

        Args:
            session: With these weights. study: To look at.
            findings: Names of `findings`.

        Returns:
            A probability a finding. ``None`` where there is no X-ray, where the box head sees none of the labels of
            `HeadsConfig.witness` (a picture of something else), where this finding alone was never
            calibrated, or where the probability lies in the band of `HeadsConfig.unsure`.
        """
        logits_1F = self._logits(session, study) if findings else None
        if logits_1F is None:
            return dict.fromkeys(findings)
        head = self._heads.findings
        found = (head.probabilities(logits_1F) if self.calibrated else logits_1F.sigmoid())[0].tolist()
        return {name: self._sure(found[self._places[name]]) for name in findings}

    @torch.inference_mode()
    def told(self, session: Session, study: Study) -> str:
        """Puts what the head reads of `HeadsConfig.told` into words (`finding_words`), not calibrated.

        Args:
            session: With these weights. study: To look at, as in `probabilities`.

        Returns:
            A line for the prompt; empty where nothing is to be told or there is no frontal X-ray.
        """
        names = [name for name, key in self._keys() if key in self._spoken]
        logits_1F = self._logits(session, study) if names else None
        if logits_1F is None:
            return ""
        shares = logits_1F.sigmoid()[0].tolist()
        return finding_words({name: shares[self._places[name]] for name in names}, levels=self._levels)

    def _keys(self) -> Iterator[tuple[str, str]]:
        """Each finding that people can ask for by its name, and its key."""
        return ((name, self._heads.config.findings[place]) for name, place in self._places.items())

    def _logits(self, session: Session, study: Study) -> torch.Tensor | None:
        """Of the frontal X-rays of the last time point that has any, in the mean, (1, F)."""
        prepared = session.prepare(study)
        numbers: list[int] = []
        for timepoint in reversed(range(len(study.timepoints))):
            numbers = numbers or frontal_xrays(study, prepared, timepoint=timepoint)
        numbers = self._witnessed(session, prepared, numbers)
        if not numbers:
            return None
        _, logits_NF = self._heads.findings(self._features.of(prepared.pixels, numbers=numbers))
        return logits_NF.mean(0, keepdim=True)

    def _witnessed(self, session: Session, prepared: PreparedImages, numbers: list[int]) -> list[int]:
        """Keeps the pictures in which the box head sees what every X-ray of that kind shows."""
        witness = self._heads.config.witness
        if not witness or not numbers:
            return numbers
        features_NPV = self._features.of(prepared.pixels, numbers=numbers)
        text_NQC = text_states(session, witness).expand(len(numbers), -1, -1)
        side = math.isqrt(features_NPV.shape[1])
        places_NP3 = patch_positions(side, device=features_NPV.device).expand(len(numbers), -1, -1)
        _, presence_NQ = self._heads.boxes(text_NQC, features_BMV=features_NPV, positions_BM3=places_NP3)
        seen = (presence_NQ > 0).any(dim=1).tolist()
        return [number for number, there in zip(numbers, seen, strict=True) if there]

    def _sure(self, probability: float) -> float | None:
        low, high = self._heads.config.unsure
        return None if math.isnan(probability) or low < probability < high else probability


def query_places(heads: AnyHeads) -> dict[str, int]:
    """Number of the query of each finding by its name; queries without a name that people can ask for are left out."""
    names = {finding.key: finding.name for finding in finding_names()}
    return {names[key]: place for place, key in enumerate(heads.config.findings) if key in names}
