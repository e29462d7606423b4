"""A fine-tuning on films of synthetic patients, from rendering to the commands that use what was taught."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.engine.load import load
from osler.engine.session import Session
from osler.engine.words import Words
from osler.errors import RequestError
from osler.model.config import HeadsConfig
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.tasks.box_tokens import ABSENT, box_token_question, written_boxes
from osler.tasks.locate import locate
from osler.train.film_lessons import FilmLesson
from osler.train.film_samples import FilmSamples
from osler.train.finetune_model import build_learner, image_encoder
from osler.train.finetune_stage import train_finetune
from osler.train.recipe import FinetuneRecipe, OptimizerConfig
from osler.train.synthetic_films import Film
from osler.train.taught import micro_batch
from osler.weights.checkpoint import load_checkpoint
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_file import read_gguf
from osler.weights.osler_folder import save_osler_folder
from osler.weights.tokenizer import GemmaTokenizer
from tests.train.small_base import small_config

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = ("record", "report", "boxes", "box-tokens")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small base with heads."""
    torch.manual_seed(3)
    config = dataclasses.replace(small_config(), heads=HeadsConfig(findings=("pneumothorax",), heads=2, trunk=1))
    model = Osler(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05)
    folder = tmp_path_factory.mktemp("base") / "seeing"
    tokenizer = GemmaTokenizer.from_gguf(read_gguf(embedded_gguf()))
    save_osler_folder(model, folder, preprocess=preprocess_for(config), tokenizer=tokenizer)
    return folder


def _recipe(folder: Path, *, base: Path, films: Path, **changes: object) -> FinetuneRecipe:
    recipe = FinetuneRecipe(
        stage="finetune",
        out=str(folder / "out"),
        films=str(films),
        film_patients=30,
        base=str(base),
        tasks=TASKS,
        rank=4,
        micro_batch=2,
        kept_out=0.3,
        judged=4,
        workers=1,
        precision="float32",
        optimizer=OptimizerConfig(steps=3, batch=4, learning_rate=1e-2, warmup=1, weight_decay=0.0, average=0.0),
    )
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path, films: Path) -> Path:
    return train_finetune(_recipe(tmp_path_factory.mktemp("run"), base=base, films=films))


def test_a_run_learns_all_tasks_and_lists_them(trained: Path) -> None:
    summary = json.loads((trained / "run" / "summary.json").read_text())
    assert set(summary["lessons"]) == set(TASKS)
    assert all(summary["lessons"][task] > 0 for task in ("report", "boxes", "box-tokens"))
    assert summary["kept_out"]["after"]["loss"] < summary["kept_out"]["before"]["loss"]
    assert load_checkpoint(trained, dtype="float32").trained >= {"answers", "reports", "box_text", "box_tokens"}


def test_no_patient_is_both_learned_and_kept_out(trained: Path) -> None:
    taken = [json.loads(line) for line in (trained / "run" / "samples-0.jsonl").read_text().splitlines()]
    learned = {name.split(" exam")[0] for line in taken for name in line["samples"]}
    from osler.train.local_table import is_kept_out

    assert learned
    assert not any(is_kept_out(f"synthetic {name.removeprefix('patient ')}", share=0.3) for name in learned)


def _picture() -> Study:
    pixels = ArrayPixels(np.random.default_rng(0).integers(0, 255, (40, 36)).astype(np.uint8))
    return Study(timepoints=(TimePoint(series=(Image(series="x", pixels=pixels, modality="DX"),)),))


def test_locate_reads_box_tokens_back(trained: Path) -> None:
    session = load(str(trained), bits=32, studies="memory")
    answer = locate(session, _picture(), ["heart"])
    said = " ".join(answer.warnings)
    assert "box token" in said
    # Whether the token comes is the decoder's say: with the token made certain, a box comes.
    token = session.model.config.tokens.box
    absent = session.checkpoint.tokenizer.encode(ABSENT)[0]
    logits = session.model.logits
    session.model.logits = lambda hidden: logits(hidden).index_fill(-1, torch.tensor([token]), 99.0)  # type: ignore[method-assign]
    (box,) = written_boxes(session, _picture(), labels=["heart"])
    assert box.score > 0.9
    assert box.box is not None
    assert 0 <= box.box.x0 < box.box.x1 <= session.checkpoint.preprocess.image_size
    (found,) = locate(session, _picture(), ["heart"]).boxes
    assert found.pixel is not None
    assert found.pixel.x1 <= 36.5
    session.model.logits = lambda hidden: logits(hidden).index_fill(-1, torch.tensor([absent]), 99.0)  # type: ignore[method-assign]
    assert written_boxes(session, _picture(), labels=["heart"]) == []


def _noise() -> Film:
    pixels = np.random.default_rng(1).integers(0, 255, (32, 32)).astype(np.uint8)
    return Film(pixels=pixels, patient=1, exam=0, day=0, view="PA", boxes={}, findings={})


def test_a_box_token_teaches_the_decoder_where(base: Path, films: Path, tmp_path: Path) -> None:
    """The loss of the box reaches the adapter through the state of its token."""
    recipe = _recipe(tmp_path, base=base, films=films, box_weight=20.0)
    learner = build_learner(recipe, device=torch.device("cpu"))
    film = _noise()
    lesson = FilmLesson(
        task="box-tokens", film=0, question=box_token_question("heart"), answer="", label="heart", box=(2, 20, 12, 30)
    )
    source = FilmSamples(
        [film], [lesson], checkpoint=learner.checkpoint, encode=image_encoder(learner), folder=tmp_path / "kept"
    )
    sample = source[0]
    tokens = learner.model.config.tokens
    answer = sample.token_ids[sample.answer_mask]
    assert answer.tolist()[0] == tokens.box
    assert (sample.token_ids == tokens.box).sum() == 1
    assert sample.boxes_Q6 is not None
    torch.testing.assert_close(sample.boxes_Q6[0, [0, 1, 3, 4]], torch.tensor([2, 20, 12, 30]) / 32)
    micro = micro_batch([sample], pad=tokens.pad)
    with_box, each, _ = learner.teacher(micro)
    assert float(with_box.detach()) > float(each.sum())
    without_box, _, _ = learner.teacher(dataclasses.replace(micro, boxes_Q6=None))
    (with_box - without_box).backward()  # of the box alone
    assert [p for p in learner.trainable().values() if p.grad is not None and float(p.grad.abs().sum()) > 0]


def test_a_sample_is_told_what_inference_tells(base: Path, films: Path, tmp_path: Path) -> None:
    telling = tmp_path / "telling"
    shutil.copytree(base, telling)
    content = json.loads((telling / "config.json").read_text())
    content["heads"]["told"] = content["heads"]["findings"]
    (telling / "config.json").write_text(json.dumps(content))
    learner = build_learner(_recipe(tmp_path, base=telling, films=films), device=torch.device("cpu"))
    film = _noise()
    lesson = FilmLesson(task="record", film=0, question="Is there air?", answer="No", needs="image")
    boxes = FilmLesson(task="boxes", film=0, question="Where?", answer="", label="heart", box=(2, 20, 12, 30))
    passes: list[tuple[int, int]] = []

    def samples() -> FilmSamples:
        return FilmSamples(
            [film],
            [lesson, boxes],
            checkpoint=learner.checkpoint,
            encode=image_encoder(learner),
            folder=tmp_path / "kept",
            on_progress=lambda done, total: passes.append((done, total)),
        )

    source = samples()
    assert passes == [(1, 2), (2, 2), (1, 1)]  # seen in two forms, told of once
    sample, session = source[0], Session(learner.checkpoint)
    study = source._study(0)
    prompt = session._inputs(study, Words(question=lesson.question), on_progress=None).token_ids
    assert sample.token_ids[: len(prompt)].tolist() == list(prompt)
    line = session.heads["findings"].told(session, study)
    assert line.startswith("The findings head reads: pneumothorax:")
    assert line in learner.checkpoint.tokenizer.decode(source[1].token_ids.tolist())
    passes.clear()
    again = samples()
    assert passes == []
    assert again[0].token_ids.tolist() == sample.token_ids.tolist()
    heads = learner.checkpoint.model.heads
    assert heads is not None
    findings = content["heads"]["told"]
    heads.config = dataclasses.replace(heads.config, told_levels=[(1.0,) * 4 for _ in findings])
    other = Session(learner.checkpoint).heads["findings"].told(session, study)
    assert other.count(": no") == len(findings) != line.count(": no")


def test_weights_without_a_box_head_are_not_taught_box_tokens(small_base: Path, films: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no box head that could read box tokens"):
        train_finetune(_recipe(tmp_path, base=small_base, films=films))


def test_long_answers_count_as_short_ones_where_samples_are_weighed(base: Path, films: Path, tmp_path: Path) -> None:
    film = _noise()
    lessons = [
        FilmLesson(task="record", film=0, question="Is there air?", answer=answer, needs="image")
        for answer in ("No", "No, there is none of it, and nothing else that would be worth a word either.")
    ]
    losses = {}
    for weigh in ("tokens", "samples"):
        recipe = _recipe(tmp_path, base=base, films=films, weigh=weigh)
        learner = build_learner(recipe, device=torch.device("cpu"))
        source = FilmSamples(
            [film], lessons, checkpoint=learner.checkpoint, encode=image_encoder(learner), folder=tmp_path / "kept"
        )
        micro = micro_batch([source[0], source[1]], pad=learner.model.config.tokens.pad)
        loss, each_B, _ = learner.teacher(micro)
        losses[weigh] = float(loss.detach()) / learner.teacher.units(micro)
    counts = torch.tensor([float(source[number].answer_mask.sum()) for number in range(2)])
    assert losses["tokens"] == pytest.approx(float(each_B.sum() / counts.sum()), rel=1e-5)
    assert losses["samples"] == pytest.approx(float((each_B / counts).mean()), rel=1e-5)
