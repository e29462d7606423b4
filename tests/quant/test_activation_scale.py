from __future__ import annotations

import torch

from osler.quant.activation_scale import search_factors
from osler.quant.formats import parse_format
from osler.quant.gptq import output_error
from osler.quant.packed import dequantize, quantize

FORM = parse_format("int4-g32-asym")


def inputs(columns: int, *, large: tuple[int, ...]) -> torch.Tensor:
    """Second moment of inputs of which a few are large."""
    x = torch.randn(512, columns, generator=torch.Generator().manual_seed(0))
    x[:, list(large)] *= 20
    return x.T @ x / len(x)


def weight(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)) * 0.05


def test_large_inputs_get_larger_weights_and_outputs_differ_less() -> None:
    w, moment = weight(32, 96), inputs(96, large=(5, 40))
    factor = search_factors(w, moment_KK=moment, form=FORM)
    assert set(factor.topk(2).indices.tolist()) == {5, 40}
    error = dequantize(quantize(w * factor, form=FORM)) / factor - w
    plain = dequantize(quantize(w, form=FORM)) - w
    assert output_error(error, moment_KK=moment) < 0.7 * output_error(plain, moment_KK=moment)


def test_no_power_leaves_everything_as_it_is() -> None:
    factor = search_factors(weight(8, 64), moment_KK=inputs(64, large=(3,)), form=FORM, powers=(0.0,))
    assert torch.equal(factor, torch.ones(64))


def test_query_heads_of_one_value_head_share_factors() -> None:
    # Two value heads of 8 channels, two query heads of each.
    factor = search_factors(weight(16, 32), moment_KK=inputs(32, large=(2, 20)), form=FORM, heads=(2, 2))
    per_head = factor.view(2, 2, 8)
    assert torch.equal(per_head[:, 0], per_head[:, 1])
    assert not torch.equal(per_head[0, 0], per_head[1, 0])
