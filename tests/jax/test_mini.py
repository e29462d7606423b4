"""The embedded model on JAX: the answers, findings, boxes and comparisons of PyTorch, on films and a volume."""

from __future__ import annotations

import datetime as dt
import gc
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import osler
from osler.engine.session import Session
from osler.study import Affine, Study, TimePoint
from osler.tasks.compare import compare
from osler.tasks.findings import findings
from osler.tasks.locate import locate
from tests.cli.mini import needs_mini
from tests.engine.films import film, film_study, noise_volume
from tests.shared_data import SHARED_DATA, needs_shared_data

pytestmark = needs_mini

BACKENDS = ("torch", "jax")
QUESTIONS = ("What kind of image is this?", "Is there a pleural effusion?")


def two_films() -> tuple[Study, Study]:
    """Two films, of which the second stands for an earlier date: of people where they are there, else of noise."""
    if SHARED_DATA is None:
        return film_study(None), Study(timepoints=(TimePoint(series=(film(5),)),))
    folder = SHARED_DATA / "cxr" / "montgomery" / "images"
    now, earlier = (osler.open_study(path) for path in sorted(folder.iterdir())[:2])
    return now, earlier


def told(session: Session, now: Study, earlier: Study) -> dict[str, Any]:
    """What a session says of two films, in numbers."""
    dated = replace(now, timepoints=(replace(now.timepoints[0], date=dt.date(2024, 5, 1)),))
    before = replace(earlier, timepoints=(replace(earlier.timepoints[0], date=dt.date(2024, 1, 1)),))
    boxes = locate(session, now, ["right lung", "left lung"]).boxes
    return {
        "answers": [session.ask(now, question, max_tokens=10).text for question in QUESTIONS],
        "findings": {one.name: one.probability for one in findings(session, now).findings},
        "boxes": {box.label: (box.pixel.x0, box.pixel.y0, box.pixel.x1, box.pixel.y1) for box in boxes},
        "compare": compare(session, dated, [before]).text,
    }


def of_slabs(session: Session) -> str:
    volume = noise_volume(affine=Affine(((2.0, 0, 0, 0), (0, 2.0, 0, 0), (0, 0, 5.0, 0), (0, 0, 0, 1.0))))
    study = Study(timepoints=(TimePoint(series=(volume,)),))
    return session.seeing(48).ask(study, "Which plane is this?", max_tokens=8).text


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """All of it on one backend after the other, so that one set of weights is held at a time."""
    results: dict[str, dict[str, Any]] = {}
    for backend in BACKENDS:
        session = osler.load("osler-mini", bits=32, backend=backend, device="cpu", studies="memory")
        results[backend] = {"films": told(session, *two_films()), "slabs": of_slabs(session)}
        del session
        gc.collect()
    return results


def test_the_same_answers_findings_and_boxes(found: dict[str, dict[str, Any]]) -> None:
    theirs, ours = (found[backend]["films"] for backend in BACKENDS)
    assert ours["answers"] == theirs["answers"]
    assert ours["compare"] == theirs["compare"]
    assert ours["findings"] == pytest.approx(theirs["findings"], abs=1e-4)
    assert ours["boxes"].keys() == theirs["boxes"].keys()
    for label, edges in theirs["boxes"].items():
        assert ours["boxes"][label] == pytest.approx(edges, abs=0.1)


@needs_shared_data
def test_the_heads_see_something_on_a_real_film(found: dict[str, dict[str, Any]]) -> None:
    assert set(found["jax"]["films"]["boxes"]) == {"right lung", "left lung"}
    assert any(probability is not None for probability in found["jax"]["films"]["findings"].values())


def test_a_volume_is_read_as_slabs(found: dict[str, dict[str, Any]]) -> None:
    assert found["jax"]["slabs"] == found["torch"]["slabs"] != ""
