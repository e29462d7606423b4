from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from osler.engine.row_products import Trial, each_alone
from osler.model.pack import PackedLinear
from osler.quant.formats import parse_format
from osler.quant.kernels import TorchKernels
from osler.quant.linear import JoinedLinear, QuantLinear
from osler.quant.packed import quantize

Rounding = Callable[[torch.Tensor], torch.Tensor]


def _always(found: torch.Tensor) -> torch.Tensor:
    return found * (1.0 + 2.0**-6 * (len(found) > 4))


def _seldom(found: torch.Tensor) -> torch.Tensor:
    """Of normal numbers one in 6,000 is so large."""
    return torch.where(found > 3.6, _always(found), found)


@pytest.mark.parametrize("rounding", [_always, _seldom])
def test_rows_that_would_be_rounded_otherwise_are_multiplied_alone(rounding: Rounding) -> None:
    linear = torch.nn.Linear(64, 48, bias=False)
    torch.nn.init.normal_(linear.weight, std=1 / 8, generator=torch.Generator().manual_seed(0))

    def unsteady(rows_LK: torch.Tensor) -> torch.Tensor:
        return rounding(linear(rows_LK))

    trial = Trial(unsteady, inputs=64, outputs=48, dtype=torch.float32)
    assert not trial.repeats
    rows_LK = torch.randn(16, 64, generator=torch.Generator().manual_seed(1)) * 3
    found_LN = trial.multiply(unsteady, rows_LK)
    assert torch.equal(found_LN, torch.cat([unsteady(row_1K) for row_1K in rows_LK.split(1)]))
    assert not torch.equal(trial.multiply(unsteady, rows_LK[:5]), unsteady(rows_LK[:5]))


def test_rows_that_are_rounded_alike_are_multiplied_together_in_numbers_that_were_tried() -> None:
    calls = []

    def steady(rows_LK: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows_LK))
        return rows_LK[:, :48] * 2

    trial = Trial(steady, inputs=64, outputs=48, dtype=torch.float32)
    assert trial.repeats
    calls.clear()
    for count in (1, 3, 9, 16):
        assert torch.equal(trial.multiply(steady, torch.ones(count, 64)), torch.full((count, 48), 2.0))
    assert calls == [1, 4, 9, 16]


def test_products_of_one_shape_share_a_trial() -> None:
    generator, trials = torch.Generator().manual_seed(0), dict[torch.Size, Trial]()
    weights = [torch.randn(16, inputs, generator=generator).bfloat16() for inputs in (32, 32, 64)]
    products = [PackedLinear(weight, layout="plain") for weight in weights]
    alone = [each_alone(product, trials=trials) for product in products]
    assert trials.keys() == {(16, 32), (16, 64)}
    for linear, product, weight in zip(products, alone, weights, strict=True):
        rows_LK = torch.randn(5, weight.shape[1], generator=generator).bfloat16()
        with torch.inference_mode():
            assert torch.equal(product(rows_LK), torch.cat([linear(row_1K) for row_1K in rows_LK.split(1)]))


def test_packed_weights_of_several_formats_need_no_trial() -> None:
    generator, trials = torch.Generator().manual_seed(0), dict[torch.Size, Trial]()
    parts = [
        QuantLinear(quantize(torch.randn(16, 64, generator=generator), form=parse_format(name)), kernels=TorchKernels())
        for name in ("int4-g32-asym", "int8-g32")
    ]
    rows_LK = torch.randn(9, 64, generator=generator)
    for linear in (parts[0], JoinedLinear(parts)):
        product = each_alone(linear, trials=trials)
        assert torch.equal(product(rows_LK), torch.cat([linear(row_1K) for row_1K in rows_LK.split(1)]))
    assert not trials
