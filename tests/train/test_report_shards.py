"""Synthetic reports as a stream: each once an epoch, on one process or several, in any shard sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import DataError, RequestError
from osler.train.finetune_stage import train_finetune
from osler.train.recipe import FinetuneRecipe, OptimizerConfig
from osler.train.report_shards import ReportShards, ShardOrder
from osler.train.taught import numbers_of_update
from osler.weights.checkpoint import Checkpoint, load_checkpoint

pytest.importorskip("pyarrow", reason="the extra 'synth' is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from osler.synth.report_run import write_reports
    from osler.synth.shards import ReportRun

    folder = tmp_path_factory.mktemp("reports")
    write_reports(ReportRun(count=300, seed=4, shard_patients=64), folder=folder, workers=1, engine="local")
    return folder


@pytest.fixture(scope="module")
def checkpoint(small_base: Path) -> Checkpoint:
    return load_checkpoint(small_base, dtype="float32")


def test_each_report_is_seen_once_an_epoch() -> None:
    counts = np.array([5, 9, 1, 12])
    starts = np.concatenate([[0], np.cumsum(counts)])
    for world in (1, 2, 3):
        orders = [ShardOrder([0, 1, 3], counts=counts, starts=starts, seed=2) for _ in range(world)]
        taken = [
            number
            for step in range(26)
            for rank in range(world)
            for number in numbers_of_update(orders[rank], step, batch=6, rank=rank, world=world)
        ]
        expected = [6] * 14 + [0] + [6] * 12
        assert np.bincount(taken, minlength=27).tolist() == expected
        assert taken[:26] != taken[26:52]


def test_a_later_start_goes_on_with_the_same_reports() -> None:
    counts = np.array([5, 9, 12])
    starts = np.concatenate([[0], np.cumsum(counts)])
    straight = ShardOrder([0, 1, 2], counts=counts, starts=starts, seed=2)
    whole = [numbers_of_update(straight, step, batch=4) for step in range(20)]
    again = ShardOrder([0, 1, 2], counts=counts, starts=starts, seed=2)
    assert [numbers_of_update(again, step, batch=4) for step in range(11, 20)] == whole[11:]


def test_a_sample_is_facts_in_and_report_out(folder: Path, checkpoint: Checkpoint) -> None:
    shards = ReportShards(folder, checkpoint=checkpoint)
    assert len(shards) == 300
    sample = shards[299]
    said = checkpoint.tokenizer.decode(sample.token_ids[sample.answer_mask].tolist())
    asked = checkpoint.tokenizer.decode(sample.token_ids[~sample.answer_mask].tolist())
    assert len(said) > 100
    assert '"findings"' in asked
    assert '"patient"' not in asked
    assert sample.name.startswith(shards.paths[-1].name)
    assert shards.kept_out_shards(share=0.0) == []
    assert 0 < len(shards.kept_out_shards(share=0.3)) < len(shards.paths)


def test_absent_and_damaged_shards_are_said(tmp_path: Path, folder: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(RequestError, match=r"No shards in .*osler synth reports"):
        ReportShards(tmp_path, checkpoint=checkpoint)
    (tmp_path / "reports-00000.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"Cannot read .*reports-00000\.parquet"):
        ReportShards(tmp_path, checkpoint=checkpoint)


def test_a_run_learns_from_reports(tmp_path: Path, folder: Path, small_base: Path) -> None:
    recipe = FinetuneRecipe(
        stage="finetune",
        reports=str(folder),
        out=str(tmp_path / "out"),
        base=str(small_base),
        rank=4,
        judged=4,
        precision="float32",
        optimizer=OptimizerConfig(steps=6, batch=2, learning_rate=2e-2, warmup=1, weight_decay=0.0),
    )
    torch.set_num_threads(1)
    train_finetune(recipe)
    summary = json.loads((tmp_path / "out" / "run" / "summary.json").read_text())
    assert summary["kept_out"]["after"]["loss"] < summary["kept_out"]["before"]["loss"]
    names = [
        name
        for line in (tmp_path / "out" / "run" / "samples-0.jsonl").read_text().splitlines()
        for name in json.loads(line)["samples"]
    ]
    assert len(names) == len(set(names)) == 12
