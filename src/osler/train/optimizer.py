"""The optimizer of all stages: AdamW, a warm cosine, a running mean of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
from torch import nn

from osler.train.optimizer_config import OptimizerConfig


def make_optimizer(
    groups: Iterable[tuple[Iterable[nn.Parameter], float]], *, config: OptimizerConfig
) -> torch.optim.AdamW:
    """Builds AdamW; each group has its share of the learning rate; vectors are not decayed."""
    parameter_groups: list[dict[str, object]] = []
    for parameters, share in groups:
        chosen = [p for p in parameters if p.requires_grad]
        for decay, members in (
            (config.weight_decay, [p for p in chosen if p.ndim > 1]),
            (0.0, [p for p in chosen if p.ndim <= 1]),
        ):
            if members:
                parameter_groups.append({"params": members, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(parameter_groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, *, step: int, config: OptimizerConfig) -> float:
    """Sets the learning rate of update ``step`` (from 0) and returns it."""
    if step < config.warmup:
        factor = (step + 1) / config.warmup
    else:
        done = (step - config.warmup) / max(1, config.steps - config.warmup)
        factor = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor * group["share"]
    return config.learning_rate * factor


class RunningMean:
    """Keeps an exponential mean of a module's trainable parameters.

    Args:
        module: Whose parameters.
        decay: Near one; early steps use less, so that the start is forgotten.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.mean = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the mean toward the parameters."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in module.named_parameters():
            if name in self.mean:
                self.mean[name].lerp_(parameter.detach(), weight)

    def copy_to(self, module: nn.Module) -> nn.Module:
        """Returns a copy of the module with the mean in it."""
        twin = copy.deepcopy(module)
        twin.load_state_dict(self.mean, strict=False)
        return twin
