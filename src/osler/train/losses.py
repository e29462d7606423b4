"""The multi-task objective: next token, contrastive, boxes, findings, progression.

Dimensions: B samples, L tokens, V vocabulary, Q boxes, F findings, E width of
the shared space of images and texts, K texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

UNKNOWN = -100
"""Target of a class that nobody labeled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWeights:
    """How much each task of the heads counts; 0 leaves it out."""

    contrastive: float = 0.3
    boxes: float = 2.0
    presence: float = 0.3
    findings: float = 1.0
    progression: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWeights(HeadWeights):
    """How much each task counts, the decoder's among them.

    The stage ``joint`` and `osler.jax.train_step` learn the whole sum at once, on weights that all tasks reach. The
    other stages learn it in parts: ``perception`` the heads' terms, ``answers`` and ``finetune`` the next token.
    """

    next_token: float = 1.0


def total_loss(parts: Mapping[str, Tensor], *, weights: HeadWeights) -> Tensor:
    """Adds up weighted losses.

    Args:
        parts: Losses by the names in ``weights``; those that a batch has none of are left out.
        weights: Of the recipe.
    """
    share = asdict(weights)
    return torch.stack([share[name] * value for name, value in parts.items()]).sum()


def next_token_loss(logits_BLV: Tensor, *, token_ids_BL: Tensor, wanted_BL: Tensor) -> Tensor:
    """Mean cross-entropy of the ids that follow the wanted places.

    Args:
        logits_BLV: At each place.
        token_ids_BL: The tokens themselves.
        wanted_BL: True at a place whose next id is asked for; never the last one.
    """
    places = wanted_BL[:, :-1]
    return F.cross_entropy(logits_BLV[:, :-1][places].float(), token_ids_BL[:, 1:][places])


def contrastive_loss(logits_BB: Tensor, *, same_BB: Tensor | None = None) -> Tensor:
    """The sigmoid loss over all pairs of a batch (SigLIP, arXiv 2303.15343, equation 1).

    Args:
        logits_BB: Image by text, scaled and shifted.
        same_BB: True for pairs that belong together; ``None``: the diagonal.
    """
    together = torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device) if same_BB is None else same_BB
    return -F.logsigmoid(torch.where(together, logits_BB, -logits_BB)).sum(1).mean()


def box_loss(found_Q6: Tensor, wanted_Q6: Tensor, *, iou_weight: float = 1.0) -> Tensor:
    """L1 distance of edges plus one minus the generalized IoU, mean over boxes.

    Args:
        found_Q6: x0, y0, z0, x1, y1, z1, ordered, 0 to 1.
        wanted_Q6: The same; NaN in z0 and z1 of a box in a picture.
        iou_weight: Of the second term.
    """
    flat_Q1 = wanted_Q6[:, 2:3].isnan()
    edges_Q6 = torch.where(wanted_Q6.isnan(), found_Q6, wanted_Q6)
    count_Q = torch.where(flat_Q1[:, 0], 4.0, 6.0)
    distance_Q = (found_Q6 - edges_Q6).abs().sum(-1) / count_Q
    return (distance_Q * 4 + iou_weight * (1 - generalized_iou(found_Q6, wanted_Q6))).mean()


def generalized_iou(found_Q6: Tensor, wanted_Q6: Tensor) -> Tensor:
    """Generalized IoU of boxes in 2D or 3D, (Q,), -1 to 1 (arXiv 1902.09630, algorithm 1).

    Args:
        found_Q6: x0, y0, z0, x1, y1, z1. wanted_Q6: The same; NaN in z for boxes in a picture.
    """
    both, union, hull = _sizes(found_Q6, wanted_Q6)
    tiny = torch.finfo(torch.float32).eps
    return both / (union + tiny) - (hull - union) / (hull + tiny)


def _sizes(found_Q6: Tensor, wanted_Q6: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas or volumes that two boxes share, cover together, and of the box around both."""
    flat_Q1 = wanted_Q6[:, 2:3].isnan()

    def sizes(low_Q3: Tensor, high_Q3: Tensor) -> Tensor:
        size_Q3 = (high_Q3 - low_Q3).clamp(min=0)
        return torch.cat((size_Q3[:, :2], torch.where(flat_Q1, 1.0, size_Q3[:, 2:])), dim=-1).prod(-1)

    wanted_Q6 = torch.where(wanted_Q6.isnan(), found_Q6, wanted_Q6)
    (a, b), (c, d) = found_Q6.split(3, -1), wanted_Q6.split(3, -1)
    both = sizes(torch.maximum(a, c), torch.minimum(b, d))
    union = sizes(a, b) + sizes(c, d) - both
    return both, union, sizes(torch.minimum(a, c), torch.maximum(b, d))


def box_overlap(found_Q6: Tensor, wanted_Q6: Tensor) -> Tensor:
    """IoU of boxes in 2D or 3D, (Q,), 0 to 1; see `generalized_iou`."""
    both, union, _ = _sizes(found_Q6, wanted_Q6)
    return both / (union + torch.finfo(torch.float32).eps)


def presence_loss(logits_Q: Tensor, *, there_Q: Tensor) -> Tensor:
    """Binary cross-entropy of whether a label is there."""
    return F.binary_cross_entropy_with_logits(logits_Q, there_Q.float())


def findings_loss(logits_BF: Tensor, *, wanted_BF: Tensor) -> Tensor:
    """Binary cross-entropy over the findings that are known; zero where none is.

    Args:
        logits_BF: One a finding.
        wanted_BF: 0, 1 or between, NaN where nobody labeled it.
    """
    known = ~wanted_BF.isnan()
    if not bool(known.any()):
        return logits_BF.sum() * 0
    return F.binary_cross_entropy_with_logits(logits_BF[known], wanted_BF[known])


def progression_loss(scores_BFC: Tensor, *, wanted_BF: Tensor, class_weights_C: Tensor | None = None) -> Tensor:
    """Cross-entropy over findings whose change is known; zero where none is.

    Args:
        scores_BFC: Of `osler.model.heads.CHANGES`.
        wanted_BF: Number of the change, `UNKNOWN` where nobody labeled it.
        class_weights_C: So that stable findings do not drown changes.
    """
    known = wanted_BF != UNKNOWN
    if not bool(known.any()):
        return scores_BFC.sum() * 0
    return F.cross_entropy(scores_BFC[known], wanted_BF[known], weight=class_weights_C)
