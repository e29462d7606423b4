"""How the weights move, in every recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW with a linear rise and a cosine fall.

    Args:
        steps: Updates in all. batch: Samples an update.
        learning_rate: At the peak. warmup: Updates of the rise.
        weight_decay: On matrices only.
        clip: Greatest norm of the gradient.
        average: Decay of the running mean of the weights, which is what is saved; 0 switches it off.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 50
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.0
