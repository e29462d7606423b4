"""Augmentation keeps what the labels say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.train.augment import AugmentConfig, augment
from osler.train.pictures import Labels, Picture
from osler.train.synthetic_pictures import head_ct, tissue

STILL = AugmentConfig(
    rotate_degrees=0, zoom_low=1, zoom_high=1.000001, aspect=0, gamma=0, contrast=0, rare=0, flip_sections=0
)


def _half_white(modality: str) -> Picture:
    pixels = np.zeros((200, 200, 3), dtype=np.uint8)
    pixels[:, :100] = 255
    labels = Labels(modality=modality, region="chest", plane="frontal")  # type: ignore[arg-type]
    return Picture(pixels=pixels, labels=labels, source="made", patient="p")


@pytest.mark.parametrize("seed", range(30))
def test_x_rays_are_never_mirrored(seed: int) -> None:
    config = replace(AugmentConfig(), rotate_degrees=5, rare=0, contrast=0)
    out = augment(_half_white("xray"), config=config, rng=np.random.default_rng(seed)).astype(float)
    width = out.shape[1]
    assert out[:, : width // 2].mean() > out[:, width // 2 :].mean() + 50


def test_sections_are_mirrored_sometimes() -> None:
    sides = {
        augment(_half_white("ct"), config=STILL, rng=np.random.default_rng(seed))[:, :50].mean() > 128
        for seed in range(30)
    }
    assert sides == {True, False}


@pytest.mark.parametrize("make", [tissue, head_ct])
def test_drawn_pictures_survive_every_change(make: object) -> None:
    config = replace(AugmentConfig(), rare=1.0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        out = augment(make(rng), config=config, rng=rng)  # type: ignore[operator]
        assert out.dtype == np.uint8
        assert out.ndim == 3
        assert out.std() > 3


def test_same_seed_same_picture() -> None:
    picture = tissue(np.random.default_rng(1))
    first, second = (augment(picture, config=AugmentConfig(), rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
