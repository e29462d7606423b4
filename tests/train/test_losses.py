"""Losses of the multi-task objective against independent computations."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from osler.train.losses import (
    UNKNOWN,
    TaskWeights,
    box_loss,
    contrastive_loss,
    findings_loss,
    generalized_iou,
    next_token_loss,
    presence_loss,
    progression_loss,
    total_loss,
)

NAN = float("nan")


def _boxes(count: int, *, seed: int, flat: bool = False) -> torch.Tensor:
    edges = torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    boxes = edges.flatten(1)
    if flat:
        boxes[:, [2, 5]] = NAN
    return boxes


def _measured(first: np.ndarray, second: np.ndarray) -> float:
    """Generalized IoU by counting cells of a fine grid that both boxes' edges lie on."""
    axes = len(first) // 2
    masks = []
    for box in (first, second):
        mask = np.ones((20,) * axes, dtype=bool)
        for axis in range(axes):
            line = np.zeros(20, dtype=bool)
            line[int(box[axis]) : int(box[axes + axis])] = True
            mask &= line.reshape([-1 if other == axis else 1 for other in range(axes)])
        masks.append(mask)
    both, union = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
    hull = np.prod([max(first[axes + i], second[axes + i]) - min(first[i], second[i]) for i in range(axes)])
    return float(both / union - (hull - union) / hull)


@pytest.mark.parametrize("axes", [2, 3])
def test_generalized_iou_counts_cells(axes: int) -> None:
    rng = np.random.default_rng(axes)
    for _ in range(30):
        first, second = (
            np.concatenate((low, low + rng.integers(1, 9, axes))) for low in rng.integers(0, 11, (2, axes))
        )
        found, wanted = torch.full((2, 1, 6), NAN)
        for box, cells in ((found, first), (wanted, second)):
            box[0, :axes], box[0, 3 : 3 + axes] = torch.tensor(cells[:axes]), torch.tensor(cells[axes:])
        # A box found in a picture has some depth, which must not count.
        found = torch.where(found.isnan(), torch.tensor([0, 0, 0.2, 0, 0, 0.7]), found)
        assert float(generalized_iou(found.float(), wanted.float())) == pytest.approx(
            _measured(first, second), abs=1e-5
        )


def test_box_loss_is_zero_only_at_the_box() -> None:
    wanted = torch.cat((_boxes(4, seed=0), _boxes(4, seed=1, flat=True)))
    found = torch.where(wanted.isnan(), torch.tensor(0.4), wanted)
    assert float(box_loss(found, wanted)) == pytest.approx(0.0, abs=1e-3)
    assert float(box_loss(found * 0.9, wanted)) > 0.05


def test_depth_of_a_box_in_a_picture_gets_no_gradient() -> None:
    found = _boxes(3, seed=2).requires_grad_()
    box_loss(found, _boxes(3, seed=3, flat=True)).backward()
    assert found.grad is not None
    assert bool((found.grad[:, [2, 5]] == 0).all())
    assert bool((found.grad[:, [0, 1, 3, 4]] != 0).all())


def test_boxes_apart_still_get_a_gradient() -> None:
    found = torch.tensor([[0.0, 0.0, 0.0, 0.1, 0.1, 0.1]], requires_grad=True)
    (1 - generalized_iou(found, torch.tensor([[0.7, 0.7, 0.7, 0.9, 0.9, 0.9]]))).sum().backward()
    assert found.grad is not None
    assert float(found.grad.abs().sum()) > 0


def test_unknown_findings_count_for_nothing() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = torch.tensor([[1.0, NAN, 0.0, NAN], [NAN] * 4, [0.5, 1.0, NAN, NAN]])
    findings_loss(logits, wanted_BF=wanted).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, ~wanted.isnan())
    assert float(findings_loss(logits.detach(), wanted_BF=torch.full((3, 4), NAN))) == 0.0


def test_findings_loss_is_the_mean_over_known_ones() -> None:
    logits, wanted = torch.tensor([[2.0, -1.0, 0.3]]), torch.tensor([[1.0, 0.0, NAN]])
    by_hand = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0))) / 2
    assert float(findings_loss(logits, wanted_BF=wanted)) == pytest.approx(by_hand, rel=1e-5)


def test_unknown_changes_count_for_nothing() -> None:
    scores = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = torch.tensor([[0, UNKNOWN, 5], [UNKNOWN, 1, UNKNOWN]])
    progression_loss(scores, wanted_BF=wanted, class_weights_C=torch.ones(6)).backward()
    assert scores.grad is not None
    assert torch.equal((scores.grad != 0).all(-1), wanted != UNKNOWN)
    assert float(progression_loss(scores.detach(), wanted_BF=torch.full((2, 3), UNKNOWN))) == 0.0


def test_contrastive_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 1.0]])
    by_hand = sum(np.log1p(np.exp(-sign * value)) for sign, value in ((1, 2.0), (-1, -1.0), (-1, 0.5), (1, 1.0))) / 2
    assert float(contrastive_loss(logits)) == pytest.approx(by_hand, rel=1e-5)
    same = torch.tensor([[True, True, False], [True, True, False]])
    wide = torch.cat((logits, torch.zeros(2, 1)), dim=1)
    assert float(contrastive_loss(wide, same_BB=same)) != pytest.approx(by_hand)


def test_next_token_loss_reads_the_token_after_each_wanted_place() -> None:
    logits = torch.full((1, 4, 5), -20.0)
    tokens = torch.tensor([[1, 3, 2, 4]])
    logits[0, 1, 2] = logits[0, 2, 4] = 20.0
    wanted = torch.tensor([[False, True, True, False]])
    assert float(next_token_loss(logits, token_ids_BL=tokens, wanted_BL=wanted)) == pytest.approx(0.0, abs=1e-6)
    wanted[0, 0] = True
    assert float(next_token_loss(logits, token_ids_BL=tokens, wanted_BL=wanted)) > 0.5


def test_presence_loss_prefers_the_truth() -> None:
    there = torch.tensor([True, False])
    assert float(presence_loss(torch.tensor([5.0, -5.0]), there_Q=there)) < 0.01
    assert float(presence_loss(torch.tensor([-5.0, 5.0]), there_Q=there)) > 4


@pytest.mark.parametrize("task", list(asdict(TaskWeights())))
def test_each_weight_scales_the_gradient_of_its_task_alone(task: str) -> None:
    parts = {name: torch.tensor(1.0 + number, requires_grad=True) for number, name in enumerate(asdict(TaskWeights()))}
    total_loss(parts, weights=replace(TaskWeights(), **{task: 7.0})).backward()
    for name, part in parts.items():
        assert part.grad is not None
        assert float(part.grad) == pytest.approx(7.0 if name == task else getattr(TaskWeights(), name))
