"""How the next token is taken from the logits.

Legend: B rows of the batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from osler.engine.options import Sampling
from osler.errors import ModelError

_FIRST_CANDIDATES = 256


class Sampler:
    """Draws one token a row; each row has its own generator with the same seed.

    So a row of a batch draws what it would have drawn alone.

    Args:
        forbidden: Ids that are never drawn.
        rows: Rows of the batch.
    """

    def __init__(self, sampling: Sampling, *, forbidden: Sequence[int] = (), rows: int = 1) -> None:
        self._sampling = sampling
        self._forbidden = torch.tensor(sorted(set(forbidden)), dtype=torch.long)
        self._generators = [_generator(sampling.seed) for _ in range(rows)] if sampling.temperature > 0 else []

    @torch.inference_mode()
    def pick(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Draws the next ids, shape (B,), on the CPU; overwrites forbidden logits in place.

        Raises:
            ModelError: If logits are not finite.
        """
        if self._forbidden.numel():
            logits_BV.index_fill_(-1, self._forbidden.to(logits_BV.device), float("-inf"))
        if self._sampling.temperature == 0:
            return greedy(logits_BV)
        rows = [
            self._draw(row_V.float().cpu(), generator=generator)
            for row_V, generator in zip(logits_BV, self._generators, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.long)

    def _draw(self, logits_V: torch.Tensor, *, generator: torch.Generator) -> int:
        _require_finite(logits_V.amax())
        ids, probs = candidates(logits_V, sampling=self._sampling)
        choice = int(torch.multinomial(probs, 1, generator=generator))
        return int(ids[choice]) if ids is not None else choice


def greedy(logits_BV: torch.Tensor) -> torch.Tensor:
    """Takes the likeliest id of each row, the lowest of equals; shape (B,), on the CPU.

    Works in two levels: PyTorch's argmax over one long bfloat16 row runs on
    one thread.

    Raises:
        ModelError: If logits are not finite.
    """
    rows, vocab = logits_BV.shape
    width = next(width for width in (512, 256, 128, 64, 32, 16, 8, 4, 2, 1) if vocab % width == 0)
    blocks = logits_BV.view(rows, vocab // width, width)
    block_best = blocks.amax(-1)
    block_B = block_best.argmax(-1)
    _require_finite(block_best.amax())
    inside_B = blocks[torch.arange(rows, device=blocks.device), block_B].argmax(-1)
    return (block_B * width + inside_B).cpu()


def candidates(logits_V: torch.Tensor, *, sampling: Sampling) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Filters one row and returns the ids that are left and their probabilities.

    Args:
        logits_V: float32, on the CPU.

    Returns:
        Ids, likeliest first (``None`` when every id is left, in order), and
        probabilities that sum to 1.
    """
    scaled_V = logits_V / sampling.temperature
    if sampling.top_k is None and sampling.top_p == 1.0 and sampling.min_p == 0.0:
        return None, torch.softmax(scaled_V, -1)
    if sampling.top_k is not None:
        best, ids = scaled_V.topk(min(sampling.top_k, scaled_V.numel()))
        probs = torch.softmax(best, -1)
    else:
        ids, probs = _enough_of(torch.softmax(scaled_V, -1), sampling=sampling)
    keep = torch.cumsum(probs, -1) - probs < sampling.top_p
    keep &= probs >= sampling.min_p * probs[0]
    keep[0] = True
    ids, probs = ids[keep], probs[keep]
    return ids, probs / probs.sum()


def _enough_of(probs_V: torch.Tensor, *, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest ids, as many as the filters can need: sorting all 262,144 would cost more than the rest."""
    count = min(_FIRST_CANDIDATES, probs_V.numel())
    while True:
        probs, ids = probs_V.topk(count)
        covers_p = sampling.top_p < 1.0 and float(probs.sum()) > sampling.top_p
        covers_min = sampling.min_p > 0.0 and float(probs[-1]) < sampling.min_p * float(probs[0])
        if covers_p or covers_min or count == probs_V.numel():
            return ids, probs
        count = min(count * 8, probs_V.numel())


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _require_finite(best: torch.Tensor) -> None:
    if not bool(torch.isfinite(best)):
        raise ModelError(
            f"The network gave a logit of {float(best)}.",
            allowed="Logits must be finite.",
            next_step="The weights may be damaged: run `osler doctor`, or load them in float32.",
        )
