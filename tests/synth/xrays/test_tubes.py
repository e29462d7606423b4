"""Chains of disks are painted as pixel by pixel, at the film's edges too."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.xrays.tubes import Chain, paint_chain

ROWS, COLUMNS = 40, 56


def chain(*, count: int = 300, layers: int = 3) -> Chain:
    rng = np.random.default_rng(4)
    return Chain(
        column=rng.uniform(-8, COLUMNS + 8, count),
        row=rng.uniform(-8, ROWS + 8, count),
        radius=rng.choice([0.3, 0.75, 0.8, 1.0, 1.6, 2.0, 3.3, 7.0], count),
        amount=rng.uniform(0.1, 1, count),
        layer=rng.integers(0, layers, count),
    )


def pixel_by_pixel(disks: Chain, *, profile: str) -> np.ndarray:
    """The greatest disk of each layer at each pixel, summed over layers."""
    row, column = np.mgrid[:ROWS, :COLUMNS] + 0.5
    layers = np.zeros((3, ROWS, COLUMNS))
    for x, y, wide, amount, layer in zip(disks.column, disks.row, disks.radius, disks.amount, disks.layer, strict=True):
        drawn = max(wide, 0.75)
        away = np.hypot(column - x, row - y) / drawn
        value = np.clip((1 - away) * drawn + 0.5, 0, 1) * amount * min(1.0, wide / 0.75) ** 2
        if profile == "solid":
            value *= np.sqrt(np.maximum(1 - away**2, 0.02))
        layers[layer] = np.maximum(layers[layer], value)
    return layers.sum(axis=0)


@pytest.mark.parametrize("profile", ["solid", "flat"])
def test_disks_are_painted_as_pixel_by_pixel(profile: str) -> None:
    disks = chain()
    found = paint_chain(disks, rows=ROWS, columns=COLUMNS, profile=profile)
    wanted = pixel_by_pixel(disks, profile=profile)
    assert wanted[:, 0].max() > 0.1
    assert wanted[:, -1].max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_no_disks_give_an_empty_picture() -> None:
    none = chain(count=0)
    assert not paint_chain(none, rows=ROWS, columns=COLUMNS, profile="solid").any()
