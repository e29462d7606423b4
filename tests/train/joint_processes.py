"""What `test_distributed_joint` starts by torchrun: one process of several small runs, one after the other."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import TrainingError
from osler.train import joint_stage, perception_losses, perception_stage, run_stage
from osler.train.heads_recipe import PerceptionRecipe
from osler.train.joint_answers import JointAnswers
from osler.train.perception_data import PerceptionData
from osler.train.recipe import JointRecipe
from tests.train.small_base import tokenizers_read_once
from tests.train.small_joint import joint_data, joint_recipe

RANK = os.environ.get("RANK", "0")
_KILL = 3
_NAN = 0x7FC0
"""Of bfloat16."""


def recipe_of(folder: Path, *, base: Path, films: Path) -> JointRecipe:
    """Patients, X-rays, volumes and questions to judge by that two processes share unequally."""
    recipe = joint_recipe(folder, base=base, films=films)
    return dataclasses.replace(
        recipe,
        states="batch",
        shares=dataclasses.replace(recipe.shares, series=3, xrays=3, volumes=1),
        answers=dataclasses.replace(recipe.answers, samples=4, judged=5),
        optimizer=dataclasses.replace(recipe.optimizer, average=0.5),
    )


def perception_of(recipe: JointRecipe, folder: Path) -> PerceptionRecipe:
    """The heads alone."""
    names = {field.name for field in dataclasses.fields(PerceptionRecipe)} - {"weights"}
    own = {name: getattr(recipe, name) for name in names if hasattr(recipe, name)}
    return PerceptionRecipe(**own | {"stage": "perception", "out": str(folder)})


def train(recipe: JointRecipe | PerceptionRecipe, *, data: PerceptionData) -> None:
    """Runs the stage on data that are there; pictures meet the reports of an update alone, of few patients in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perception_losses, "OTHER_REPORTS", 0)
        for stage in (joint_stage, perception_stage):
            patch.setattr(stage, "open_perception_data", lambda recipe, checkpoint, on_report: data)
        run_stage(recipe, listener=lambda metrics: None)


def _train_and_copy(recipe: JointRecipe, *, data: PerceptionData, copy: Path) -> None:
    """Trains, and copies the folder as a kill would leave it: an update later than the state that was saved last."""
    update = joint_stage.update

    def watched(run: joint_stage.JointRun, *, step: int, **more: object) -> dict[str, float]:
        run.place.wait()
        if step == _KILL and run.place.first:
            shutil.copytree(recipe.out, copy)
        run.place.wait()
        return update(run, step=step, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_stage, "update", watched)
        train(recipe, data=data)


def _told(recipe: JointRecipe, *, data: PerceptionData) -> None:
    """Writes down with what this process stopped."""
    with pytest.raises(TrainingError) as stopped:
        train(recipe, data=data)
    Path(f"{recipe.out}-{RANK}.txt").write_text(str(stopped.value), encoding="utf-8")


def _broken(data: PerceptionData) -> PerceptionData:
    """X-rays that are not numbers in the second process."""
    rows = np.full_like(data.xray_bank.rows, _NAN)
    return data if RANK == "0" else dataclasses.replace(
        data, xray_bank=dataclasses.replace(data.xray_bank, rows=rows)
    )  # fmt: skip


def _breaking(open_answers: Callable[..., JointAnswers]) -> Callable[..., JointAnswers]:
    """Questions whose films are not numbers in the second process, but for those to judge by."""

    def opened(*given: object, **named: object) -> JointAnswers:
        answers = open_answers(*given, **named)
        rows, source = np.array(answers.source._tokens), answers.source
        for number in answers.order.numbers if RANK == "1" else ():
            rows[source._rows[source.lessons[number].film, "plain"]] = _NAN
        source._tokens = rows
        return answers

    return opened


def main(folder: Path, *, base: Path, films: Path, banks: Path) -> None:
    """Runs all."""
    data = joint_data(banks, base=base, films=films)
    first = recipe_of(folder / "two", base=base, films=films)

    def named(name: str) -> JointRecipe:
        return dataclasses.replace(first, out=str(folder / name))

    _train_and_copy(named("two"), data=data, copy=folder / "again")
    train(named("again"), data=data)
    _told(named("xrays"), data=_broken(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_stage, "open_answers", _breaking(joint_stage.open_answers))
        _told(named("questions"), data=data)
    train(perception_of(first, folder / "heads-two"), data=data)
    train(dataclasses.replace(named("half"), precision="bfloat16"), data=data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    places = [Path(given) for given in sys.argv[1:]]
    with tokenizers_read_once():
        main(places[0], base=places[1], films=places[2], banks=places[3])
