"""Chest ImaGenome: boxes in the film's pixels against those of `osler.locate`, by the published question."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.engine.session import Session
from osler.evaluate.responder import OslerResponder
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import SetResult, run_set
from osler.evaluate.sets.chest_imagenome import _TABLE, ChestImagenome
from osler.evaluate.sets.types import Setting
from osler.study import Box2D, Study
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.published_folders import mimic_place, write_imagenome, write_mimic
from tests.evaluate.sets.test_box_sets import Threshold
from tests.tasks.scripted import Scripted

__all__ = ["checkpoint", "config", "model", "tokenizer"]
NOTHING = ("",) * 5
# A film of 64 x 48 px in a square of 64: 8 px of padding stand above it.
HEART = (16, 8, 32, 40)
HEART_TEXT = 'Final Answer: ```json[{"box_2d": [250, 250, 750, 500], "label": "cardiac silhouette"}]```'


def located(session: Session, study: Study, question: str) -> str:
    """The heart where it is, the spine half as wide as it is, no other structure."""
    if "Where is the cardiac silhouette?" in question:
        return HEART_TEXT
    if "Where is the spine?" in question:
        return 'Final Answer: ```json[{"box_2d": [125, 500, 875, 625], "label": "spine"}]```'
    return "Final Answer: ```json[]```"


def evaluated(checkpoint: Checkpoint, root: Path) -> tuple[SetResult, Scripted]:
    session = Scripted(checkpoint, writer=located, trained={"box_text"})
    setting = Setting(root=root, responder=OslerResponder(session), split="all")
    return run_set(ChestImagenome(), setting), session


def test_boxes_are_asked_for_as_locate_asks_and_compared_in_pixels(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_mimic(tmp_path, [NOTHING] * 2)
    boxes = [(0, "cardiac silhouette", HEART), (0, "spine", (32, 0, 48, 48)), (0, "right lung", (4, 4, 20, 40))]
    write_imagenome(tmp_path, [*boxes, (1, "cardiac silhouette", (20, 8, 36, 40))])
    result, session = evaluated(checkpoint, tmp_path)
    assert result.failed == []
    (asked,) = [question for question in session.asked if "spine" in question]
    assert "Where is the spine?" in asked
    assert '"left" refers to the patient\'s left side' in asked
    assert "normalize the x and y coordinates the range [0, 1000]" in asked
    overlaps = {(row.patient, row.asked): row.values["iou"] for row in result.rows}
    first, second = (f"mimic-cxr:{Path(mimic_place(n)).parts[1][1:]}" for n in (0, 1))
    assert overlaps[first, "cardiac silhouette"][MODEL][0] == pytest.approx(1.0)
    assert overlaps[first, "spine"][MODEL][0] == pytest.approx(0.5, abs=0.01)
    assert overlaps[first, "right lung"][MODEL][0] == 0.0
    assert overlaps[second, "cardiac silhouette"][MODEL][0] == pytest.approx(12 / 20)
    # The mean box of other patients: here the one box of the other film.
    assert overlaps[second, "cardiac silhouette"]["mean box"][0] == pytest.approx(12 / 20)
    assert overlaps[first, "spine"]["mean box"][0] == 0.0
    (mean,) = [
        entry
        for entry in measured(result.rows, ChestImagenome.measures, draws=20)
        if (entry.measure, entry.group) == ("mean IoU", "all")
    ]
    by_hand = [Box2D(x0=16, y0=8, x1=32, y1=40).iou(Box2D(x0=20, y0=8, x1=36, y1=40)), 1.0, 0.5, 0.0]
    assert mean.systems[MODEL].value == pytest.approx(sum(by_hand) / 4, abs=0.003)


def test_damaged_boxes_cost_one_film_and_thin_ones_are_counted(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_mimic(tmp_path, [NOTHING] * 3)
    write_imagenome(
        tmp_path,
        [
            (0, "cardiac silhouette", HEART),
            (0, "carina", (5, 5, 5, 9)),
            (1, "cardiac silhouette", (16, "?", 32, 40)),
            (2, "spine", (30, 10, 20, 40)),
            (9, "spine", HEART),
        ],
    )
    result, _ = evaluated(checkpoint, tmp_path)
    assert [row.asked for row in result.rows] == ["cardiac silhouette"]
    whys = sorted(entry.why for entry in result.failed)
    assert len(whys) == 2
    assert "The box of cardiac silhouette on 00000001-dicom has the edges 16, ?, 32, 40" in whys[0]
    assert "The box of spine on 00000002-dicom has the edges 30, 10, 20, 40" in whys[1]
    assert "1 boxes without an area are left out." in result.notes
    assert "1 films that the table lists are not there, and are left out." in result.notes


def test_what_is_missing_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert evaluated(checkpoint, tmp_path)[0].why == f"not found: {_TABLE}"
    write_imagenome(tmp_path, [(7, "spine", HEART)])
    assert "mimic-cxr-2.0.0-split.csv.gz" in evaluated(checkpoint, tmp_path)[0].why
    write_mimic(tmp_path, [NOTHING] * 2)
    result, _ = evaluated(checkpoint, tmp_path)
    assert result.state == "no data"
    assert result.why.endswith("lies in cxr/mimic-cxr/files")
    (tmp_path / _TABLE).write_text("image_id,bbox_name\n")
    result, _ = evaluated(checkpoint, tmp_path)
    assert (result.state, "has no column 'original_x1'" in result.why) == ("failed", True)


def test_a_head_that_knows_other_structures_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_mimic(tmp_path, [NOTHING])
    write_imagenome(tmp_path, [(0, "spine", HEART)])
    head = Threshold()
    head.labels = frozenset({"right lung", "left lung"})
    session = Scripted(checkpoint, trained={"boxes"}, heads={"boxes": head})
    result = run_set(ChestImagenome(), Setting(root=tmp_path, responder=OslerResponder(session), split="all"))
    assert any(note.startswith("NOT TRAINED: the box head draws left lung, right lung only") for note in result.notes)
    assert [row.values["given"][MODEL][0] for row in result.rows] == [0.0]
