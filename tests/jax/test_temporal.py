"""Clinical-temporal attention against its PyTorch twin, in float32: missing dates, padded rows, records of any size."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")


import jax

from osler.jax import temporal
from osler.jax.arrays import to_jax, to_torch
from osler.jax.module import JaxTemporal
from osler.model.config import TemporalConfig
from osler.model.temporal import ClinicalTemporalAttention, Events, gap_features
from tests.jax.parts import random_part, require_near, tree_of

WIDTH, TEXT = 36, 20


@pytest.fixture(scope="module")
def twins() -> tuple[ClinicalTemporalAttention, dict, TemporalConfig]:
    config = TemporalConfig(layers=2, heads=3)
    part = random_part(ClinicalTemporalAttention(config, width=WIDTH, text_width=TEXT), seed=4)
    return part, tree_of(part), config


def events_of(rows: int, count: int, *, generator: torch.Generator) -> Events:
    value = torch.randn(rows, count, generator=generator) * 3
    value[torch.rand(rows, count, generator=generator) < 0.3] = torch.nan
    day = (torch.rand(rows, count, generator=generator) * 900).round()
    day[torch.rand(rows, count, generator=generator) < 0.1] = torch.nan
    return Events(
        text_BEC=torch.randn(rows, count, TEXT, generator=generator),
        value_BE=value,
        day_BE=day,
        padding_BE=torch.rand(rows, count, generator=generator) < 0.2,
    )


def as_jax(events: Events | None) -> temporal.Events | None:
    if events is None:
        return None
    return temporal.Events(*(to_jax(getattr(events, name)) for name in temporal.Events._fields))


@pytest.mark.parametrize(
    ("rows", "times", "tokens", "count", "seed"), [(1, 1, 1, 0, 0), (2, 3, 4, 7, 1), (3, 5, 1, 2, 2), (1, 4, 2, 45, 3)]
)
def test_any_dates_and_any_record(twins, rows: int, times: int, tokens: int, count: int, seed: int) -> None:
    part, tree, config = twins
    generator = torch.Generator().manual_seed(seed)
    tokens_BTnV = torch.randn(rows, times, tokens, WIDTH, generator=generator)
    days = (torch.rand(rows, times, generator=generator) * 900).sort(1).values
    days[torch.rand(rows, times, generator=generator) < 0.25] = torch.nan
    padding = torch.rand(rows, times, generator=generator) < 0.25
    events = events_of(rows, count, generator=generator) if count else None
    wanted = part(tokens_BTnV, days_BT=days, padding_BT=padding, events=events)
    found = jax.jit(temporal.forward, static_argnames="config")(
        tree,
        to_jax(tokens_BTnV),
        days_BT=to_jax(days),
        padding_BT=to_jax(padding),
        events=as_jax(events),
        config=config,
    )
    padded = JaxTemporal(tree, config=config)(tokens_BTnV, days_BT=days, padding_BT=padding, events=events)
    for ours, ours_padded, theirs in zip(found, padded, wanted, strict=True):
        require_near(ours, theirs)
        require_near(ours_padded, theirs)


def test_gaps_known_and_unknown() -> None:
    gaps = torch.tensor([0.0, 1.0, -1.0, 6.5, 400.0, 40_000.0, torch.nan])
    require_near(temporal.gap_features(to_jax(gaps)), gap_features(gaps))


def test_a_closed_gate_leaves_the_tokens_to_the_bit(twins) -> None:
    _, tree, config = twins
    tokens_BTnV = torch.randn(1, 3, 2, WIDTH)
    closed = tree | {"gate": to_jax(torch.zeros(()))}
    found, _ = temporal.forward(closed, to_jax(tokens_BTnV), days_BT=to_jax(torch.tensor([[1.0, 2, 9]])), config=config)
    assert torch.equal(to_torch(found), tokens_BTnV)
