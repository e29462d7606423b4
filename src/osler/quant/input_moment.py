"""The second moment of a layer's inputs, ``H = X^T X / tokens``: what errors of its weights cost.

Legend: L tokens, K inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_BATCH_TOKENS = 2048


class InputMoment:
    """Adds up outer products of inputs, many tokens at a time: the sum is as large as a weight.

    Args:
        inputs: K.
    """

    def __init__(self, inputs: int) -> None:
        self._sum_KK = torch.zeros(inputs, inputs)
        self._waiting: list[Tensor] = []
        self._tokens = 0

    def add(self, x_LK: Tensor) -> None:
        """Adds the inputs of some tokens, (..., K)."""
        rows_LK = x_LK.flatten(0, -2).float()
        self._waiting.append(rows_LK)
        self._tokens += len(rows_LK)
        if sum(len(rows) for rows in self._waiting) >= _BATCH_TOKENS:
            self._flush()

    def mean(self) -> Tensor:
        """Returns the mean over all tokens, (K, K) float32, in place of the sum: nothing can be added afterwards."""
        self._flush()
        return self._sum_KK.div_(max(self._tokens, 1))

    def _flush(self) -> None:
        if self._waiting:
            x_LK = torch.cat(self._waiting)
            self._sum_KK.addmm_(x_LK.T, x_LK)
            self._waiting.clear()


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Has PyTorch multiply float32 matrices on a CPU with factors rounded to bfloat16, sums in float32.

    Networks run in bfloat16, so a calibration needs no more; a CPU with bfloat16 tiles is several times as fast.
    """
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before
