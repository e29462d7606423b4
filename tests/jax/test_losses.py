"""Losses against their PyTorch twins: values and gradients, with what a batch lacks masked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax

from osler.jax import losses as ours
from osler.jax.arrays import to_jax
from osler.train import losses as theirs
from tests.jax.parts import require_near


def compare(found: Callable[[Any], Any], wanted: Callable[[Tensor], Tensor], given: Tensor) -> None:
    """Both as functions of what the network gave: the loss, and its gradient."""
    given = given.requires_grad_(True)
    loss = wanted(given)
    loss.backward()
    value, gradient = jax.jit(jax.value_and_grad(found))(to_jax(given))
    require_near(value, loss.detach())
    assert given.grad is not None
    require_near(gradient, given.grad)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_next_tokens() -> None:
    ids = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    wanted = torch.rand(3, 9, generator=torch.Generator().manual_seed(2)) < 0.4
    wanted[:, -1] = False
    compare(
        lambda x: ours.next_token_loss(x, token_ids_BL=to_jax(ids), wanted_BL=to_jax(wanted)),
        lambda x: theirs.next_token_loss(x, token_ids_BL=ids, wanted_BL=wanted),
        seeded(3, 9, 40) * 6,
    )


def test_pairs() -> None:
    compare(ours.contrastive_loss, theirs.contrastive_loss, seeded(5, 5) * 12)
    same = seeded(5, 5, seed=3) > 0.5
    compare(
        lambda x: ours.contrastive_loss(x, same_BB=to_jax(same)),
        lambda x: theirs.contrastive_loss(x, same_BB=same),
        seeded(5, 5) * 12,
    )


def test_boxes_in_pictures_and_volumes_and_labels_that_are_not_there() -> None:
    corners = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(4))
    wanted = torch.cat((corners.amin(0), corners.amax(0)), dim=-1)
    wanted[:3, [2, 5]] = torch.nan
    there = torch.tensor([True, True, False, True, True, False, True])
    wanted[~there] = torch.nan
    shown = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(5))
    found = torch.cat((shown.amin(0), shown.amax(0)), dim=-1)
    compare(
        lambda x: ours.box_loss(x, to_jax(wanted), there_Q=to_jax(there), iou_weight=0.7),
        lambda x: theirs.box_loss(x[there], wanted[there], iou_weight=0.7),
        found,
    )
    asked = torch.tensor([True, True, True, False, True, True, True])
    compare(
        lambda x: ours.presence_loss(x, there_Q=to_jax(there), asked_Q=to_jax(asked)),
        lambda x: theirs.presence_loss(x[asked], there_Q=there[asked]),
        seeded(7) * 4,
    )


@pytest.mark.parametrize("share", [0.6, 0.0])
def test_findings_and_changes_of_which_some_or_none_are_known(share: float) -> None:
    generator = torch.Generator().manual_seed(6)
    known = torch.rand(4, 6, generator=generator) < share
    findings = torch.where(known, torch.rand(4, 6, generator=generator), torch.nan)
    compare(
        lambda x: ours.findings_loss(x, wanted_BF=to_jax(findings)),
        lambda x: theirs.findings_loss(x, wanted_BF=findings),
        seeded(4, 6) * 5,
    )
    changes = torch.where(known, torch.randint(0, 6, (4, 6), generator=generator), theirs.UNKNOWN)
    weights = torch.tensor([0.15, 1.5, 1.5, 2.0, 2.0, 0.7])
    for given in (None, weights):
        compare(
            lambda x, given=given: ours.progression_loss(
                x, wanted_BF=to_jax(changes), class_weights_C=None if given is None else to_jax(given)
            ),
            lambda x, given=given: theirs.progression_loss(x, wanted_BF=changes, class_weights_C=given),
            seeded(4, 6, 6) * 3,
        )


def test_the_sum_follows_the_weights() -> None:
    weights = theirs.TaskWeights(boxes=3.0, findings=0.0)
    parts = {"boxes": torch.tensor(0.7), "findings": torch.tensor(9.0), "next_token": torch.tensor(2.5)}
    found = ours.total_loss({name: to_jax(value) for name, value in parts.items()}, weights=asdict(weights))
    require_near(found, theirs.total_loss(parts, weights=weights))
    assert ours.UNKNOWN == theirs.UNKNOWN
