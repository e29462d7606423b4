"""Kept files count only for what they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osler.prepare import Preprocess
from osler.train.augment import AugmentConfig
from osler.train.cache_key import KEY_FILE, cache_key, has_key, set_key
from osler.train.picture_book import GENERATED, Shares, open_book, render

PREPROCESS = Preprocess(image_size=32, image_tokens=4)
DRAWN = Shares(tissue=0.5, head_ct=0.5)


def test_key_tells_every_part() -> None:
    base = {"seed": 1, "config": AugmentConfig(), "pixels": np.zeros(3)}
    keys = {cache_key(**base)}
    keys |= {cache_key(**{**base, **change}) for change in ({"seed": 2}, {"config": AugmentConfig(aspect=0.2)})}
    keys.add(cache_key(**{**base, "pixels": np.ones(3)}))
    assert len(keys) == 4
    assert cache_key(**base) in keys


def test_an_unreadable_key_is_another_key(tmp_path: Path) -> None:
    assert not has_key(tmp_path, key="a")
    set_key(tmp_path, key="a")
    assert has_key(tmp_path, key="a")
    assert not has_key(tmp_path, key="b")
    (tmp_path / KEY_FILE).write_text("{")
    assert not has_key(tmp_path, key="a")


def _render(folder: Path, *, seed: int, count: int = 6) -> np.ndarray:
    book = open_book(Path(GENERATED), split="train", preprocess=PREPROCESS, shares=DRAWN)
    rendered = render(folder, book=book, count=count, size=32, config=AugmentConfig(), seed=seed, workers=1)
    return np.array(rendered.pixels)


def test_pictures_are_kept_for_the_same_recipe_and_drawn_anew_for_another(tmp_path: Path) -> None:
    first = _render(tmp_path, seed=1)
    stamp = (tmp_path / "pixels.npy").stat().st_mtime_ns
    assert np.array_equal(_render(tmp_path, seed=1), first)
    assert (tmp_path / "pixels.npy").stat().st_mtime_ns == stamp
    assert not np.array_equal(_render(tmp_path, seed=2), first)
    assert len(_render(tmp_path, seed=2, count=4)) == 4


def test_an_unfinished_rendering_is_done_again(tmp_path: Path) -> None:
    first = _render(tmp_path, seed=1)
    (tmp_path / KEY_FILE).unlink()
    np.save(tmp_path / "pixels.npy", np.zeros((1, 32, 32, 3), dtype=np.uint8))
    assert np.array_equal(_render(tmp_path, seed=1), first)
