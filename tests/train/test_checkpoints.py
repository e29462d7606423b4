"""States of runs are whole, their faults are said, and a failed write keeps the last good file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError
from osler.train import checkpoints
from osler.train.checkpoints import STATE_FILE, RunState, load_state, load_tensors, save_json, save_state, save_tensors


def _state(step: int) -> RunState:
    parts = {"weights": {"a.b": torch.full((2,), float(step))}, "optimizer": {"0.exp_avg": torch.ones(3)}}
    return RunState(step=step, parts=parts, counts={"mean_steps": 7})


def test_state_comes_back(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    save_state(tmp_path, _state(4))
    state = load_state(tmp_path)
    assert state is not None
    assert (state.step, state.counts) == (4, {"mean_steps": 7})
    assert torch.equal(state.parts["weights"]["a.b"], torch.tensor([4.0, 4.0]))
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_full_disk_is_said_and_the_last_state_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path, _state(4))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("osler.weights.safetensors_io.save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_state(tmp_path, _state(8))
    monkeypatch.undo()
    state = load_state(tmp_path)
    assert state is not None
    assert state.step == 4
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="Cannot write"):
        save_tensors(tmp_path / "file" / "a.safetensors", {"a": torch.ones(1)})
    with pytest.raises(CheckpointError, match="Cannot write"):
        save_json(tmp_path / "file" / "a.json", {})


def test_damaged_and_foreign_states_are_said(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"not safetensors at all")
    with pytest.raises(CheckpointError, match="Cannot read"):
        load_state(tmp_path)
    save_tensors(tmp_path / STATE_FILE, {"a": torch.ones(1)})
    with pytest.raises(CheckpointError, match="not the state of a run"):
        load_state(tmp_path)


def test_absent_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Run the earlier stage first"):
        load_tensors(tmp_path / "none.safetensors")


def test_moments_of_other_parameters_are_refused() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    saved = checkpoints.optimizer_tensors(optimizer)
    checkpoints.restore_optimizer(optimizer, saved)
    assert torch.equal(optimizer.state[parameter]["exp_avg"], saved["0.exp_avg"])
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoints.restore_weights({"a": torch.ones(2)}, {"a": torch.ones(3)})
