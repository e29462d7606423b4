"""Rows go through the reader and the contract of inference, whatever the modality."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from osler.engine.options import Decoding
from osler.engine.session import Session
from osler.engine.words import Words
from osler.errors import DataError
from osler.prepare import assemble, prepare_images, with_visual_tokens
from osler.readers import open_study
from osler.train.finetune_model import build_learner, image_encoder
from osler.train.local_scans import KeptSamples, LocalScans, ScanKeeper
from osler.train.local_table import LocalRow, LocalTable, is_kept_out, read_local_table
from osler.train.recipe import FinetuneRecipe
from osler.train.taught import micro_batch
from osler.train.teacher import AnswerTeacher
from osler.weights.checkpoint import load_checkpoint
from tests.readers import make_slide
from tests.readers.make_dicom import ramp, write_series
from tests.train.small_base import questions, write_pictures, write_table


@pytest.fixture(scope="module")
def keeper(small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> ScanKeeper:
    recipe = FinetuneRecipe(stage="finetune", out="x", csv="x", base=str(small_base), precision="float32")
    learner = build_learner(recipe, device=torch.device("cpu"))
    return ScanKeeper(
        checkpoint=learner.checkpoint,
        encode=image_encoder(learner),
        folder=tmp_path_factory.mktemp("scans"),
        method="lora",
        slices=4,
    )


@pytest.fixture(scope="module")
def session(small_base: Path) -> Session:
    return Session(load_checkpoint(small_base, dtype="float32"), studies="memory")


def _scan(folder: Path, *, kind: str) -> Path:
    if kind == "picture":
        return folder / write_pictures(folder, count=1)[0]
    if kind == "dicom":
        write_series(folder / "ct", volume=ramp(slices=5, rows=16, columns=16))
        return folder / "ct"
    if kind == "nifti":
        voxels = np.random.default_rng(0).normal(size=(16, 18, 6)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 3, 1])), folder / "mr.nii.gz")
        return folder / "mr.nii.gz"
    pytest.importorskip("tiffslide", reason="the extra 'slides' is not installed")
    pixels = make_slide.tissue_pixels(width=2000, height=1900, blobs=((0.4, 0.4, 0.3),))
    make_slide.write_svs(folder / "slide.svs", pixels)
    return folder / "slide.svs"


@pytest.mark.parametrize("kind", ["picture", "dicom", "nifti", "slide"])
def test_a_sample_is_what_inference_sees(tmp_path: Path, keeper: ScanKeeper, session: Session, kind: str) -> None:
    path = _scan(tmp_path, kind=kind)
    row = LocalRow(line=2, path=path, question="What is it?", answer="A scan.", split="train")
    scans = keeper.keep(LocalTable(rows=(row,), unreadable=(), digest=""), share=0.2)
    assert scans.unreadable == ()
    (sample,) = [KeptSamples(scans.train)[0]]
    study = open_study(path)
    prepared = session.prepare(study)
    checkpoint = session.checkpoint
    inputs = assemble(
        prepared,
        "What is it?",
        preprocess=checkpoint.preprocess,
        tokenizer=checkpoint.tokenizer,
        tokens=checkpoint.model.config.tokens,
        study=study,
    )
    assert scans.contracts == (inputs.preprocess_hash,)
    assert inputs.preprocess_hash == checkpoint.preprocess.hash
    prompt = sample.token_ids[: int(np.argmax(sample.answer_mask))]
    assert prompt.tolist() == inputs.token_ids.tolist()
    answer = sample.token_ids[sample.answer_mask].tolist()
    assert answer == [*checkpoint.tokenizer.encode("A scan."), checkpoint.model.config.tokens.end_of_turn]
    features = session.encode(prepared)
    assert features is not None
    assert sample.images is not None
    torch.testing.assert_close(sample.images, features.flatten(0, 1)[:, None], rtol=1e-5, atol=1e-6)


def _budgeted(small_base: Path, folder: Path, *, method: str) -> tuple[ScanKeeper, LocalTable]:
    """A keeper for weights that read volumes as 6 tokens, and a table of a CT and a picture."""
    recipe = FinetuneRecipe(
        stage="finetune", out="x", csv="x", base=str(small_base), precision="float32", method=method
    )
    learner = build_learner(recipe, device=torch.device("cpu"))
    contract = with_visual_tokens(learner.checkpoint.preprocess, 6)
    learner = dataclasses.replace(learner, checkpoint=dataclasses.replace(learner.checkpoint, preprocess=contract))
    keeper = ScanKeeper(
        checkpoint=learner.checkpoint, encode=image_encoder(learner), folder=folder / "kept", method=method, slices=4
    )
    rows = tuple(
        LocalRow(line=line, path=_scan(folder, kind=kind), question="What is it?", answer="A scan.", split="train")
        for line, kind in ((2, "dicom"), (3, "picture"))
    )
    return keeper, LocalTable(rows=rows, unreadable=(), digest="")


def test_volumes_in_a_budget_of_tokens_are_taught_as_inference_sees_them(
    tmp_path: Path, small_base: Path, session: Session
) -> None:
    keeper, table = _budgeted(small_base, tmp_path, method="lora")
    scans = keeper.keep(table, share=0.2)
    assert scans.unreadable == ()
    volume, picture = KeptSamples(scans.train)[0], KeptSamples(scans.train)[1]
    view = session.seeing(6)
    waiting = view._wait(
        table.rows[0].path, Words(question="What is it?"), decoding=Decoding(max_tokens=1), stop=(), on_progress=None
    )
    assert waiting.prompt.features_NTD is not None
    assert volume.images is not None
    assert len(volume.images) == len(waiting.prompt.features_NTD) <= 6
    torch.testing.assert_close(volume.images, waiting.prompt.features_NTD, rtol=1e-5, atol=1e-6)
    # Both go through the network together, whatever the size of their images.
    micro = micro_batch([volume, picture], pad=keeper.checkpoint.model.config.tokens.pad)
    model = keeper.checkpoint.model
    teacher = AnswerTeacher(model, preprocess=keeper.checkpoint.preprocess, keep_tokens=10_000)
    together, each_B, _ = teacher(micro)
    alone = [teacher(micro_batch([one], pad=model.config.tokens.pad))[0] for one in (volume, picture)]
    torch.testing.assert_close(each_B, torch.stack(alone).detach(), rtol=1e-4, atol=1e-4)
    assert together.isfinite()


def test_a_tower_that_learns_refuses_volumes_in_a_budget_of_tokens(tmp_path: Path, small_base: Path) -> None:
    keeper, table = _budgeted(small_base, tmp_path, method="full")
    scans = keeper.keep(table, share=0.2)
    assert [(entry.line, "fine-tune with an adapter" in entry.reason) for entry in scans.unreadable] == [(2, True)]
    assert len(scans.train) == 1


def test_boxes_are_prepared_as_locate_does(tmp_path: Path, keeper: ScanKeeper) -> None:
    names = write_pictures(tmp_path, count=1)
    rows = [{"path": names[0], "label": "spot", "x0": 4, "y0": 4, "x1": 20, "y1": 30}]
    scans = keeper.keep(read_local_table(write_table(tmp_path / "b.csv", rows)), share=0.0)
    square = dataclasses.replace(keeper.checkpoint.preprocess, aspect="pad-square")
    assert scans.contracts == (square.hash,)
    expected = keeper.encode(prepare_images(open_study(tmp_path / names[0]), preprocess=square))
    assert torch.equal(KeptSamples(scans.train)[0].images, expected.flatten(0, 1)[:, None])  # type: ignore[arg-type]


def _kept(keeper: ScanKeeper, folder: Path, rows: list[dict[str, object]]) -> LocalScans:
    return keeper.keep(read_local_table(write_table(folder / "t.csv", rows)), share=0.4)


def test_patients_are_never_on_both_sides(tmp_path: Path, keeper: ScanKeeper) -> None:
    rows = questions(write_pictures(tmp_path, count=12))
    rows = [{**row, "patient": f"P{number // 3}"} for number, row in enumerate(rows)]
    scans = _kept(keeper, tmp_path, rows)
    assert len(scans.train) + len(scans.kept_out) == 12
    for side, wanted in ((scans.train, False), (scans.kept_out, True)):
        lines = [int(place.name.split()[1]) for place in side]
        assert [is_kept_out(f"P{(line - 2) // 3}", share=0.4) for line in lines] == [wanted] * len(lines)


def test_what_cannot_be_read_is_listed_and_not_replaced(tmp_path: Path, keeper: ScanKeeper) -> None:
    names = write_pictures(tmp_path, count=3)
    (tmp_path / names[1]).write_bytes(b"not a picture")
    rows = [*questions([*names, "gone.png"]), {"path": names[0], "question": "", "answer": "x"}]
    scans = keeper.keep(read_local_table(write_table(tmp_path / "t.csv", rows)), share=0.0)
    assert [(entry.line, Path(entry.path).name) for entry in scans.unreadable] == [
        (3, names[1]),
        (5, "gone.png"),
        (6, names[0]),
    ]
    assert len(scans.train) == 2
    with pytest.raises(DataError, match=r"No row of the table is left to train on: 1 of 1 cannot be used"):
        _kept(keeper, tmp_path, [{"path": "gone.png", "question": "q", "answer": "a"}])


def test_a_scan_that_changed_is_prepared_again(tmp_path: Path, keeper: ScanKeeper) -> None:
    names = write_pictures(tmp_path, count=1, seed=1)
    row = [{**questions(names)[0], "split": "train"}]
    first = KeptSamples(_kept(keeper, tmp_path, row).train)[0].images
    write_pictures(tmp_path, count=1, seed=2)
    second = KeptSamples(_kept(keeper, tmp_path, row).train)[0].images
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)
