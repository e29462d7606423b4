"""Losses against formulas written anew, and the way of each to the modules that it should teach."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from osler.model.config import get_config
from osler.model.heads import CHANGES, patch_positions
from osler.model.osler import Osler
from osler.model.temporal import Events
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

NAN = math.nan


def giou_by_hand(a: list[float], b: list[float]) -> float:
    """GIoU = |A and B| / |A or B| - |C minus (A or B)| / |C|, C the smallest box around both (arXiv 1902.09630)."""
    axes = [axis for axis in range(3) if not math.isnan(b[axis])]
    inside = math.prod(max(0.0, min(a[i + 3], b[i + 3]) - max(a[i], b[i])) for i in axes)
    union = math.prod(a[i + 3] - a[i] for i in axes) + math.prod(b[i + 3] - b[i] for i in axes) - inside
    hull = math.prod(max(a[i + 3], b[i + 3]) - min(a[i], b[i]) for i in axes)
    return inside / union - (hull - union) / hull


def boxes(count: int, *, seed: int) -> Tensor:
    corners = torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(seed))
    return torch.cat((corners.amin(1), corners.amax(1)), dim=-1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_generalized_iou_is_that_of_the_paper(dimensions: int) -> None:
    found, wanted = boxes(50, seed=1), boxes(50, seed=2)
    if dimensions == 2:
        wanted[:, [2, 5]] = NAN
    expected = [giou_by_hand(a, b) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    torch.testing.assert_close(generalized_iou(found, wanted), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert min(expected) < 0 < max(expected)


def test_generalized_iou_of_known_boxes() -> None:
    unit, apart = [0.0, 0, 0, 1, 1, 1], [2.0, 0, 0, 3, 1, 1]
    found = generalized_iou(torch.tensor([unit, unit]), torch.tensor([unit, apart]))
    torch.testing.assert_close(found, torch.tensor([1.0, -1 / 3]), rtol=1e-5, atol=1e-5)


def test_a_box_loss_is_zero_for_the_same_box_and_ignores_depth_in_a_picture() -> None:
    wanted = boxes(4, seed=3)
    assert float(box_loss(wanted, wanted)) == pytest.approx(0, abs=1e-4)
    flat = wanted.clone()
    flat[:, [2, 5]] = NAN
    other = wanted.clone()
    other[:, 2], other[:, 5] = 0.0, 1.0
    assert float(box_loss(other, flat)) == pytest.approx(0, abs=1e-4)
    moved = other + torch.tensor([0.1, 0, 0, 0.1, 0, 0])
    by_hand = [4 * (0.2 / 4) + 1 - giou_by_hand(a, b) for a, b in zip(moved.tolist(), flat.tolist(), strict=True)]
    assert float(box_loss(moved, flat)) == pytest.approx(sum(by_hand) / 4, rel=1e-4)
    only_edges = box_loss(moved, flat, iou_weight=0.0)
    assert float(only_edges) == pytest.approx(0.2, rel=1e-4)


def test_boxes_of_no_size_keep_gradients_finite() -> None:
    found = torch.zeros(2, 6, requires_grad=True)
    box_loss(found, torch.tensor([[0.0] * 6, [0.5, 0.5, NAN, 0.5, 0.5, NAN]])).backward()
    assert found.grad is not None
    assert torch.isfinite(found.grad).all()


def test_the_contrastive_loss_is_siglips() -> None:
    """Algorithm 1 of arXiv 2303.15343: -sum(log_sigmoid(labels * logits)) / n."""
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(1)) * 3
    labels = 2 * torch.eye(5) - 1
    expected = -F.logsigmoid(labels * logits).sum() / 5
    torch.testing.assert_close(contrastive_loss(logits), expected)
    same = torch.eye(5, dtype=torch.bool)
    same[0, 1] = True
    assert float(contrastive_loss(logits, same_BB=same)) != pytest.approx(float(expected))


def test_findings_that_nobody_labeled_do_not_count() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.3, 4.0, -1.0]], requires_grad=True)
    wanted = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, 0.5]])
    loss = findings_loss(logits, wanted_BF=wanted)
    known = [(1.0, 1.0), (0.5, 0.0), (-1.0, 0.5)]
    by_hand = [-(y * math.log(1 / (1 + math.exp(-x))) + (1 - y) * math.log(1 / (1 + math.exp(x)))) for x, y in known]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert ((logits.grad != 0) == ~wanted.isnan()).all()


def test_nothing_known_gives_zero_and_not_nan() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    scores = torch.randn(2, 3, 6, requires_grad=True)
    loss = findings_loss(logits, wanted_BF=torch.full((2, 3), NAN))
    loss = loss + progression_loss(scores, wanted_BF=torch.full((2, 3), UNKNOWN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_progression_counts_known_changes_by_class_weight() -> None:
    scores = torch.randn(2, 2, len(CHANGES), generator=torch.Generator().manual_seed(2))
    wanted = torch.tensor([[1, UNKNOWN], [5, 0]])
    weights = torch.tensor([0.1, 1, 1, 2, 2, 0.5])
    logs = scores.log_softmax(-1)
    kept = [(0, 0, 1), (1, 0, 5), (1, 1, 0)]
    by_hand = -sum(float(weights[c] * logs[b, f, c]) for b, f, c in kept) / float(sum(weights[c] for _, _, c in kept))
    assert float(progression_loss(scores, wanted_BF=wanted, class_weights_C=weights)) == pytest.approx(
        by_hand, rel=1e-5
    )


def test_the_next_token_is_asked_for_where_it_is_wanted() -> None:
    logits, ids = torch.randn(2, 4, 9), torch.randint(9, (2, 4))
    wanted = torch.tensor([[True, False, True, False], [False, False, False, False]])
    expected = -(logits[0, 0].log_softmax(-1)[ids[0, 1]] + logits[0, 2].log_softmax(-1)[ids[0, 3]]) / 2
    torch.testing.assert_close(next_token_loss(logits, token_ids_BL=ids, wanted_BL=wanted), expected)


CONFIG = get_config("debug-parts")
BOX = CONFIG.tokens.box
REACHED = {
    "next_token": {"language_model", "vision_tower", "multi_modal_projector", "adapter", "temporal"},
    "contrastive": {"heads.contrastive", "heads.trunk", "vision_tower"},
    "boxes": {"heads.boxes", "heads.trunk", "vision_tower", "language_model"},
    "presence": {"heads.boxes", "heads.trunk", "vision_tower", "language_model"},
    "findings": {"heads.findings", "heads.trunk", "vision_tower"},
    "progression": {"heads.progression", "heads.findings", "heads.trunk", "vision_tower", "temporal"},
}


def losses(model: Osler) -> dict[str, Tensor]:
    """Every loss of one made-up batch: two dates of one patient, an answer with a box token, a report."""
    torch.manual_seed(0)
    tokens = CONFIG.tokens
    assert model.heads is not None
    assert model.temporal is not None
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    events = Events(
        text_BEC=torch.randn(1, 3, 64),
        value_BE=torch.tensor([[0.2, NAN, 3.0]]),
        day_BE=torch.tensor([[0.0, 4.0, 9.0]]),
        padding_BE=torch.zeros(1, 3, dtype=torch.bool),
    )
    days = torch.tensor([[1.0, 30.0]])
    image = [tokens.start_of_image, *[tokens.image] * CONFIG.image_tokens, tokens.end_of_image]
    ids = torch.tensor([[tokens.bos, *image, *image, 120, 130, BOX, 140, 1]])
    soft = model.encode_timeline(pixels[None], days_BT=days, events=events)[0]
    hidden = model.decoder(
        model.embed(ids, soft), positions_BL=torch.arange(ids.shape[1])[None], memory=model.image_memory(pixels)
    )
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    wanted[:, -5:-1] = True
    features = model.head_features(pixels)
    state, logits = model.heads.findings(features)
    _, after = model.temporal(state[None], days_BT=days, events=events)
    _, box, presence = model.boxes_at(
        hidden, token_ids_BL=ids, features_BMV=features[1:], positions_BM3=patch_positions(8)[None]
    )
    head = model.heads.contrastive
    texts = head.texts(hidden.mean(1).repeat(2, 1) * torch.tensor([[1.0], [-1.0]]))
    return {
        "next_token": next_token_loss(model.logits(hidden), token_ids_BL=ids, wanted_BL=wanted),
        "contrastive": contrastive_loss(head.logits(head.images(features), texts)),
        "boxes": box_loss(box, torch.tensor([[0.1, 0.2, NAN, 0.4, 0.9, NAN]])),
        "presence": presence_loss(presence, there_Q=torch.tensor([True])),
        "findings": findings_loss(logits, wanted_BF=torch.tensor([[1.0, 0.0], [NAN, 1.0]])),
        "progression": progression_loss(model.heads.progression(after[:, 1]), wanted_BF=torch.tensor([[1, 3]])),
    }


@pytest.fixture(scope="module")
def model() -> Osler:
    """Random weights, gates a little open."""
    torch.manual_seed(9)
    network = Osler(CONFIG)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.2)
        network.multi_modal_projector.mm_input_projection_weight.normal_(std=0.1)  # type: ignore[union-attr]
    return network


def modules_with_gradient(model: Osler) -> set[str]:
    found = set()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.any()):
            found.add(".".join(name.split(".")[: 2 if name.startswith("heads.") else 1]))
    return found


@pytest.mark.parametrize("task", [field.name for field in dataclasses.fields(TaskWeights)])
def test_each_loss_reaches_what_it_should_teach(model: Osler, task: str) -> None:
    model.zero_grad(set_to_none=True)
    losses(model)[task].backward()
    reached = modules_with_gradient(model)
    assert REACHED[task] <= reached
    # Texts and box states come from the decoder, so what stands before it may learn from them too; other heads not.
    others = {name for name in reached if name.startswith("heads.")} - REACHED[task]
    assert not others


@pytest.mark.parametrize("task", [field.name for field in dataclasses.fields(TaskWeights)])
def test_a_weight_changes_the_gradient_and_zero_leaves_the_task_out(model: Osler, task: str) -> None:
    def gradient(weights: TaskWeights) -> Tensor:
        model.zero_grad(set_to_none=True)
        total_loss(losses(model), weights=weights).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    once = gradient(TaskWeights())
    more = gradient(dataclasses.replace(TaskWeights(), **{task: getattr(TaskWeights(), task) * 2}))
    assert not torch.equal(once, more)
    alone = dict.fromkeys(dataclasses.asdict(TaskWeights()), 0.0)
    assert gradient(TaskWeights(**alone | {task: 1.0})).abs().max() > 0
    assert gradient(TaskWeights(**alone)).abs().max() == 0


def test_the_total_is_the_weighted_sum_of_what_a_batch_has() -> None:
    parts = {"findings": torch.tensor(2.0), "boxes": torch.tensor(3.0)}
    assert float(total_loss(parts, weights=TaskWeights(findings=0.5, boxes=10.0))) == 31.0
