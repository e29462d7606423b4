"""Calibration finds the scale and the shifts that logits were spoiled with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from osler.errors import RequestError
from osler.train.calibration import fit_calibration


def _films(count: int, *, findings: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """True log-odds of findings, and what was drawn by them."""
    generator = torch.Generator().manual_seed(seed)
    odds_NF = torch.randn(count, findings, generator=generator) * 1.5 - torch.linspace(0, 3, findings)
    return odds_NF, torch.bernoulli(odds_NF.sigmoid(), generator=generator)


def _error(probability_NF: Tensor, wanted_NF: Tensor, *, bins: int = 10) -> float:
    """Expected calibration error over equal bins."""
    flat, truth = probability_NF.flatten(), wanted_NF.flatten()
    number = (flat * bins).long().clamp(max=bins - 1)
    return sum(
        float(inside.float().mean() * (flat[inside].mean() - truth[inside].mean()).abs())
        for inside in (number == value for value in range(bins)) if bool(inside.any())
    )  # fmt: skip


def test_spoiled_logits_are_mended_on_other_films() -> None:
    odds_NF, wanted_NF = _films(4000)
    spoiled_NF = odds_NF * 2.5 + torch.tensor([1.0, 1.4, 0.8, 1.2, 1.0, 0.6])
    found = fit_calibration(spoiled_NF[:2000], wanted_NF=wanted_NF[:2000])
    torch.testing.assert_close(found.scale_F, torch.full((6,), 0.4), atol=0.04, rtol=0)
    before = _error(spoiled_NF[2000:].sigmoid(), wanted_NF[2000:])
    after = _error(found.probabilities(spoiled_NF[2000:]), wanted_NF[2000:])
    assert after < 0.02 < 0.08 < before


def test_a_finding_with_few_films_stays_near_the_others() -> None:
    odds_NF, wanted_NF = _films(500)
    few_NF = wanted_NF.clone()
    few_NF[3:, 5] = torch.nan
    few_NF[:3, 5] = 1.0
    found = fit_calibration(odds_NF, wanted_NF=few_NF)
    # By maximum likelihood alone three films that all show it would drive its shift to infinity.
    assert float((found.shift_F[5] - found.shift_F[:5].mean()).abs()) < 1.5
    assert found.films_F.tolist() == [500] * 5 + [3]
    assert int(found.shown_F[5]) == 3


def test_a_finding_without_labels_is_not_calibrated() -> None:
    odds_NF, wanted_NF = _films(200)
    wanted_NF[:, 2] = torch.nan
    found = fit_calibration(odds_NF, wanted_NF=wanted_NF)
    probabilities = found.probabilities(odds_NF)
    assert bool(probabilities[:, 2].isnan().all())
    assert not bool(probabilities[:, [0, 1, 3, 4, 5]].isnan().any())


def test_order_of_scores_is_kept() -> None:
    odds_NF, wanted_NF = _films(300)
    found = fit_calibration(odds_NF * 3, wanted_NF=wanted_NF)
    probabilities = found.probabilities(odds_NF * 3)
    for finding in range(6):
        assert torch.equal(probabilities[:, finding].argsort(), odds_NF[:, finding].argsort())


def test_nothing_to_fit_on_is_refused() -> None:
    with pytest.raises(RequestError, match="No film with a label"):
        fit_calibration(torch.zeros(3, 2), wanted_NF=torch.full((3, 2), torch.nan))
