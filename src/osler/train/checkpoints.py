"""Checkpoints of a run: written whole or not at all, read back to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from osler.errors import CheckpointError


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file; an interrupted write leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, part, metadata=dict(metadata or {}))
    os.replace(part, path)


def save_json(path: Path, value: object) -> None:
    """Writes JSON; an interrupted write leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments as flat named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(v) for index, entry in state.items() for name, v in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts saved moments back."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        CheckpointError: If it is absent or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {str(path)!r}.", next_step="Run the earlier stage first.")
    try:
        return load_file(path)
    except Exception as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read: {error}.", next_step="Delete it and train again."
        ) from error
