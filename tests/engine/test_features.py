"""Features are the same in any batch, and are not computed twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from osler.engine.features import FeatureStore, image_batch
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.prepare import PixelBatches, preprocess_for


@pytest.fixture
def pixels(config: OslerConfig) -> PixelBatches:
    rgb = np.random.default_rng(0).integers(0, 256, (19, 32, 32, 3), dtype=np.uint8)
    return PixelBatches(rgb=rgb, preprocess=preprocess_for(config))


class _Counting(Osler):
    """The network, with a count of the images it encoded."""

    def __init__(self, config: OslerConfig, *, like: Osler) -> None:
        super().__init__(config)
        self.load_state_dict(like.state_dict())
        self.encoded = 0

    def encode_images(self, pixels_N3SS: torch.Tensor) -> Any:
        self.encoded += len(pixels_N3SS)
        return super().encode_images(pixels_N3SS)


def test_chunks_give_the_features_of_all_images_at_once(model: Osler, pixels: PixelBatches) -> None:
    assert image_batch(model) < len(pixels)
    with torch.inference_mode():
        expected = model.encode_images(torch.from_numpy(pixels.array()))
    torch.testing.assert_close(FeatureStore(model).encode(pixels), expected, rtol=1e-5, atol=1e-5)


def test_known_images_are_not_encoded_again(model: Osler, pixels: PixelBatches) -> None:
    counting = _Counting(model.config, like=model).eval()
    store = FeatureStore(counting)
    first = store.encode(pixels)
    assert counting.encoded == 19
    some = PixelBatches(rgb=np.concatenate((pixels.rgb[3:5], 255 - pixels.rgb[:1])), preprocess=pixels.preprocess)
    second = store.encode(some)
    assert counting.encoded == 20
    assert torch.equal(second[:2], first[3:5])


def test_progress_counts_every_image(model: Osler, pixels: PixelBatches) -> None:
    seen: list[tuple[int, int]] = []
    FeatureStore(model).encode(pixels, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 19), (16, 19), (19, 19)]


def test_memory_is_bounded(model: Osler, pixels: PixelBatches) -> None:
    one = 4 * model.config.decoder.width * 4
    store = FeatureStore(model, kept_bytes=5 * one)
    assert store.encode(pixels).shape[0] == 19
    assert store.bytes == 5 * one
    store.clear()
    assert store.bytes == 0


def test_no_images_give_no_features(model: Osler, config: OslerConfig) -> None:
    empty = PixelBatches(rgb=np.empty((0, 32, 32, 3), dtype=np.uint8), preprocess=preprocess_for(config))
    assert FeatureStore(model).encode(empty) is None


def test_a_large_tower_takes_one_image_at_a_time() -> None:
    from osler.model.config import get_config

    with torch.device("meta"):
        full = Osler(get_config("medgemma-1.5-4b")).bfloat16()
    assert image_batch(full) in (1, 2, 3)
