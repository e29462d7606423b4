"""The how-to at small size: Osler-mini learns from a few pictures what kept-out pictures then show."""

from __future__ import annotations

import json
from pathlib import Path

from osler.engine.session import Session
from osler.readers import open_study
from osler.weights.checkpoint import load_checkpoint
from tests.cli.mini import needs_mini
from tests.cli.running import invoke
from tests.train.small_base import write_pictures, write_table


@needs_mini
def test_osler_mini_learns_from_a_table(tmp_path: Path) -> None:
    rows = [
        {
            "path": name,
            "question": "Which film is it?",
            "answer": "A dark film." if number % 2 else "A bright film.",
            "split": "kept-out" if number >= 6 else "train",
        }
        for number, name in enumerate(write_pictures(tmp_path, count=8))
    ]
    csv_path = write_table(tmp_path / "scans.csv", rows)
    recipe = tmp_path / "run.toml"
    recipe.write_text(
        f'stage = "finetune"\ncsv = "{csv_path}"\nout = "{tmp_path / "my-model"}"\nmicro_batch = 4\n'
        "[optimizer]\nsteps = 6\nbatch = 4\nlearning_rate = 1e-3\nwarmup = 1\nweight_decay = 0.0\n"
    )
    done = invoke("train", recipe, "--json")
    assert done.exit_code == 0, done.output
    (made,) = json.loads(done.stdout)["made"]
    measured = made["kept_out"]
    assert measured["before"]["samples"] == 2
    assert measured["after"]["loss"] < 0.5 * measured["before"]["loss"]
    checkpoint = load_checkpoint(tmp_path / "my-model")
    assert checkpoint.name == "my-model"
    answer = Session(checkpoint, studies="memory").ask(open_study(tmp_path / "scan6.png"), "Which film is it?")
    assert "film" in answer.text
