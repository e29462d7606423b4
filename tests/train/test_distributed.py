"""Two processes on this machine: the same curve as one, each sample once, and their shares read by one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError, RequestError
from osler.train import run_stage
from osler.train.distributed import Place, joined, load_shares, save_shares, shared_step
from osler.train.finetune_stage import train_finetune
from osler.train.recipe import load_recipes
from osler.weights.checkpoint import load_checkpoint
from tests.train.small_base import questions, recipe_text, write_pictures, write_table

SOURCES = Path(__file__).parents[2] / "src"
ALONE = Place(rank=0, world=1, device=torch.device("cpu"))


def _metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def _torchrun(recipe: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*launch, "-m", "osler", "train", recipe], env=environment, check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_two_processes_follow_the_curve_of_one(tmp_path: Path, small_base: Path) -> None:
    rows = [{**row, "split": "train"} for row in questions(write_pictures(tmp_path, count=8))]
    rows += [{**row, "split": "kept-out"} for row in questions(write_pictures(tmp_path / "kept", count=3))]
    for row in rows[8:]:
        row["path"] = f"kept/{row['path']}"
    csv_path = write_table(tmp_path / "data.csv", rows)
    for name, steps in (("one", 5), ("two", 3), ("rest", 5)):
        out = tmp_path / ("two" if name == "rest" else name)
        text = recipe_text(base=small_base, csv_path=csv_path, out=out, steps=steps)
        # A level rate, so that a run of three updates is the beginning of one of five.
        (tmp_path / f"{name}.toml").write_text(text.replace("warmup = 2", "warmup = 1000"))
    train_finetune(load_recipes(tmp_path / "one.toml")[0])  # type: ignore[arg-type]
    _torchrun(tmp_path / "two.toml")
    ledger = [
        json.loads(line)["samples"]
        for rank in (0, 1)
        for line in (tmp_path / "two" / "run" / f"samples-{rank}.jsonl").read_text().splitlines()
    ]
    taken = sorted(name for names in ledger for name in names)
    assert [len(names) for names in ledger] == [2] * 6
    assert set(taken) == {f"line {line} (scan{line - 2}.png)" for line in range(2, 10)}
    assert len({name for names in (ledger[0], ledger[1], ledger[3], ledger[4]) for name in names}) == 8
    assert shared_step(tmp_path / "two" / "run" / "shares") == 3
    assert load_checkpoint(tmp_path / "two", dtype="float32").model is not None
    # From two processes to one: it goes on from their shares.
    train_finetune(load_recipes(tmp_path / "rest.toml")[0])  # type: ignore[arg-type]
    for one, two in zip(_metrics(tmp_path / "one"), _metrics(tmp_path / "two"), strict=True):
        assert one["step"] == two["step"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["norm"] == pytest.approx(one["norm"], rel=1e-3)
    kept = [json.loads((tmp_path / n / "run" / "summary.json").read_text())["kept_out"] for n in ("one", "two")]
    assert kept[1]["after"]["loss"] == pytest.approx(kept[0]["after"]["loss"], rel=1e-4)


def test_shares_of_one_process_read_back_and_damage_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "shares"
    tensors = {"weights/a": torch.randn(3, 4), "step/a": torch.tensor(7.0)}
    assert shared_step(folder) is None
    save_shares(folder, tensors, step=7, place=ALONE)
    save_shares(folder, tensors, step=8, place=ALONE)
    assert shared_step(folder) == 8
    again = {name: torch.zeros_like(value) for name, value in tensors.items()}
    load_shares(folder, again)
    assert all(torch.equal(value, again[name]) for name, value in tensors.items())
    with pytest.raises(CheckpointError, match="damaged or does not fit"):
        load_shares(folder, {"weights/b": torch.zeros(2)})
    # A kill between the renames leaves the old folder beside.
    folder.rename(tmp_path / ".shares.old")
    assert shared_step(folder) == 8
    (folder / "step.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        shared_step(folder)


def test_shares_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "shares"
    save_shares(folder, {"a": torch.ones(2)}, step=1, place=ALONE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk, no file can grow past so many bytes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"Cannot write .*shares.*goes on from there"):
            save_shares(folder, {"a": torch.zeros(100_000)}, step=2, place=ALONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert shared_step(folder) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["shares"]


def test_half_a_launch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RequestError, match=r"WORLD_SIZE is 2, but RANK.*torchrun"), joined():
        pass


@pytest.mark.parametrize(
    ("stage", "keys"),
    [
        ("vision", 'config = "debug"\ndata = "generated"\n'),
        ("answers", 'config = "debug"\ndata = "generated"\ntower = "tower"\npictures = "pictures"\n'),
    ],
)
def test_stages_whose_processes_would_not_join_are_refused(
    stage: str, keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = "[optimizer]\nsteps = 1\nbatch = 2\nlearning_rate = 1e-3\n"
    (tmp_path / "run.toml").write_text(f'stage = "{stage}"\nout = "out"\n{keys}{optimizer}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    (recipe,) = load_recipes("run.toml")
    with pytest.raises(RequestError, match=rf"'{stage}' was started as 2 processes.*One process.*without torchrun"):
        run_stage(recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]
