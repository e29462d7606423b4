"""Parts that learn on a base without them: identities first, then taught, kept, written, and read by a session."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from osler.engine.load import load
from osler.engine.session import Session
from osler.errors import RequestError
from osler.readers import open_study
from osler.train.distributed import Place
from osler.train.finetune_model import Learner, build_learner
from osler.train.finetune_stage import Lessons, _lessons, train_finetune
from osler.train.recipe import FinetuneRecipe, load_recipes
from osler.train.taught import MicroBatch, micro_batch
from osler.weights.checkpoint import load_checkpoint
from osler.weights.parts import keep_parts
from osler.weights.safetensors_io import read_safetensors
from tests.train.small_base import recipe_text, write_table

QUESTION = "Is the top bright?"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes of 16 to 18 slices that are bright at one end: slice means alone do not tell which; and one picture."""
    folder = tmp_path_factory.mktemp("volumes")
    rows: list[dict[str, object]] = []
    for number in range(8):
        rng = np.random.default_rng(number)
        voxels = rng.normal(100, 10, (24, 20, 16 + number % 3))
        top = number % 2 == 0
        voxels[:, :, 8:] += 150 * top
        voxels[:, :, :8] += 150 * (not top)
        path = folder / f"volume{number}.nii"
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([2.0, 2.0, 5.0, 1.0])), path)
        split = "kept-out" if number > 5 else "train"
        rows.append({"path": path.name, "question": QUESTION, "answer": "Yes." if top else "No.", "split": split})
    return write_table(folder / "data.csv", rows)


def _recipe(folder: Path, *, table: Path, base: Path, more: str, steps: int = 6) -> FinetuneRecipe:
    folder.mkdir(exist_ok=True)
    path = folder / "run.toml"
    path.write_text(recipe_text(base=base, csv_path=table, out=folder / "out", steps=steps, more=more))
    (recipe,) = load_recipes(path)
    assert isinstance(recipe, FinetuneRecipe)
    return recipe


BOTH = 'parts = ["volume", "adapter"]\nvisual_tokens = 6'


def _ready(recipe: FinetuneRecipe) -> tuple[Learner, Lessons]:
    place = Place(rank=0, world=1, device=torch.device("cpu"))
    learner = build_learner(recipe, device=place.device)
    return learner, _lessons(recipe, learner=learner, place=place, listener=None)


def _micro(learner: Learner, lessons: Lessons) -> MicroBatch:
    samples = [lessons.source[number] for number in range(4)]
    return micro_batch(samples, pad=learner.model.config.tokens.pad)


def _open_gates(learner: Learner) -> None:
    with torch.no_grad():
        for name, parameter in learner.trainable().items():
            if name.endswith("gate"):
                parameter.fill_(0.5)
            elif name.endswith("lora_B"):
                parameter.normal_(std=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tubelets", ["frozen", "learn"])
def test_before_the_first_update_nothing_changes(
    tmp_path: Path, table: Path, small_base: Path, precision: str, tubelets: str
) -> None:
    losses = []
    for name, more in (("plain", "visual_tokens = 6"), ("parts", f'{BOTH}\ntubelets = "{tubelets}"')):
        recipe = _recipe(tmp_path / name, table=table, base=small_base, more=more)
        recipe = dataclasses.replace(recipe, precision=precision)
        learner, lessons = _ready(recipe)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            losses.append(learner.teacher(_micro(learner, lessons))[0])
    assert torch.equal(*losses)


def test_every_part_gets_a_gradient(tmp_path: Path, table: Path, small_base: Path) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base, more=f'{BOTH}\ntubelets = "learn"')
    learner, lessons = _ready(recipe)
    gates = {name for name in learner.trainable() if name.endswith("gate")}
    learner.teacher(_micro(learner, lessons))[0].backward()
    moved = {name for name, p in learner.trainable().items() if p.grad is not None and p.grad.abs().sum() > 0}
    assert gates <= moved  # closed gates open first
    assert "model.volume.deviation" in moved
    _open_gates(learner)
    learner.teacher(_micro(learner, lessons))[0].backward()
    dead = {name for name, p in learner.trainable().items() if p.grad is None or not p.grad.abs().sum() > 0}
    assert dead == set()
    kinds = {name.split(".")[1] for name in learner.trainable()}
    assert kinds == {"volume", "volume_projection", "adapter", "language_model"}


def test_what_is_not_named_stays_as_it_is(tmp_path: Path, table: Path, small_base: Path) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base, more=f'{BOTH}\nmethod = "parts"')
    learner, _ = _ready(recipe)
    kinds = {name.split(".")[1] for name in learner.trainable()}
    assert kinds == {"volume_projection", "adapter"}  # tubelets are frozen
    assert {p.dtype for p in learner.trainable().values()} == {torch.float32}


def test_a_long_prompt_computed_again_has_the_same_gradient(tmp_path: Path, table: Path, small_base: Path) -> None:
    grads = []
    for keep in (10_000, 0):
        recipe = _recipe(tmp_path, table=table, base=small_base, more=f"{BOTH}\nkeep_tokens = {keep}")
        learner, lessons = _ready(recipe)
        _open_gates(learner)
        learner.teacher(_micro(learner, lessons))[0].backward()
        grads.append({name: p.grad for name, p in learner.trainable().items() if ".lora" not in name})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-6)


def test_samples_teach_alike_alone_and_together(tmp_path: Path, table: Path, small_base: Path) -> None:
    """Volumes of several depths in one micro-batch are not mixed, and padding of the memory is not read."""
    recipe = _recipe(tmp_path, table=table, base=small_base, more=BOTH)
    learner, lessons = _ready(recipe)
    _open_gates(learner)
    pad = learner.model.config.tokens.pad
    with torch.no_grad():
        together = learner.teacher(_micro(learner, lessons))[1]
        alone = [learner.teacher(micro_batch([lessons.source[number]], pad=pad))[1] for number in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert len({len(lessons.source[number].reading.cells_STV) for number in range(4)}) > 1  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, table: Path, small_base: Path) -> Path:
    """A run without a break."""
    folder = tmp_path_factory.mktemp("straight")
    torch.set_num_threads(1)
    train_finetune(_recipe(folder, table=table, base=small_base, more=BOTH, steps=12))
    return folder


def _losses(folder: Path) -> list[float]:
    lines = (folder / "out" / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_the_loss_falls_and_the_session_uses_what_was_learned(straight: Path, table: Path, small_base: Path) -> None:
    losses = _losses(straight)
    assert losses[-1] < losses[0] - 0.3
    out = load_checkpoint(straight / "out", dtype="float32")
    assert (out.model.volume_projection is None, out.model.adapter is None) == (False, False)
    gates = [parameter for name, parameter in out.model.named_parameters() if name.endswith("gate")]
    assert all(gate.abs().max() > 1e-3 for gate in gates)
    found = set()
    for kept in (None, ["adapter"], ["volume"], []):
        session = Session(keep_parts(load_checkpoint(straight / "out", dtype="float32"), kept), studies="memory")
        found.add(_answer_loss(session.seeing(6), table.parent / "volume0.nii", answer="Yes."))
        assert session.seeing(6).ask(open_study(table.parent / "volume0.nii"), QUESTION, max_tokens=3).text
    assert len(found) == 4


def test_what_is_loaded_computes_what_was_taught(tmp_path: Path, table: Path, small_base: Path) -> None:
    """Parts alone, so that no adapter on the decoder is rounded on merging: the very same logits."""
    recipe = _recipe(tmp_path, table=table, base=small_base, more=f'{BOTH}\nmethod = "parts"')
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, average=0.0))
    train_finetune(recipe)
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()
    learner, lessons = _ready(recipe)
    state = read_safetensors(tmp_path / "out" / "run" / "resume.safetensors").tensors
    with torch.no_grad():
        for name, parameter in learner.trainable().items():
            parameter.copy_(state[f"weights/{name}"])
        taught = learner.teacher(_micro(learner, lessons))[1]
        found = load_checkpoint(tmp_path / "out", dtype="float32").model
        learner.teacher.model = found
        loaded = learner.teacher(_micro(learner, lessons))[1]
    assert torch.equal(taught, loaded)


def test_training_and_session_see_the_same(straight: Path, table: Path, small_base: Path, tmp_path: Path) -> None:
    """The loss of the teacher is that of the session's own prefill, with memory and tokens of slabs."""
    recipe = _recipe(tmp_path, table=table, base=small_base, more=BOTH)
    learner, lessons = _ready(recipe)
    checkpoint = load_checkpoint(straight / "out", dtype="float32")
    learner.teacher.model = checkpoint.model
    with torch.no_grad():
        taught = float(learner.teacher(micro_batch([lessons.source[0]], pad=0))[1])
    session = Session(checkpoint, studies="memory").seeing(6)
    scored = _answer_loss(session, table.parent / "volume0.nii", answer="Yes.")
    assert math.isclose(taught, scored, rel_tol=1e-3)


def _answer_loss(session: Session, path: Path, *, answer: str) -> float:
    from osler.prepare import assemble

    study, checkpoint = open_study(path), session.checkpoint
    inputs = assemble(
        session.prepare(study),
        QUESTION,
        study=study,
        preprocess=checkpoint.preprocess,
        tokenizer=checkpoint.tokenizer,
        tokens=checkpoint.model.config.tokens,
        answer=answer,
    )
    features = session._slabs.encode_shown(inputs, images=session._features)
    memory = session._memories.of(inputs)
    ids = torch.from_numpy(np.asarray(inputs.token_ids))[None]
    cache = session.runner.new_cache(planned=ids.shape[1])
    total, wanted = 0.0, np.asarray(inputs.answer_mask)
    first = int(wanted.argmax())
    with torch.no_grad():
        logits = session.runner.read(ids[:, :first], features_NTD=features, cache=cache, memory=memory)
        for place in range(first, ids.shape[1]):
            if wanted[place]:
                total -= float(logits.float().log_softmax(-1)[0, ids[0, place]])
            logits = session.runner.step(ids[:, place], cache=cache, memory=memory)
    return total


class _KilledError(Exception):
    pass


def test_a_broken_run_goes_on_to_the_same_bits(tmp_path: Path, table: Path, small_base: Path, straight: Path) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base, more=BOTH, steps=12)

    def kill(metrics: Mapping[str, float]) -> None:
        if metrics.get("step") == 7:
            raise _KilledError

    with pytest.raises(_KilledError):
        train_finetune(recipe, listener=kill)
    train_finetune(recipe)
    for name in ("adapter_model.safetensors", "parts.safetensors", "run/resume.safetensors"):
        expected, found = (read_safetensors(folder / "out" / name).tensors for folder in (straight, tmp_path))
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_a_run_from_before_there_were_parts_goes_on(tmp_path: Path, table: Path, small_base: Path) -> None:
    recipe = _recipe(tmp_path, table=table, base=small_base, more="", steps=2)
    train_finetune(recipe)
    plan = tmp_path / "out" / "run" / "plan.json"
    old = json.loads(plan.read_text())
    for key in ("parts", "parts_rate", "tubelets", "visual_tokens", "phantoms", "phantom_patients", "phantom_seed"):
        del old[key]
    plan.write_text(json.dumps(old))
    longer = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, steps=4))
    train_finetune(longer)
    assert len(_losses(tmp_path)) == 4
    with pytest.raises(RequestError, match=r"another parts, visual_tokens\."):
        train_finetune(dataclasses.replace(longer, parts=("volume",), visual_tokens=6))


def test_quantized_weights_have_the_parts(straight: Path, table: Path) -> None:
    session = load(str(straight / "out"), bits=8, studies="memory")
    assert session.model.adapter is not None
    expected = read_safetensors(straight / "out" / "parts.safetensors").tensors["adapter.layers.2.gate"]
    torch.testing.assert_close(session.model.adapter.layers["2"].gate.float(), expected, rtol=1e-2, atol=1e-3)
    assert session.seeing(6).ask(table.parent / "volume0.nii", QUESTION, max_tokens=2).text is not None


def test_a_picture_and_a_box_stand_beside_volumes(tmp_path: Path, table: Path, small_base: Path) -> None:
    from tests.train.small_base import write_pictures

    (name,) = write_pictures(tmp_path, count=1)
    rows = [
        {"path": name, "question": "What is it?", "answer": "A picture.", "label": "", "x0": ""},
        {"path": table.parent / "volume0.nii", "question": QUESTION, "answer": "Yes.", "label": "", "x0": ""},
        {"path": name, "question": "", "answer": "", "label": "spot", "x0": 1},
    ]
    rows = [{**row, "split": "train", "y0": row["x0"], "x1": 9, "y1": 9} for row in rows]
    csv_path = write_table(tmp_path / "data.csv", rows)
    recipe = _recipe(tmp_path / "run", table=csv_path, base=small_base, more=BOTH, steps=2)
    train_finetune(recipe)
    assert "not from boxes" in (tmp_path / "run" / "out" / "run" / "unreadable.csv").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('parts = ["volum"]', r"Unknown part that can learn 'volum'.*Did you mean 'volume'"),
        ('parts = ["heads"]', "Unknown part that can learn 'heads'"),
        ('parts = ["volume"]', "slice by slice.*Set visual_tokens"),
        ('method = "parts"', "none is named"),
        ('method = "full"\nparts = ["adapter"]', "All weights learn"),
        ('tubelets = "learn"\nparts = ["adapter"]', "Tubelets learn with the volumetric path only"),
        ("visual_tokens = -1", "visual_tokens is -1"),
    ],
)
def test_choices_that_make_no_sense_are_refused(
    tmp_path: Path, table: Path, small_base: Path, more: str, message: str
) -> None:
    with pytest.raises(RequestError, match=f"(?s){message}"):
        _recipe(tmp_path, table=table, base=small_base, more=more)


def test_parts_need_scans_and_an_image_tower(tmp_path: Path, table: Path, small_base: Path) -> None:
    with pytest.raises(RequestError, match="stand beside films"):
        FinetuneRecipe(stage="finetune", out="x", films="y", parts=("adapter",))
    recipe = FinetuneRecipe(stage="finetune", out="x", csv="y", base="gemma-3-270m", parts=("adapter",))
    with pytest.raises(RequestError, match="reads text only, so it has no place for adapter"):
        build_learner(recipe, device=torch.device("cpu"))
