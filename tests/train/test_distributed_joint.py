"""The joint and the perception stage on two processes of this machine: the curve of one, each sample once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from osler.errors import RequestError
from osler.train.distributed import Place, shared_step
from osler.train.joint_stage import require_even
from osler.train.perception_data import PerceptionData
from osler.weights.safetensors_io import read_safetensors
from tests.train.joint_processes import perception_of, recipe_of, train
from tests.train.small_joint import joint_data, joint_recipe, write_films

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]
LOSSES = {"next_token", "boxes", "presence", "findings", "progression", "contrastive", "right"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("banks")


@pytest.fixture(scope="module")
def data(small_base: Path, films: Path, banks: Path) -> PerceptionData:
    return joint_data(banks, base=small_base, films=films)


@pytest.fixture(scope="module")
def runs(
    small_base: Path, films: Path, banks: Path, data: PerceptionData, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Runs of one process, and the same on two that torchrun starts."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = recipe_of(folder / "one", base=small_base, films=films)
    train(recipe, data=data)
    train(perception_of(recipe, folder / "heads-one"), data=data)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [str(place) for place in (folder, small_base, films, banks)]
    run = subprocess.run(
        [*launch, "-m", "tests.train.joint_processes", *given],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return folder


def _lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_bfloat16_runs_where_one_process_judges_more_often(runs: Path) -> None:
    judged = json.loads((runs / "half" / "summary.json").read_text(encoding="utf-8"))["kept_out"]
    wanted = json.loads((runs / "two" / "summary.json").read_text(encoding="utf-8"))["kept_out"]
    for when in ("before", "after"):
        assert judged[when]["samples"] == wanted[when]["samples"] == 5
    assert judged["before"]["loss"] == pytest.approx(wanted["before"]["loss"], rel=0.05)


@pytest.mark.parametrize(("one", "two"), [("one", "two"), ("heads-one", "heads-two")])
def test_two_processes_follow_every_curve_of_one(runs: Path, one: str, two: str) -> None:
    ours, theirs = (_lines(runs / name / "metrics.jsonl") for name in (two, one))
    assert [line["step"] for line in ours] == [0, 1, 2, 3]
    wanted = LOSSES if one == "one" else LOSSES - {"next_token", "right"}
    assert all(wanted <= line.keys() for line in ours)
    for mine, line in zip(ours, theirs, strict=True):
        assert mine.keys() == line.keys()
        # Narrow: pairs that no longer meet, of pictures and reports of two processes, change little at the start.
        same = {name: value for name, value in line.items() if name != "seconds"}
        assert {name: mine[name] for name in same} == pytest.approx(same, rel=2e-5, abs=2e-6)
    assert shared_step(runs / two / "shares") == 4
    assert len({line["loss"] for line in ours}) == 4


@pytest.mark.parametrize(("one", "two"), [("one", "two"), ("heads-one", "heads-two")])
def test_each_sample_of_an_update_is_seen_by_one_process(runs: Path, one: str, two: str) -> None:
    alone = _lines(runs / one / "samples-0.jsonl")
    first, second = (_lines(runs / two / f"samples-{rank}.jsonl") for rank in (0, 1))
    assert len(alone) == 4
    for whole, mine, theirs in zip(alone, first, second, strict=True):
        assert mine["samples"]
        assert theirs["samples"]
        assert Counter(mine["samples"]) + Counter(theirs["samples"]) == Counter(whole["samples"])


def _bytes(folder: Path) -> dict[str, dict[str, bytes]]:
    """All tensors below a folder; as bytes, because what is not calibrated is NaN."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.safetensors")}
    return {
        name: {
            key: tensor.flatten().view(torch.uint8).numpy().tobytes()
            for key, tensor in read_safetensors(path).tensors.items()
        }
        for name, path in files.items()
    }


def test_stopped_and_gone_on_with_is_the_same_run_bit_for_bit(runs: Path) -> None:
    whole, again = runs / "two", runs / "again"
    assert [line["step"] for line in _lines(again / "metrics.jsonl")] == [0, 1, 2, 3]
    assert [line["step"] for line in _lines(again / "samples-1.jsonl")] == [0, 1, 2, 3]
    ours, theirs = _bytes(again), _bytes(whole)
    assert {"model/parts.safetensors", "model/vision.safetensors"} < ours.keys()
    assert any(name.startswith("shares/") for name in ours)
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "match"),
    [("xrays", "not a number in update 1, at: nih patient"), ("questions", "next_token is not a number in update 1")],
)
def test_what_is_no_number_in_one_process_stops_all_with_its_sample(runs: Path, name: str, match: str) -> None:
    first, second = ((runs / f"{name}-{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1))
    assert match in first
    assert first == second
    assert not (runs / name / "shares").exists()
    assert not (runs / name / "metrics.jsonl").exists()


def test_one_process_makes_the_same_of_the_shares_of_two(
    runs: Path, small_base: Path, films: Path, data: PerceptionData
) -> None:
    """It has nothing left to learn, so what it writes and measures is of the weights that two processes saved."""
    model, summary = runs / "two" / "model", runs / "two" / "summary.json"
    theirs, measured = _bytes(model), json.loads(summary.read_text(encoding="utf-8"))["kept_out"]
    shutil.rmtree(model)
    summary.unlink()
    train(recipe_of(runs / "two", base=small_base, films=films), data=data)
    assert _bytes(model) == theirs
    kept = json.loads(summary.read_text(encoding="utf-8"))["kept_out"]
    alone = json.loads((runs / "one" / "summary.json").read_text(encoding="utf-8"))["kept_out"]
    for when in ("before", "after"):
        assert measured[when] == pytest.approx(kept[when], rel=1e-5)
        assert measured[when] == pytest.approx(alone[when], rel=1e-3)
        assert measured[when]["samples"] == 5
    assert measured["after"]["loss"] != measured["before"]["loss"]


def test_processes_that_would_have_nothing_are_refused(tmp_path: Path) -> None:
    recipe = joint_recipe(tmp_path, base=tmp_path, films=tmp_path)

    def place(world: int) -> Place:
        return Place(rank=0, world=world, device=torch.device("cpu"))

    require_even(recipe, place=place(3))
    with pytest.raises(RequestError, match=r"3 questions, for 2 processes.*Set answers.samples to 4"):
        require_even(recipe, place=place(2))
    with pytest.raises(RequestError, match=r"3 synthetic patients, for 4 processes.*Set shares.series to 4"):
        require_even(recipe, place=place(4))
