"""A whole fine-tuning: it learns, survives kills and full disks, names bad samples, and its result answers."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError, RequestError, TrainingError
from osler.train.checkpoints import load_state, save_tensors
from osler.train.finetune_stage import train_finetune
from osler.train.recall import RecallConfig
from osler.train.recipe import FinetuneRecipe, load_recipes
from osler.weights.checkpoint import load_checkpoint
from osler.weights.safetensors_io import read_safetensors
from tests.train.small_base import questions, recipe_text, write_pictures, write_table

pytestmark = pytest.mark.usefixtures("one_thread")

SOURCES = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    rows = [*questions(write_pictures(folder, count=12)), *questions(["gone.png"])]
    # Named patients: by paths, which differ from run to run, there may be none that is kept out.
    return write_table(folder / "data.csv", [{**row, "patient": f"p{number}"} for number, row in enumerate(rows)])


def _recipe(folder: Path, *, table: Path, base: Path, steps: int = 8, more: str = "") -> FinetuneRecipe:
    path = folder / "run.toml"
    path.write_text(recipe_text(base=base, csv_path=table, out=folder / "out", steps=steps, more=more))
    (recipe,) = load_recipes(path)
    assert isinstance(recipe, FinetuneRecipe)
    return recipe


def _losses(folder: Path) -> list[float]:
    lines = (folder / "out" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(len(lines)))
    return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, table: Path, small_base: Path) -> Path:
    """A run of eight updates without a break."""
    folder = tmp_path_factory.mktemp("straight")
    torch.set_num_threads(1)
    train_finetune(_recipe(folder, table=table, base=small_base))
    return folder


def test_kept_out_rows_gain_and_the_result_answers(straight: Path, table: Path, small_base: Path) -> None:
    summary = json.loads((straight / "out" / "run" / "summary.json").read_text())
    measured = summary["kept_out"]
    assert measured["before"]["samples"] == summary["kept_out_samples"] > 0
    assert measured["after"]["loss"] < measured["before"]["loss"] - 0.1
    assert (summary["rows"], summary["unreadable"]) == (13, 1)
    assert "gone.png" in (straight / "out" / "run" / "unreadable.csv").read_text()
    found = load_checkpoint(straight / "out", dtype="float32")
    base = load_checkpoint(small_base, dtype="float32")
    assert found.trained >= {"answers"}
    assert found.preprocess.hash == base.preprocess.hash
    assert summary["preprocess_hashes"] == [base.preprocess.hash]
    from osler.engine.session import Session
    from osler.readers import open_study

    answer = Session(found, studies="memory").ask(open_study(table.parent / "scan0.png"), "Is it bright?", max_tokens=4)
    assert answer.text


def test_kept_out_samples_are_never_trained_on(straight: Path) -> None:
    ledger = (straight / "out" / "run" / "samples-0.jsonl").read_text().splitlines()
    names = [name for line in ledger for name in json.loads(line)["samples"]]
    assert len(names) == 8 * 4
    summary = json.loads((straight / "out" / "run" / "summary.json").read_text())
    assert len(set(names)) == summary["train_samples"] == 12 - summary["kept_out_samples"]


_KILLED = """
import os, signal, sys, torch
from osler.train.finetune_stage import train_finetune
from osler.train.recipe import load_recipes
torch.set_num_threads(1)
def kill(metrics):
    if metrics.get("step") == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
train_finetune(load_recipes(sys.argv[1])[0], listener=kill)
"""


@pytest.mark.parametrize("step", [1, 6], ids=["before the first save", "after a save"])
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, table: Path, small_base: Path, straight: Path, step: int
) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, tmp_path / "run.toml", str(step)],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "config.json").exists()
    train_finetune(recipe)
    for name in ("out/adapter_model.safetensors", "out/run/resume.safetensors"):
        expected, found = (read_safetensors(folder / name).tensors for folder in (straight, tmp_path))
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert _losses(tmp_path) == _losses(straight)


def test_what_the_base_says_on_plain_text_is_held(tmp_path: Path, table: Path, small_base: Path) -> None:
    drifts = {}
    for weight in (0.001, 10.0):
        folder = tmp_path / str(weight)
        folder.mkdir()
        recipe = _recipe(folder, table=table, base=small_base, steps=20)
        optimizer = replace(recipe.optimizer, learning_rate=1e-3)
        recall = RecallConfig(weight=weight, texts=4, length=24, rows=2, positions=8, at_once=4)
        train_finetune(replace(recipe, recall=recall, optimizer=optimizer))
        lines = (folder / "out" / "run" / "metrics.jsonl").read_text().splitlines()
        drifts[weight] = [json.loads(line)["recall"] for line in lines]
    assert drifts[0.001][0] < 1e-5  # an adapter starts as nothing
    assert 0 < drifts[10.0][-1] < 0.5 * drifts[0.001][-1]


def test_known_pictures_come_between_the_scans_of_a_table(tmp_path: Path, table: Path, small_base: Path) -> None:
    more = 'pictures = "generated"\npicture_share = 0.5\npicture_count = 3\n'
    train_finetune(_recipe(tmp_path, table=table, base=small_base, more=more))
    lines = (tmp_path / "out" / "run" / "samples-0.jsonl").read_text().splitlines()
    names = [name for line in lines for name in json.loads(line)["samples"]]
    shown = sum(name.startswith("picture ") for name in names)
    assert 0.3 < shown / len(names) < 0.7
    assert sum(name.startswith("line ") for name in names) == len(names) - shown


def test_a_retention_term_needs_an_adapter(tmp_path: Path, table: Path, small_base: Path) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base)
    with pytest.raises(RequestError, match=r"recall\.weight"):
        replace(recipe, method="full", recall=RecallConfig(weight=1.0))


@contextmanager
def _small_files(most: int) -> Iterator[None]:
    """As on a full disk, no file of this process can grow past so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_the_last_state_stays(
    tmp_path: Path, table: Path, small_base: Path, straight: Path
) -> None:
    train_finetune(_recipe(tmp_path, table=table, base=small_base, steps=3))
    longer = _recipe(tmp_path, table=table, base=small_base, steps=6)
    with _small_files(20_000), pytest.raises(CheckpointError, match=r"Cannot write .*resume\.safetensors"):
        train_finetune(longer)
    state = load_state(tmp_path / "out" / "run")
    assert state is not None
    assert state.step == 3
    assert not list((tmp_path / "out" / "run").glob(".*partial"))
    assert load_checkpoint(tmp_path / "out", dtype="float32").model is not None
    train_finetune(longer)
    assert len(_losses(tmp_path)) == 6


def test_a_loss_that_is_no_number_names_the_sample_and_keeps_the_state(tmp_path: Path, small_base: Path) -> None:
    names = write_pictures(tmp_path, count=6)
    csv_path = write_table(tmp_path / "data.csv", [{**row, "split": "train"} for row in questions(names)])
    # The order of seed 0 is 3 2 5 4 | 0 1: scan 1, line 3, comes in the second update.
    train_finetune(_recipe(tmp_path, table=csv_path, base=small_base, steps=1, more="seed = 0"))
    state = tmp_path / "out" / "run" / "resume.safetensors"
    before = state.read_bytes()
    for path in (tmp_path / "out" / "run" / "scans").iterdir():
        kept = read_safetensors(path)
        if '"lines": [3]' in kept.metadata["about"]:
            bad = {**kept.tensors, "images": torch.full_like(kept.tensors["images"], float("nan"))}
            save_tensors(path, {name: value.clone() for name, value in bad.items()}, metadata=kept.metadata)
    with pytest.raises(TrainingError, match=r"loss is not a number in update 2, at: line 3 \(scan1\.png\)\."):
        train_finetune(_recipe(tmp_path, table=csv_path, base=small_base, steps=4, more="seed = 0"))
    assert state.read_bytes() == before
    assert len(_losses(tmp_path)) == 1


def test_another_run_in_the_folder_is_not_gone_on_with(straight: Path, table: Path, small_base: Path) -> None:
    other = _recipe(straight, table=table, base=small_base, more="seed = 9\nalpha = 8.0")
    with pytest.raises(RequestError, match=r"holds a run with another alpha, seed\.") as caught:
        train_finetune(other)
    assert "optimizer.steps" in caught.value.allowed


def test_a_shipped_copy_of_the_base_takes_up_what_was_learned_once(tmp_path: Path, table: Path, straight: Path) -> None:
    """The base is a base with an adapter; its copy then answers as base, first and second adapter do."""
    base, shipped = straight / "out", tmp_path / "shipped"
    shutil.copytree(base, shipped, ignore=shutil.ignore_patterns("run"))
    recipe = _recipe(tmp_path, table=table, base=base, steps=4, more=f'ship = "{shipped}"')
    train_finetune(recipe)
    logits = {name: _logits(folder) for name, folder in (("base", base), ("out", tmp_path / "out"), ("ship", shipped))}
    learned, rounded = (float((logits["out"] - logits[name]).norm()) for name in ("base", "ship"))
    # Adapters are kept in bfloat16, and learn fast here; which rows they see depends on the folder of the test.
    assert rounded < 0.2 * learned
    before = {path.name: path.read_bytes() for path in shipped.iterdir()}
    train_finetune(recipe)
    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == before


@torch.inference_mode()
def _logits(folder: Path) -> torch.Tensor:
    model = load_checkpoint(folder, dtype="float32").model
    hidden_1LD = model.decoder(model.decoder.embed(torch.arange(100, 140)[None]), positions_BL=torch.arange(40)[None])
    return model.logits(hidden_1LD[0])


def test_all_weights_can_learn(tmp_path: Path, table: Path, small_base: Path) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base, steps=2, more='method = "full"')
    train_finetune(recipe)
    found = load_checkpoint(tmp_path / "out", dtype="float32")
    base = load_checkpoint(small_base, dtype="float32").model.state_dict()
    moved = {name for name, value in found.model.state_dict().items() if not torch.equal(value, base[name])}
    for part in ("vision_tower", "multi_modal_projector", "language_model.layers.2", "language_model.embed_tokens"):
        assert any(name.startswith(part) for name in moved), part
