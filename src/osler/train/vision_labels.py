"""Labels as the image tower's targets, the heads that predict them, and their losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.train.pictures import MODALITIES, PLANES, REGIONS, SEQUENCES, VIEWS, Labels
from osler.train.recipe import VisionLosses

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
CHOICES = {"modality": MODALITIES, "region": REGIONS, "plane": PLANES, "view": VIEWS[:2], "sequence": SEQUENCES[:6]}
UNKNOWN = -100


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Integer targets of a batch, ``UNKNOWN`` where there is nothing to learn.

    Args:
        choices: Name to (B,). findings: (B, 14), -1 unknown. detail: (B,) 0 or 1.
    """

    choices: dict[str, Tensor]
    findings: Tensor
    detail: Tensor

    def pick(self, rows: Tensor) -> Targets:
        """The targets of some rows."""
        return Targets({k: v[rows] for k, v in self.choices.items()}, self.findings[rows], self.detail[rows])


def targets_of(labels: Sequence[Labels]) -> Targets:
    """Turns labels into targets."""
    choices = {
        name: torch.tensor([_index(getattr(label, name), values) for label in labels])
        for name, values in CHOICES.items()
    }
    findings = torch.tensor(
        [[-1.0] * 14 if x.findings is None else [float(name in x.findings) for name in FINDINGS] for x in labels]
    )
    detail = torch.tensor([float(label.detail == "hippocampus") for label in labels])
    return Targets(choices, findings, detail)


def _index(value: str, values: Sequence[str]) -> int:
    return values.index(value) if value in values else UNKNOWN


class VisionHeads(nn.Module):
    """Linear heads on the mean of the patch features, used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.choices = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in CHOICES.items()})
        self.findings = nn.Linear(width, len(FINDINGS))
        self.detail = nn.Linear(width, 1)

    def forward(self, features_BPD: Tensor) -> dict[str, Tensor]:
        """Scores every label from patch features."""
        mean_BD = features_BPD.float().mean(dim=1)
        scores = {name: head(mean_BD) for name, head in self.choices.items()}
        return {**scores, "findings": self.findings(mean_BD), "detail": self.detail(mean_BD)[:, 0]}


def vision_loss(
    scores: dict[str, Tensor], targets: Targets, *, weights: VisionLosses
) -> tuple[Tensor, dict[str, float]]:
    """Adds up the weighted losses; returns the sum and each part."""
    parts: dict[str, Tensor] = {}
    for name, target in targets.choices.items():
        if bool((target != UNKNOWN).any()):
            parts[name] = F.cross_entropy(scores[name], target, ignore_index=UNKNOWN, label_smoothing=0.05)
    known = targets.findings >= 0
    if bool(known.any()):
        parts["findings"] = F.binary_cross_entropy_with_logits(scores["findings"][known], targets.findings[known])
    parts["detail"] = F.binary_cross_entropy_with_logits(scores["detail"], targets.detail)
    share = asdict(weights)
    total = torch.stack([share[name] * value for name, value in parts.items()]).sum()
    return total, {name: float(value.detach()) for name, value in parts.items()}


def accuracies(scores: dict[str, Tensor], targets: Targets) -> dict[str, tuple[int, int]]:
    """Counts (right, known) for each choice."""
    out = {}
    for name, target in targets.choices.items():
        known = target != UNKNOWN
        out[name] = (int((scores[name].argmax(-1) == target)[known].sum()), int(known.sum()))
    return out
