"""Rotary positions: what is invariant, and where they are computed."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.model.rope import rotary_table, rotate


def _rotated(x_BNLH: torch.Tensor, *, start: int, theta: float = 10_000.0, scale: float = 1.0) -> torch.Tensor:
    positions = torch.arange(start, start + x_BNLH.shape[2])[None]
    cos, sin = rotary_table(positions, head_dim=x_BNLH.shape[-1], theta=theta, scale=scale, dtype=x_BNLH.dtype)
    return rotate(x_BNLH, rotation=(cos, sin))


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 2000), seed=st.integers(0, 100))
def test_scores_depend_on_distance_alone(start: int, seed: int) -> None:
    q, k = torch.randn(2, 1, 1, 6, 32, generator=torch.Generator().manual_seed(seed))
    here = _rotated(q, start=0) @ _rotated(k, start=0).transpose(-1, -2)
    there = _rotated(q, start=start) @ _rotated(k, start=start).transpose(-1, -2)
    torch.testing.assert_close(here, there, atol=2e-3, rtol=1e-3)


def test_position_zero_changes_nothing() -> None:
    x = torch.randn(1, 2, 1, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(_rotated(x, start=0), x)


def test_scaling_divides_positions() -> None:
    x = torch.randn(1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_rotated(x, start=80, scale=8.0), _rotated(x, start=10))


def test_far_positions_keep_float32_angles() -> None:
    positions = torch.tensor([[131_071]])
    cos, _ = rotary_table(positions, head_dim=256, theta=1e6, scale=8.0, dtype=torch.bfloat16)
    exact = torch.cos(131_071 / 8 * 1e6 ** -(torch.arange(0, 256, 2, dtype=torch.float64) / 256))
    # The positions themselves would be off by hundreds in bfloat16.
    assert (cos[0, 0, 0, :128].double() - exact).abs().max() < 2**-8
