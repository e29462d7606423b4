"""Recipes load, and mistakes in them are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.train.recipe import (
    AnswersRecipe,
    FinetuneRecipe,
    JointRecipe,
    PerceptionRecipe,
    VisionRecipe,
    load_recipes,
)

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_recipe_loads(path: Path) -> None:
    kinds = VisionRecipe | AnswersRecipe | PerceptionRecipe | JointRecipe | FinetuneRecipe
    assert all(isinstance(recipe, kinds) for recipe in load_recipes(path))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_recipe_starts_with_its_command(path: Path) -> None:
    assert f"osler train recipes/{path.name}" in path.read_text(encoding="utf-8")


def _write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


BASE = 'stage = "vision"\nconfig = "debug"\ndata = "generated"\nout = "x"\n'
OPTIMIZER = "[optimizer]\nsteps = 1\nbatch = 1\nlearning_rate = 1e-3\n"


def test_unknown_key_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Did you mean 'pictures'"):
        load_recipes(_write(tmp_path, BASE + "picturs = 3\n" + OPTIMIZER))


def test_unknown_key_in_a_table_is_named_with_its_table(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"optimizer 'warmpu'.*Did you mean 'warmup'"):
        load_recipes(_write(tmp_path, BASE + OPTIMIZER + "warmpu = 3\n"))


def test_a_weight_that_the_heads_do_not_learn_by_is_refused(tmp_path: Path) -> None:
    text = (RECIPES / "mini_perception.toml").read_text(encoding="utf-8")
    assert "[weights]" in text
    with pytest.raises(RequestError, match="next_token"):
        load_recipes(_write(tmp_path, text.replace("[weights]", "[weights]\nnext_token = 1.0")))


def test_wrong_type_and_choice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="pictures is 'many'"):
        load_recipes(_write(tmp_path, BASE + 'pictures = "many"\n' + OPTIMIZER))
    with pytest.raises(RequestError, match="float16"):
        load_recipes(_write(tmp_path, BASE + 'precision = "float16"\n' + OPTIMIZER))


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="lacks learning_rate"):
        load_recipes(_write(tmp_path, BASE + "[optimizer]\nsteps = 1\nbatch = 1\n"))


def test_absent_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No recipe at"):
        load_recipes(tmp_path / "nothing.toml")
    with pytest.raises(RequestError, match="is not TOML"):
        load_recipes(_write(tmp_path, "stage = = 3"))


def test_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Did you mean 'vision'"):
        load_recipes(_write(tmp_path, 'stage = "visoin"\n'))


def test_stages_run_in_order(tmp_path: Path) -> None:
    stage = "[[stages]]\n" + BASE + OPTIMIZER.replace("[optimizer]", "[stages.optimizer]")
    assert len(load_recipes(_write(tmp_path, stage + stage))) == 2


def _finetune(folder: Path, text: str) -> None:
    load_recipes(_write(folder, f'stage = "finetune"\nout = "x"\n{text}'))


def test_fine_tuning_needs_exactly_one_source(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r'neither csv nor reports.*Add csv = "DATA\.csv"'):
        _finetune(tmp_path, "")
    with pytest.raises(RequestError, match="csv and reports together"):
        _finetune(tmp_path, 'csv = "a"\nreports = "b"')
    _finetune(tmp_path, 'csv = "a"')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kept_ot = 0.1", "Did you mean 'kept_out'"),
        ("kept_out = 1.0", r"kept_out is 1\.0"),
        ("rank = 0", "rank is 0"),
        ('method = "lorra"', "Did you mean 'lora'"),
    ],
)
def test_fine_tuning_refuses_what_makes_no_sense(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        _finetune(tmp_path, f'csv = "a"\n{line}')


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("micro_batch =", "micro_bach =", r"answers 'micro_bach'.*Did you mean 'micro_batch'"),
        ("next_token =", "next_tokn =", r"weights 'next_tokn'.*Did you mean 'next_token'"),
        ("trunk =", 'ship = "x"\ntrunk =', "'ship'"),
        ('tasks = ["record"', 'tasks = ["recrd"', "Did you mean 'record'"),
        ("skills = [", 'skills = ["boxs"] #', "Did you mean 'boxes'"),
        ("kept_out =", "kept_out = 1.0 #", r"answers\.kept_out is 1\.0"),
        ("trunk =", "trunk = 0 #", "trunk is 0"),
        ("slices =", "slices = 0 #", "slices is 0"),
        ("series =", "series = 0 #", r"shares\.series is 0"),
        ("next_token =", "next_token = -1.0 #", r"weights\.next_token is -1\.0"),
        ("average =", "average = 1.5 #", r"optimizer\.average is 1\.5"),
        ("rate = 0.3", "rate = -1.0 #", r"answers\.rate is -1\.0"),
    ],
)
def test_mistakes_in_a_joint_recipe_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (RECIPES / "joint.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(RequestError, match=message):
        load_recipes(_write(tmp_path, text.replace(old, new, 1)))


def test_a_joint_recipe_in_which_nothing_counts_is_refused(tmp_path: Path) -> None:
    text = (RECIPES / "joint.toml").read_text(encoding="utf-8")
    head, _, weights = text.partition("[weights]")
    nothing = re.sub(r"= [\d.]+", "= 0.0", weights)
    with pytest.raises(RequestError, match="All weights are 0"):
        load_recipes(_write(tmp_path, f"{head}[weights]{nothing}"))
