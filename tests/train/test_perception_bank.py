"""Kept features are those of the tower, of views that are made anew only when something changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.model.config import get_config
from osler.model.vision import VisionTower
from osler.prepare.contract import preprocess_for
from osler.prepare.pixels import PixelBatches
from osler.train.labeled_volumes import LabeledVolume, cut_volume
from osler.train.labeled_xrays import LabeledXray, shown
from osler.train.perception_bank import FeatureBank, fill_bank

CONFIG = get_config("debug")
PREPROCESS = preprocess_for(CONFIG)


@pytest.fixture(scope="module")
def tower() -> VisionTower:
    assert CONFIG.vision is not None
    torch.manual_seed(0)
    return VisionTower(CONFIG.vision).eval()


def _film(number: int) -> LabeledXray:
    pixels = np.random.default_rng(number).integers(0, 255, (50, 40)).astype(np.uint8)
    boxes = {"right lung": (4.0, 5.0, 18.0, 40.0)} if number else None
    return LabeledXray(pixels=pixels, boxes=boxes, findings={}, source="nih", patient=str(number))


FILMS = [_film(number) for number in range(3)]
VOLUME = LabeledVolume(
    slices=np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3)).astype(np.uint8),
    depth=((np.arange(6) + 0.5) / 6).astype(np.float32),
    boxes={"liver": (0.25, 0.3, 0.1, 0.75, 0.8, 0.9)},
    source="phantom",
    patient="3",
)


def _fill(folder: Path, tower: VisionTower, *, workers: int = 1, key: str = "a") -> FeatureBank:
    fill = partial(fill_bank, folder, views=3, tower=tower, layers=1, preprocess=PREPROCESS, slices=4, seed=2)
    return fill(items=FILMS, key=key, workers=workers)


def _through(tower: VisionTower, rgb: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(PixelBatches(rgb=rgb, preprocess=PREPROCESS).array())
    with torch.no_grad():
        return tower.forward_to(pixels, layers=1).to(torch.bfloat16)


def test_rows_are_what_the_tower_makes_of_each_view(tmp_path: Path, tower: VisionTower) -> None:
    bank = _fill(tmp_path, tower)
    for number, film in enumerate(FILMS):
        plain, boxes = shown(film, size=32, rng=None)
        first = bank.views[number][0]
        assert first.boxes == boxes
        torch.testing.assert_close(bank.features([first.row]), _through(tower, plain[None]))
        other = bank.features([bank.views[number][1].row])
        assert not torch.equal(other, bank.features([first.row]))


def test_several_workers_make_the_same_rows(tmp_path: Path, tower: VisionTower) -> None:
    one, two = (_fill(tmp_path / str(workers), tower, workers=workers) for workers in (1, 2))
    assert one.views == two.views
    assert one.rows.shape == two.rows.shape == (9, 64, 48)
    # Pictures pass the tower in other company, so that the last digit may differ.
    torch.testing.assert_close(one.features(range(9)), two.features(range(9)), atol=2e-2, rtol=2e-2)


def test_a_kept_bank_is_opened_and_another_key_fills_it_anew(tmp_path: Path, tower: VisionTower) -> None:
    _fill(tmp_path, tower)
    before = (tmp_path / "rows.npy").stat().st_mtime_ns
    _fill(tmp_path, tower)
    assert (tmp_path / "rows.npy").stat().st_mtime_ns == before
    _fill(tmp_path, tower, key="b")
    assert (tmp_path / "rows.npy").stat().st_mtime_ns != before


def test_slices_of_a_volume_lie_one_after_the_other(tmp_path: Path, tower: VisionTower) -> None:
    bank = fill_bank(
        tmp_path, items=[VOLUME], views=2, tower=tower, layers=1, preprocess=PREPROCESS, slices=4, key="v", seed=0,
        workers=1,
    )  # fmt: skip
    whole, cut = bank.views[0]
    assert (whole.row, cut.row) == (0, 4)
    assert whole.boxes is not None
    assert whole.boxes["liver"] == pytest.approx(VOLUME.boxes["liver"])
    rgb, depth, _ = cut_volume(VOLUME, slices=4, rng=None)
    assert whole.depth == pytest.approx(depth)
    torch.testing.assert_close(bank.features(range(4)), _through(tower, rgb))
