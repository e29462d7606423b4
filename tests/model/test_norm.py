"""RMSNorm: the formula, and where it rounds."""

from __future__ import annotations

import torch

from osler.model.norm import RMSNorm


def test_formula() -> None:
    norm = RMSNorm(8, eps=0.5)
    norm.weight.data = torch.linspace(-0.5, 1.0, 8)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = x / (x.square().mean(-1, keepdim=True) + 0.5).sqrt() * (1 + norm.weight.double())
    torch.testing.assert_close(norm(x.float()), wanted.float())


def test_rounds_once_in_bfloat16() -> None:
    norm = RMSNorm(64, eps=1e-6).bfloat16()
    norm.weight.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = torch.nn.functional.rms_norm(x.double(), (64,), 1 + norm.weight.double(), 1e-6)
    assert norm(x).dtype == torch.bfloat16
    # A second rounding, of 1 + weight say, would cost up to two units in the last place.
    assert ((norm(x).double() - exact).abs() <= exact.abs() * 2**-8).all()


def test_survives_large_activations() -> None:
    x = torch.full((1, 16), 1e5, dtype=torch.bfloat16)
    torch.testing.assert_close(RMSNorm(16, eps=1e-6).bfloat16()(x), torch.ones(1, 16, dtype=torch.bfloat16))
