"""Attention over time and record: parity, causality, and what must not matter: dates as such, order within a day."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from osler.errors import RequestError
from osler.model.config import TemporalConfig
from osler.model.temporal import ClinicalTemporalAttention, Events, GapAttention, gap_features

WIDTH, TEXT = 32, 24


@pytest.fixture(scope="module")
def attention() -> ClinicalTemporalAttention:
    """Random weights with an open gate."""
    torch.manual_seed(3)
    part = ClinicalTemporalAttention(TemporalConfig(layers=2, heads=4), width=WIDTH, text_width=TEXT)
    part = part.eval().requires_grad_(False)
    for parameter in part.parameters():
        parameter.normal_(std=0.2)
    return part


def table(count: int, *, days: list[float], seed: int = 0) -> Events:
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(1, count, generator=generator) * 2
    value[:, ::3] = torch.nan
    return Events(
        text_BEC=torch.randn(1, count, TEXT, generator=generator),
        value_BE=value,
        day_BE=torch.tensor([days]),
        padding_BE=torch.zeros(1, count, dtype=torch.bool),
    )


def reordered(events: Events, order: list[int]) -> Events:
    return Events(**{f.name: getattr(events, f.name)[:, order] for f in dataclasses.fields(events)})


def tokens(times: int, *, seed: int = 1) -> Tensor:
    return torch.randn(1, times, 5, WIDTH, generator=torch.Generator().manual_seed(seed))


DAYS = torch.tensor([[10.0, 11.0, 400.5]])
EVENT_DAYS = [3.0, 10.0, 10.0, 10.0, 380.0, 500.0]


def test_without_gaps_it_is_scaled_dot_product_attention() -> None:
    torch.manual_seed(0)
    layer = GapAttention(WIDTH, heads=4)
    for parameter in (layer.gap_bias.weight, layer.gap_bias.bias, layer.gap_value.weight):
        torch.nn.init.zeros_(parameter)
    x, keys = torch.randn(2, 3, 5, WIDTH), torch.randn(2, 4, 5, WIDTH)
    seen = torch.rand(2, 3, 4) > 0.3
    seen[..., 0] = True
    found = layer(x, keys=keys, seen=seen, gaps=gap_features(torch.rand(2, 3, 4) * 90))

    def split(y: Tensor) -> Tensor:
        return y.unflatten(-1, (4, -1)).permute(0, 2, 3, 1, 4)

    q = split(layer.q_proj(F.layer_norm(x, (WIDTH,))))
    out = F.scaled_dot_product_attention(
        q, split(layer.k_proj(keys)), split(layer.v_proj(keys)), attn_mask=seen[:, None, None]
    )
    expected = layer.out_proj(out.permute(0, 3, 1, 2, 4).flatten(-2))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_events_of_one_day_may_stand_in_any_order(attention: ClinicalTemporalAttention) -> None:
    events = table(6, days=EVENT_DAYS)
    expected = attention(tokens(3), days_BT=DAYS, events=events)
    found = attention(tokens(3), days_BT=DAYS, events=reordered(events, [0, 3, 1, 2, 4, 5]))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    other_day = dataclasses.replace(events, day_BE=events.day_BE + torch.tensor([[0.0, -6, 0, 0, 0, 0]]))
    assert (attention(tokens(3), days_BT=DAYS, events=other_day)[1] - expected[1]).abs().max() > 1e-4


@pytest.mark.parametrize("shift", [-4096.0, 1.0, 20_000.0])
def test_shifting_all_dates_changes_nothing(attention: ClinicalTemporalAttention, shift: float) -> None:
    events = table(6, days=EVENT_DAYS)
    expected = attention(tokens(3), days_BT=DAYS, events=events)
    moved = dataclasses.replace(events, day_BE=events.day_BE + shift)
    found = attention(tokens(3), days_BT=DAYS + shift, events=moved)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_stretching_the_gaps_changes_something(attention: ClinicalTemporalAttention) -> None:
    expected = attention(tokens(3), days_BT=DAYS)[1]
    assert (attention(tokens(3), days_BT=DAYS * 2)[1][:, 1:] - expected[:, 1:]).abs().max() > 1e-4


def test_later_dates_and_later_events_are_not_seen(attention: ClinicalTemporalAttention) -> None:
    """Nor does anything read across: what happens at a date depends on it and the past alone."""
    events = table(6, days=EVENT_DAYS)
    expected, states = attention(tokens(3), days_BT=DAYS, events=events)
    changed = tokens(3)
    changed[:, 2] = tokens(1, seed=8)[:, 0]
    late = dataclasses.replace(events, value_BE=events.value_BE + torch.tensor([[0, 0, 0, 0, 9.0, 9.0]]))
    found, others = attention(changed, days_BT=DAYS, events=late)
    torch.testing.assert_close(found[:, :2], expected[:, :2], rtol=0, atol=1e-6)
    torch.testing.assert_close(others[:, :2], states[:, :2], rtol=0, atol=1e-6)
    assert (others[:, 2] - states[:, 2]).abs().max() > 0.01
    only_first = attention(tokens(3)[:, :1], days_BT=DAYS[:, :1], events=events)[1]
    torch.testing.assert_close(only_first, states[:, :1], rtol=0, atol=1e-6)


def test_padding_changes_nothing(attention: ClinicalTemporalAttention) -> None:
    events = table(6, days=EVENT_DAYS)
    expected = attention(tokens(3), days_BT=DAYS, events=events)[1]
    padded = Events(
        text_BEC=torch.cat((events.text_BEC, torch.full((1, 2, TEXT), 9.0)), dim=1),
        value_BE=torch.cat((events.value_BE, torch.full((1, 2), 9.0)), dim=1),
        day_BE=torch.cat((events.day_BE, torch.zeros(1, 2)), dim=1),
        padding_BE=torch.cat((events.padding_BE, torch.ones(1, 2, dtype=torch.bool)), dim=1),
    )
    more = torch.cat((tokens(3), torch.full((1, 2, 5, WIDTH), 9.0)), dim=1)
    days = torch.cat((DAYS, torch.tensor([[12.0, torch.nan]])), dim=1)
    found = attention(more, days_BT=days, padding_BT=torch.tensor([[False] * 3 + [True] * 2]), events=padded)[1]
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, :3], expected, rtol=0, atol=1e-6)


def test_missing_dates_are_marked_and_finite(attention: ClinicalTemporalAttention) -> None:
    unknown = torch.full((1, 3), torch.nan)
    events = table(6, days=EVENT_DAYS)
    found = attention(tokens(3), days_BT=unknown, events=events)[1]
    assert torch.isfinite(found).all()
    # Events whose gap nobody knows are left out; the order of the dates still counts.
    torch.testing.assert_close(found, attention(tokens(3), days_BT=unknown)[1], rtol=0, atol=0)
    same_day = attention(tokens(3), days_BT=torch.zeros(1, 3))[1]
    assert (found[:, 1:] - same_day[:, 1:]).abs().max() > 1e-4
    one_missing = dataclasses.replace(events, day_BE=torch.tensor([[3.0, torch.nan, 10, 10, 380, 500]]))
    dropped = reordered(events, [0, 2, 3, 4, 5])
    torch.testing.assert_close(
        attention(tokens(3), days_BT=DAYS, events=one_missing)[1],
        attention(tokens(3), days_BT=DAYS, events=dropped)[1],
        rtol=0,
        atol=1e-6,
    )


def test_an_event_without_a_value_differs_from_one_in_the_middle_of_its_range(
    attention: ClinicalTemporalAttention,
) -> None:
    events = table(1, days=[1.0])
    middle = dataclasses.replace(events, value_BE=torch.zeros(1, 1))
    none = dataclasses.replace(events, value_BE=torch.full((1, 1), torch.nan))
    found = [attention(tokens(1), days_BT=DAYS[:, :1], events=e)[1] for e in (middle, none)]
    assert (found[0] - found[1]).abs().max() > 1e-4


def test_the_gate_starts_closed_and_both_results_train() -> None:
    torch.manual_seed(0)
    part = ClinicalTemporalAttention(TemporalConfig(), width=WIDTH, text_width=TEXT)
    events = table(6, days=EVENT_DAYS)
    out, states = part(tokens(3), days_BT=DAYS, events=events)
    assert torch.equal(out, tokens(3))
    (states * torch.randn_like(states)).sum().backward()
    silent = {name for name, p in part.named_parameters() if p.grad is None or not p.grad.any()}
    # Biases of keys move every score of a softmax alike; the gate is on the way to the decoder alone.
    assert all(name == "gate" or name.endswith(("k_proj.bias", "gap_bias.bias")) for name in silent)
    part.zero_grad(set_to_none=True)
    (part(tokens(3), days_BT=DAYS, events=events)[0] * torch.randn(1, 3, 5, WIDTH)).sum().backward()
    assert part.gate.grad is not None
    assert part.gate.grad != 0


@pytest.mark.parametrize("change", [{"layers": 0}, {"heads": 0}])
def test_a_configuration_without_sense_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="At least 1 each"):
        TemporalConfig(**change)
