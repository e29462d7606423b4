"""Products of several rows that give each row what it gets alone, to the bit.

Products of weights of 4 and 8 bits do so by themselves (`osler.quant.kernels`),
those of PyTorch on some processors and for some shapes. Which ones is tried, once
for each shape; the others, as most in float32, multiply row by row. So an answer
that is checked several tokens at a time is the one that would be written token by
token.

Legend: L rows, K inputs, N outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import torch

from osler.model.decoder import Decoder
from osler.model.pack import PackedLinear
from osler.quant.linear import QuantLinear
from osler.quant.packed import FEW_ROWS

Product = Callable[[torch.Tensor], torch.Tensor]

_SIZES = (4, 9, FEW_ROWS)
"""Numbers of rows that are multiplied together, filled up: those that are tried."""

_TRIED = 2**17
"""Outputs that a trial compares for each of them: they may differ in one of 10,000."""


class Trial:
    """Whether products of one shape repeat those of single rows.

    Args:
        product: One of them, (L, K) to (L, N).
        inputs: K. outputs: N. dtype: Of the rows.
    """

    def __init__(self, product: Product, *, inputs: int, outputs: int, dtype: torch.dtype) -> None:
        self._product = product
        self._inputs = inputs
        self._outputs = outputs
        self._dtype = dtype

    @cached_property
    @torch.inference_mode()
    def repeats(self) -> bool:
        """What the trial finds; random rows, the same each time."""
        count = max(3, _TRIED // self._outputs)
        rows_RK = torch.randn(count, self._inputs, generator=torch.Generator().manual_seed(0)).to(self._dtype)
        alone_RN = torch.cat([self._product(row_1K) for row_1K in rows_RK.split(1)])
        for size in _SIZES:
            for start in range(0, count, size):
                places = torch.arange(start, start + size) % count
                if not torch.equal(self._product(rows_RK[places]), alone_RN[places]):
                    return False
        return True

    def multiply(self, product: Product, rows_LK: torch.Tensor) -> torch.Tensor:
        """Returns what each row gets alone from a product of this shape, (L, N); of at most `FEW_ROWS`."""
        count = len(rows_LK)
        if count == 1:
            return product(rows_LK)
        if not self.repeats:
            return torch.cat([product(row_1K) for row_1K in rows_LK.split(1)])
        size = next(size for size in _SIZES if size >= count)
        return product(torch.cat([rows_LK, rows_LK[:1].expand(size - count, -1)]))[:count]


def each_alone(product: torch.nn.Module, *, trials: dict[torch.Size, Trial]) -> Product:
    """Returns a product that gives each row what it gets alone.

    Args:
        product: Of a packed decoder: its rows may depend on others only if it is a `PackedLinear`.
        trials: By the shape of the weight, for all products of one decoder; missing ones are added.
    """
    if not isinstance(product, PackedLinear):
        return product.forward
    weight = product.weight
    if weight.shape not in trials:
        outputs, inputs = weight.shape
        trials[weight.shape] = Trial(product.forward, inputs=inputs, outputs=outputs, dtype=weight.dtype)
    return partial(trials[weight.shape].multiply, product.forward)


def scores_alone(decoder: Decoder) -> Product:
    """Returns `Decoder.logits` of rows, (L, D) to (L, V), each as it is alone."""
    if isinstance(decoder.head, QuantLinear):
        return decoder.logits
    config = decoder.config
    trial = Trial(decoder.logits, inputs=config.width, outputs=config.vocab, dtype=decoder.dtype)
    return partial(trial.multiply, decoder.logits)
