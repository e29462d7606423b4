"""Boxes of a user's table teach a second box head; the base's head, and its answers, stay as they are."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import osler
from osler.engine.session import Session
from osler.errors import DataError, RequestError
from osler.model.config import HeadsConfig
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.train.box_scans import read_box_scans
from osler.train.finetune_boxes import rows_of_head
from osler.train.finetune_stage import train_finetune
from osler.train.local_table import read_local_table
from osler.train.recipe import BoxTeaching, FinetuneRecipe, OptimizerConfig
from osler.weights.checkpoint import load_checkpoint
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_file import read_gguf
from osler.weights.osler_folder import save_osler_folder
from osler.weights.safetensors_io import read_safetensors
from osler.weights.tokenizer import GemmaTokenizer
from tests.cli.running import invoke
from tests.train.small_base import small_config

pytestmark = pytest.mark.usefixtures("one_thread")

COLUMNS = ("path", "question", "answer", "patient", "label", "x0", "y0", "z0", "x1", "y1", "z1", "split")
TEACHING = BoxTeaching(
    optimizer=OptimizerConfig(steps=60, batch=8, learning_rate=3e-3, warmup=4, weight_decay=0.0, clip=5.0, average=0.9),
    views=2,
    blanks=2,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base with a box head that is offered for lungs on X-rays."""
    torch.manual_seed(0)
    heads = HeadsConfig(findings=("pneumonia",), trunk=1, embedding=8, labels=("lung",), slices=4, boxes_on="xrays")
    config = dataclasses.replace(small_config(), heads=heads)
    model = Osler(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    folder = tmp_path_factory.mktemp("base") / "base"
    save_osler_folder(
        model,
        folder,
        preprocess=preprocess_for(config),
        tokenizer=GemmaTokenizer.from_gguf(read_gguf(embedded_gguf())),
        trained=("answers", "boxes"),
    )
    return folder


def _picture(folder: Path, number: int, *, count: int) -> dict[str, object]:
    """A bright square on a dark ground, far to the left or to the right."""
    rng = np.random.default_rng(number)
    pixels = rng.normal(40, 5, (60, 60))
    x, y = (4 if number % 2 else 34) + int(rng.integers(-3, 4)), 20 + int(rng.integers(-8, 9))
    pixels[y : y + 20, x : x + 20] += 180
    path = folder / f"square{number}.png"
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    split = "kept-out" if number >= count - 4 else "train"
    row = {"path": path.name, "patient": f"p{number}", "label": "bright square", "split": split}
    return row | {"x0": x, "y0": y, "x1": x + 20, "y1": y + 20}


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _recipe(base: Path, *, table: Path, out: Path, **more: object) -> FinetuneRecipe:
    return FinetuneRecipe(
        stage="finetune", csv=str(table), out=str(out), base=str(base), precision="float32", workers=1,
        box_head=TEACHING, **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(scope="module")
def taught(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boxes")
    torch.set_num_threads(1)
    rows = [_picture(folder, number, count=24) for number in range(24)]
    return train_finetune(_recipe(base, table=_write(folder / "data.csv", rows), out=folder / "out"))


def test_kept_out_boxes_pass_the_mean_box(taught: Path) -> None:
    about = json.loads((taught / "run" / "summary.json").read_text())
    measured = about["kept_out"]["boxes"]
    assert (measured["boxes"], measured["scans"], measured["patients"]) == (4, 4, 4)
    assert measured["before"] == 0.0  # the base does not know the label
    assert measured["after"] > measured["mean_box"] + 0.1


def test_locate_draws_the_taught_label_where_the_summary_says(taught: Path) -> None:
    session = Session(load_checkpoint(taught, dtype="float32"), studies="memory")
    table = read_local_table(taught.parent / "data.csv")
    overlaps = []
    for row in (row for row in table.rows if row.split == "kept-out"):
        answer = osler.locate(session, row.path, ["bright square"])
        overlaps.append(max((box.pixel.iou(row.box) for box in answer.boxes if box.pixel), default=0.0))  # type: ignore[arg-type]
    measured = json.loads((taught / "run" / "summary.json").read_text())["kept_out"]["boxes"]
    assert np.mean(overlaps) == pytest.approx(measured["after"], abs=0.02)


def test_the_head_of_the_base_stays_bit_for_bit(taught: Path, base: Path) -> None:
    before, after = load_checkpoint(base, dtype="float32"), load_checkpoint(taught, dtype="float32")
    old, new = before.model.state_dict(), after.model.state_dict()
    assert {name for name in new if name not in old} == {name for name in new if name.startswith("heads.taught.")}
    changed = [name for name, tensor in old.items() if not torch.equal(_bits(new[name]), _bits(tensor))]
    assert not changed
    assert any(
        not torch.equal(new[name.replace("heads.boxes", "heads.taught")], tensor)
        for name, tensor in old.items()
        if name.startswith("heads.boxes.")
    )
    assert after.model.config.heads is not None
    assert after.model.config.heads.taught == ("bright square",)
    assert after.trained == before.trained


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """So that NaN, the scale of a finding that was not calibrated, equals itself."""
    return tensor.reshape(-1).view(torch.uint8)


def test_the_same_command_gives_the_same_bits_and_reads_what_is_there(taught: Path, base: Path, tmp_path: Path) -> None:
    table = taught.parent / "data.csv"
    again = train_finetune(_recipe(base, table=table, out=tmp_path / "again"))
    first, second = (read_safetensors(folder / "parts.safetensors").tensors for folder in (taught, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(_bits(first[name]), _bits(tensor)) for name, tensor in second.items())
    stamp = (again / "run" / "boxes" / "head.safetensors").stat().st_mtime_ns
    train_finetune(_recipe(base, table=table, out=tmp_path / "again"))
    assert (again / "run" / "boxes" / "head.safetensors").stat().st_mtime_ns == stamp


def test_a_head_taught_on_pictures_draws_nothing_in_a_volume(taught: Path, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(100, 5, (20, 22, 10)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 3, 1])), tmp_path / "mr.nii.gz")
    session = Session(load_checkpoint(taught, dtype="float32"), studies="memory")
    answer = osler.locate(session, tmp_path / "mr.nii.gz", ["bright square"])
    assert not answer.boxes
    assert any("reads single pictures only" in warning for warning in answer.warnings)


def test_pictures_that_changed_are_learned_anew(base: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "data.csv", [_picture(tmp_path, number, count=8) for number in range(8)])
    first = train_finetune(_recipe(base, table=table, out=tmp_path / "out"))
    before = read_safetensors(first / "parts.safetensors").tensors["heads.taught.edges.weight"].clone()
    for path in tmp_path.glob("square*.png"):
        Image.open(path).rotate(180).save(path)  # as bright as before
    train_finetune(_recipe(base, table=table, out=tmp_path / "out"))
    after = read_safetensors(first / "parts.safetensors").tensors["heads.taught.edges.weight"]
    assert not torch.equal(before, after)


def test_going_on_from_a_taught_folder(taught: Path, tmp_path: Path) -> None:
    measured = json.loads((taught / "run" / "summary.json").read_text())["kept_out"]["boxes"]
    again = train_finetune(_recipe(taught, table=taught.parent / "data.csv", out=tmp_path / "again"))
    found = json.loads((again / "run" / "summary.json").read_text())["kept_out"]["boxes"]
    assert found["before"] == pytest.approx(measured["after"], abs=1e-3)
    other = [_picture(tmp_path, number, count=8) | {"label": "other thing"} for number in range(8)]
    table = _write(tmp_path / "other.csv", other)
    with pytest.raises(RequestError, match="'bright square', which the table does not hold"):
        train_finetune(_recipe(taught, table=table, out=tmp_path / "forgets"))


def test_a_table_of_both_teaches_head_and_decoder(base: Path, tmp_path: Path) -> None:
    rows = [_picture(tmp_path, number, count=8) for number in range(8)]
    asked = [{"path": row["path"], "patient": row["patient"], "split": row["split"]} for row in rows]
    asked = [row | {"question": "Is it dark?", "answer": "It is dark."} for row in asked]
    optimizer = OptimizerConfig(steps=2, batch=2, learning_rate=1e-3, warmup=1)
    table = _write(tmp_path / "both.csv", rows + asked)
    out = train_finetune(_recipe(base, table=table, out=tmp_path / "out", optimizer=optimizer, rank=2))
    about = json.loads((out / "run" / "summary.json").read_text())
    assert about["rows"] == 16
    assert about["kept_out"]["boxes"]["boxes"] == about["kept_out"]["after"]["samples"] == 4
    model = load_checkpoint(out, dtype="float32").model
    assert model.heads is not None
    assert model.heads.taught is not None
    assert (out / "adapter_model.safetensors").is_file()


def test_volumes_and_labels_that_are_not_there_are_taught(base: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for number in range(6):
        voxels = np.random.default_rng(number).normal(100, 5, (20, 22, 10)).astype(np.float32)
        voxels[4:12, 6:16, 2:8] += 400
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 3, 1])), tmp_path / f"mr{number}.nii.gz")
        # NIfTI's axes run to the right and to the front, the patient's (LPS) to the left and to the back.
        edges = {"x0": -24, "y0": -32, "z0": 6, "x1": -8, "y1": -12, "z1": 24}
        split = "kept-out" if number > 3 else "train"
        scan = {"path": f"mr{number}.nii.gz", "patient": f"v{number}", "split": split}
        rows += [scan | {"label": "block"} | edges, scan | {"label": "tumor"}]
    table = _write(tmp_path / "volumes.csv", rows)
    out = train_finetune(_recipe(base, table=table, out=tmp_path / "out"))
    measured = json.loads((out / "run" / "summary.json").read_text())["kept_out"]["boxes"]
    assert (measured["boxes"], measured["absent"]) == (2, 2)
    assert measured["refused"] == 2
    session = Session(load_checkpoint(out, dtype="float32"), studies="memory")
    (box,) = osler.locate(session, tmp_path / "mr5.nii.gz", ["block", "tumor"]).boxes
    assert box.label == "block"
    assert box.patient is not None
    assert box.patient.iou(read_local_table(table).rows[-2].box) == pytest.approx(measured["after"], abs=0.15)  # type: ignore[arg-type]


def test_rows_that_the_head_cannot_use_are_named(base: Path, tmp_path: Path) -> None:
    good = _picture(tmp_path, 0, count=8)
    other = _picture(tmp_path, 1, count=8)
    rows = [
        good,
        other | {"x0": 500, "x1": 600},
        other | {"label": "point", "x0": 5, "y0": 5, "x1": 6, "y1": 6},
        other | {"label": "deep", "z0": 1, "z1": 2},
        other | {"path": "gone.png", "label": "a"},
        other | {"label": "twice"},
        other | {"label": "twice"},
    ]
    table = read_local_table(_write(tmp_path / "data.csv", rows))
    preprocess = load_checkpoint(base, dtype="float32").preprocess
    scans = read_box_scans(table.rows, preprocess=preprocess, slices=4, share=0.0)
    (scan,) = scans.scans
    assert dict(scan.item.boxes).keys() == {"bright square"}
    reasons = {entry.line: entry.reason for entry in scans.unreadable}
    assert "outside of the scan" in reasons[3]
    assert "thinner than 3%" in reasons[4]
    assert "not a volume" in reasons[5]
    assert "gone.png" in reasons[6]
    assert "more than once" in reasons[7]
    assert "more than once" in reasons[8]
    only_bad = _write(tmp_path / "bad.csv", rows[1:4])
    with pytest.raises(DataError, match="No box of the table is left"):
        train_finetune(_recipe(base, table=only_bad, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()  # a mended table may use the folder


def test_who_learns_boxes(base: Path, small_base: Path, tmp_path: Path) -> None:
    rows = [_picture(tmp_path, number, count=8) for number in range(2)]
    table = read_local_table(_write(tmp_path / "data.csv", rows))
    twice = read_local_table(_write(tmp_path / "twice.csv", [rows[0], rows[0]]))
    place = {"table": tmp_path / "data.csv", "out": tmp_path / "out"}
    assert len(rows_of_head(_recipe(base, **place), table=table)) == 2
    assert not rows_of_head(_recipe(base, **place), table=twice)
    assert not rows_of_head(_recipe(base, boxes="text", **place), table=table)
    assert not rows_of_head(_recipe(small_base, **place), table=table)
    assert not rows_of_head(_recipe(base, method="full", **place), table=table)
    with pytest.raises(RequestError, match="no box head"):
        rows_of_head(_recipe(small_base, boxes="head", **place), table=table)
    with pytest.raises(RequestError, match="All weights learn"):
        rows_of_head(_recipe(base, boxes="head", method="full", **place), table=table)
    with pytest.raises(RequestError, match=r"box_head.views is 0"):
        BoxTeaching(views=0)


def test_the_command_says_what_it_reached(base: Path, tmp_path: Path) -> None:
    rows = [_picture(tmp_path, number, count=8) for number in range(8)]
    path = tmp_path / "run.toml"
    path.write_text(
        f'stage = "finetune"\ncsv = "{_write(tmp_path / "data.csv", rows)}"\nout = "{tmp_path / "out"}"\n'
        f'base = "{base}"\nprecision = "float32"\nworkers = 1\n'
        "[box_head]\nviews = 1\n[box_head.optimizer]\nsteps = 2\nbatch = 2\nlearning_rate = 1e-3\nwarmup = 1\n"
    )
    done = invoke("train", path)
    assert done.exit_code == 0, done.output
    assert "Kept out (4 boxes of 4 patients): mean IoU 0.00 ->" in done.output
    assert "the mean box of the other rows has" in done.output
