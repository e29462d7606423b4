from __future__ import annotations

import torch

from osler.quant.input_moment import InputMoment, bfloat16_products


def test_the_mean_over_all_tokens_is_that_of_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(1, length, 24, generator=generator) for length in (3, 2100, 1, 700)]
    moment = InputMoment(24)
    for part in parts:
        moment.add(part)
    x = torch.cat([part[0] for part in parts]).double()
    torch.testing.assert_close(moment.mean().double(), x.T @ x / len(x), rtol=1e-5, atol=1e-6)


def test_no_tokens_are_no_moment() -> None:
    assert torch.equal(InputMoment(3).mean(), torch.zeros(3, 3))


def test_products_are_exact_again_afterwards() -> None:
    x = torch.randn(64, 512, generator=torch.Generator().manual_seed(1))
    exact = x @ x.T
    with bfloat16_products():
        rough = x @ x.T
    assert float((rough - exact).norm() / exact.norm()) < 0.02
    assert torch.equal(x @ x.T, exact)
