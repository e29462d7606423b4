"""The imaging benchmarks of the report with one tiny model, and their published column."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from osler.engine.session import Session
from osler.evaluate.evaluation import evaluate_sets
from osler.evaluate.evaluation_text import evaluation_text
from osler.evaluate.published import MEDGEMMA_15_4B
from osler.evaluate.responder import OslerResponder
from osler.evaluate.runner import chosen_sets
from osler.evaluate.sets import PUBLISHED_IMAGING
from osler.evaluate.sets.mimic_reports import MimicReports
from osler.evaluate.sets.types import Setting
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets import published_folders as folders

__all__ = ["checkpoint", "config", "model", "tokenizer"]


@pytest.mark.slow
def test_every_benchmark_runs_and_stands_beside_its_published_figure(checkpoint: Checkpoint, tmp_path: Path) -> None:
    five = ("1.0", "0.0", "0.0", "1.0", "")
    folders.write_cxr14(tmp_path, [("YES", "NO", "NO"), ("NO", "NO", "YES")])
    folders.write_chexpert(tmp_path, [("1.0", "0.0", "0.0", "1.0", "1.0")])
    folders.write_mimic(tmp_path, [five] * 3)
    folders.write_mimic(tmp_path, [five] * 3, table="med-gemini-labels.csv")
    folders.write_imagenome(tmp_path, [(0, "spine", (10, 10, 30, 40))])
    folders.write_ms_cxr_t(tmp_path, [(0, 1, {"edema": "stable"})])
    folders.write_ct_rate(tmp_path, [["1"] * 18])
    folders.write_conditions(tmp_path, "ct", [(1, "appendicitis", "yes", "Pain.")])
    folders.write_conditions(tmp_path, "mr", [(1, "hemorrhage", "no", "")])
    folders.write_diagnoses(tmp_path, [("skin biopsy", "Nevus")])
    trained = frozenset({"answers", "box_text", "change_text"})
    session = Session(dataclasses.replace(checkpoint, trained=trained))
    setting = Setting(root=tmp_path, responder=OslerResponder(session), split="all", limit=1)
    names = [name for name in PUBLISHED_IMAGING if name != MimicReports.name]  # its own test has both of its runs
    record = evaluate_sets(chosen_sets(names), setting, out=tmp_path / "out")
    assert {one["name"]: one["state"] for one in record["sets"]} == dict.fromkeys(names, "measured")
    assert [one["failed"] for one in record["sets"]] == [[]] * len(names)
    for one in record["sets"]:
        published = {entry["measure"]: entry["published"] for entry in one["measures"] if "published" in entry}
        assert published == {m: figure for (name, m), figure in MEDGEMMA_15_4B.items() if name == one["name"]}
        assert len(published) == 1
    assert "Published (MedGemma 1.5 4B)" in (tmp_path / "out" / "evaluation.md").read_text()
    assert "MedGemma 1.5 4B as published 48.4%" in evaluation_text(record)
