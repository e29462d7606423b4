"""The shipped heads: lungs on a chest film, and nothing on what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osler.engine.load import load
from osler.engine.session import Session
from osler.readers import open_study
from osler.tasks.findings import findings
from osler.tasks.locate import locate
from osler.train.pictures import split_of
from tests.cli.mini import needs_mini
from tests.shared_data import SHARED_DATA, needs_shared_data

pytestmark = needs_mini


@pytest.fixture(scope="module")
def session() -> Session:
    return load("osler-mini", studies="memory")


@pytest.mark.parametrize("kind", ["gray", "noise"])
def test_what_is_no_film_has_neither_lungs_nor_findings(kind: str, session: Session, tmp_path: Path) -> None:
    shades = np.full((90, 90), 90) if kind == "gray" else np.random.default_rng(0).integers(0, 255, (300, 300))
    Image.fromarray(shades.astype(np.uint8)).save(tmp_path / "x.png")
    assert locate(session, tmp_path / "x.png", ["right lung", "left lung"]).boxes == ()
    assert all(found.probability is None for found in findings(session, tmp_path / "x.png").findings)


@needs_shared_data
def test_lungs_lie_side_by_side_on_films_that_training_never_saw(session: Session) -> None:
    assert SHARED_DATA is not None
    films = sorted((SHARED_DATA / "cxr" / "montgomery" / "images").iterdir())
    held_out = [path for path in films if split_of("montgomery", patient=path.stem.split("_")[1]) == "held-out"]
    right_ones = 0
    for path in held_out[:6]:
        found = {box.label: box.pixel for box in locate(session, open_study(path), ["right lung", "left lung"]).boxes}
        right, left = found.get("right lung"), found.get("left lung")
        # The patient's right lung lies on the left of the picture.
        right_ones += right is not None and left is not None and right.x1 < left.x1 and right.x0 < left.x0
    assert right_ones >= 5
