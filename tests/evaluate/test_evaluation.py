"""One result as JSON, Markdown and pictures; refused options; the split that belongs to the weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.evaluate.evaluation import EvaluationRequest, evaluate, evaluate_sets
from osler.evaluate.evaluation_text import evaluation_text
from osler.evaluate.responder import OslerResponder
from osler.evaluate.runner import chosen_sets
from osler.evaluate.sets import GROUPS, all_sets
from osler.evaluate.sets.types import Setting
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.folders import write_lungs
from tests.evaluate.sets.test_box_sets import Threshold
from tests.tasks.scripted import Scripted

__all__ = ["checkpoint", "config", "model", "tokenizer"]


def test_the_result_is_whole_and_plain_json(checkpoint: Checkpoint, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_lungs(data, count=5)
    (data / "cxr" / "lung-boxes" / "images" / "2.png").write_bytes(b"broken")
    out.mkdir()
    session = Scripted(checkpoint, trained={"boxes"}, heads={"boxes": Threshold(mirrored=True)})
    setting = Setting(root=data, responder=OslerResponder(session), split="all", limit=4)
    stages: list[tuple[str, int, int]] = []
    record = evaluate_sets(
        chosen_sets(("lung-boxes", "nih-findings", "hippocampus-boxes")),
        setting,
        out=out,
        on_progress=lambda *stage: stages.append(stage),
    )
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(record))
    states = {one["name"]: one["state"] for one in record["sets"]}
    assert states == {"nih-findings": "not trained", "lung-boxes": "measured", "hippocampus-boxes": "no data"}
    lungs = next(one for one in record["sets"] if one["name"] == "lung-boxes")
    assert (lungs["asked"], lungs["cases"]) == (4, 5)
    assert lungs["picture"] == "worst-lung-boxes.png"
    assert (out / lungs["picture"]).is_file()
    assert stages[-1] == ("lung-boxes", 4, 4)
    text = (out / "evaluation.md").read_text()
    assert "| lung-boxes | measured | 4 of 5 |" in text
    assert "not trained: " in text
    assert "NaN" not in json.dumps(record)
    assert "mean IoU" in evaluation_text(record)


def test_running_again_takes_the_rows_that_are_there(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_lungs(tmp_path / "data", count=3)
    head = Threshold()
    session = Scripted(checkpoint, trained={"boxes"}, heads={"boxes": head})
    setting = Setting(root=tmp_path / "data", responder=OslerResponder(session), split="all")
    first = evaluate_sets(chosen_sets(("lung-boxes",)), setting, out=tmp_path)
    session.heads = {"boxes": None}  # type: ignore[dict-item]
    second = evaluate_sets(chosen_sets(("lung-boxes",)), setting, out=tmp_path)
    assert first["sets"][0]["measures"] == second["sets"][0]["measures"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"data": "nowhere"}, "No folder 'nowhere' with data"),
        ({"split": "train"}, "Unknown split 'train'"),
        ({"limit": 0}, "A limit of 0 cases"),
        ({"sets": ("medq",)}, "Did you mean 'medqa'"),
    ],
)
def test_options_are_checked_before_the_model_is_loaded(tmp_path: Path, options: dict[str, object], match: str) -> None:
    with pytest.raises(RequestError, match=match):
        evaluate(EvaluationRequest(**{"data": tmp_path, "model": "no such model", **options}))  # type: ignore[arg-type]


def test_groups_name_sets_that_exist() -> None:
    names = {one.name for one in all_sets()}
    assert {member for members in GROUPS.values() for member in members} <= names
    assert not set(GROUPS) & names
    assert len(names) == len(all_sets())


def test_what_was_never_trained_is_asked_only_when_wished_and_then_says_so(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_lungs(tmp_path / "data", count=2)
    session = Scripted(checkpoint, trained={"answers"}, heads={"boxes": Threshold()})
    responder = OslerResponder(session, untrained="ask")
    assert responder.asked_anyway >= {"boxes", "reports"}
    setting = Setting(root=tmp_path / "data", responder=responder, split="all", untrained="ask")
    record = evaluate_sets(chosen_sets(("lung-boxes",)), setting)
    assert record["sets"][0]["state"] == "measured"
    assert "NOT TRAINED: debug was never trained for box_text or boxes" in evaluation_text(record)
    assert record["trained"] == ["answers"]
    trained = OslerResponder(Scripted(checkpoint, trained={"boxes"}, heads={"boxes": Threshold()}), untrained="ask")
    told = evaluate_sets(chosen_sets(("lung-boxes",)), dataclasses.replace(setting, responder=trained))
    assert "NOT TRAINED" not in evaluation_text(told)
