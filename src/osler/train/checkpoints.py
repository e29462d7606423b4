"""Checkpoints of a run: written whole or not at all, read back to go on.

What a run needs to go on lies in one file, so that a kill at any moment leaves
the state of one update and never parts of two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from osler.errors import CheckpointError
from osler.weights.cache import whole_file
from osler.weights.safetensors_io import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from osler.train.optimizer import RunningMean

STATE_FILE = "resume.safetensors"
_ROOM = "Choose a folder with room that you can write to."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunState:
    """Where a run stands.

    Args:
        step: Updates done.
        parts: Name of a part (such as ``"weights"``) to its tensors; part names hold no slash.
        counts: Whole numbers to keep.
    """

    step: int
    parts: Mapping[str, Mapping[str, Tensor]]
    counts: Mapping[str, int]


def save_state(folder: Path, state: RunState) -> None:
    """Writes the state of a run as one file; an interrupted write leaves the old one.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """
    tensors = {f"{part}/{name}": value for part, values in state.parts.items() for name, value in values.items()}
    numbers = {name: str(value) for name, value in state.counts.items()}
    save_tensors(folder / STATE_FILE, tensors, metadata={"step": str(state.step), **numbers})


def load_state(folder: Path) -> RunState | None:
    """Reads the state of a run, ``None`` where there is none.

    Raises:
        CheckpointError: If it is damaged.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    file = read_safetensors(path)
    try:
        counts = {name: int(value) for name, value in file.metadata.items()}
        step = counts.pop("step")
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{str(path)!r} is not the state of a run: its header lacks the update or holds words.",
            next_step="Delete it and train again.",
        ) from error
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in file.tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = value
    return RunState(step=step, parts=parts, counts=counts)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file; an interrupted or failed write leaves the old file.

    Raises:
        CheckpointError: If the place cannot be written or is full.
    """
    plain = {name: value.detach().cpu() for name, value in tensors.items()}
    write_safetensors(plain, path=path, metadata=dict(metadata or {}))


def save_json(path: Path, value: object) -> None:
    """Writes JSON; an interrupted or failed write leaves the old file.

    Raises:
        CheckpointError: If the place cannot be written or is full.
    """
    try:
        with whole_file(path) as out:
            out.write((json.dumps(value, indent=1) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"Cannot write {str(path)!r}: {error}.", next_step=_ROOM) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments as flat named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(v) for index, entry in state.items() for name, v in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts saved moments back.

    Raises:
        CheckpointError: If they belong to another set of parameters.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # A copy: the file is mapped, and the next save replaces it.
        state.setdefault(int(index), {})[name] = value.clone()
    try:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"The saved optimizer does not fit this recipe: {error}.", next_step="Choose another `out`."
        ) from error


def restore_weights(parameters: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Copies saved tensors into parameters of the same names and shapes.

    Raises:
        CheckpointError: If a name or a shape differs.
    """
    differ = [name for name, value in parameters.items() if name not in stored or stored[name].shape != value.shape]
    differ += [name for name in stored if name not in parameters]
    if differ:
        raise CheckpointError(
            f"The saved run does not fit this recipe: {len(differ)} tensors differ, such as {differ[0]!r}.",
            allowed="The network, the rank and the targets of the run that is gone on with.",
            next_step="Choose another `out`, or go back to the old recipe.",
        )
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(stored[name])


def save_training(
    folder: Path, *, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, mean: RunningMean
) -> None:
    """Writes what a stage with a running mean needs to go on after ``step`` updates.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """
    parts = {"weights": module.state_dict(), "mean": mean.mean, "optimizer": optimizer_tensors(optimizer)}
    save_state(folder, RunState(step=step, parts=parts, counts={"mean_steps": mean.steps}))


def resume_training(folder: Path, *, module: nn.Module, optimizer: torch.optim.Optimizer, mean: RunningMean) -> int:
    """Puts back what `save_training` wrote; returns the updates done, 0 where nothing was saved.

    Raises:
        CheckpointError: If the state is damaged or belongs to another network.
    """
    state = load_state(folder)
    if state is None:
        return 0
    restore_weights(module.state_dict(), state.parts.get("weights", {}))
    restore_weights(mean.mean, state.parts.get("mean", {}))
    mean.steps = state.counts.get("mean_steps", 0)
    restore_optimizer(optimizer, state.parts.get("optimizer", {}))
    return state.step


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        CheckpointError: If it is absent or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {str(path)!r}.", next_step="Run the earlier stage first.")
    return read_safetensors(path).tensors
