"""Pictures without content: any shade and texture, the same for the same number."""

from __future__ import annotations

import numpy as np

from osler.train.synthetic_pictures import no_content


def test_shades_and_textures_vary_and_repeat() -> None:
    pictures = [no_content(2, index=i, size=64) for i in range(200)]
    assert all(p.shape == (64, 64, 3) and p.dtype == np.uint8 for p in pictures)
    assert np.array_equal(pictures[5], no_content(2, index=5, size=64))
    means = np.array([p.mean() for p in pictures])
    assert means.min() < 40
    assert means.max() > 215
    flat = [p for p in pictures if p.std() < 1]
    assert 10 < len(flat) < 120
    assert sum(bool((p[..., 0] != p[..., 1]).any()) for p in pictures) > 20
