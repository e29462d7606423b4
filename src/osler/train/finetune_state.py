"""The state of a run that may be shared out: weights, moments, running mean; saved whole, read back exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from osler.errors import CheckpointError
from osler.train.checkpoints import STATE_FILE, RunState, load_state, save_state
from osler.train.distributed import Place, load_shares, put, save_shares, shared_step
from osler.train.optimizer import RunningMean
from osler.weights.safetensors_io import read_safetensors

RUN_FOLDER = "run"
"""Within the folder of the model."""

SUMMARY = "summary.json"
SHARES = "shares"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class SavedRun:
    """All that changes in a run: weights, moments of the optimizer, running mean; saved whole, read back exactly.

    Args:
        module: Whose parameters learn; those that do not are left out.
        optimizer: Of these. average: Decay of the running mean of the weights, 0 for none.
        folder: Where it is saved. place: Which process this is.
        buffers: That change, too.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        optimizer: torch.optim.Optimizer,
        average: float,
        folder: Path,
        place: Place,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._module, self._folder, self._place = module, folder, place
        self._mean = RunningMean(module, decay=average) if average else None
        start_moments(optimizer)
        trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.tensors = run_tensors(trainable, optimizer=optimizer, mean=self._mean, buffers=buffers)

    def resume(self) -> int:
        """Goes back to the newest state; see `resume_run`."""
        first = resume_run(self._folder, self.tensors, place=self._place)
        if self._mean is not None:
            self._mean.steps = first
        return first

    def average(self) -> None:
        """Moves the running mean toward the weights of an update."""
        if self._mean is not None:
            self._mean.update(self._module)

    def save(self, step: int) -> None:
        """Saves the state after ``step`` updates; see `save_run`."""
        save_run(self._folder, self.tensors, step=step, place=self._place)

    @torch.no_grad()
    def settle(self) -> None:
        """Puts the running mean in place of the weights, where there is one."""
        if self._mean is not None:
            for name, parameter in self._module.named_parameters():
                if name in self._mean.mean:
                    parameter.copy_(self._mean.mean[name])


def start_moments(optimizer: torch.optim.Optimizer) -> None:
    """Gives AdamW its moments before the first update, so that saved ones have a place to go."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state |= {name: torch.zeros_like(parameter) for name in _MOMENTS}


def run_tensors(
    trainable: Mapping[str, nn.Parameter],
    *,
    optimizer: torch.optim.Optimizer,
    mean: RunningMean | None,
    buffers: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """All that changes in a run, by name; the tensors themselves, not copies.

    Args:
        buffers: That change beside the parameters.
    """
    tensors = {f"weights/{name}": buffer for name, buffer in (buffers or {}).items()}
    for name, parameter in trainable.items():
        tensors[f"weights/{name}"] = parameter.detach()
        tensors |= {f"{part}/{name}": value for part, value in optimizer.state[parameter].items()}
    return tensors | ({} if mean is None else {f"mean/{name}": value for name, value in mean.mean.items()})


def save_run(folder: Path, tensors: dict[str, Tensor], *, step: int, place: Place) -> None:
    """Saves the state: one file of a run of one process, a folder of shares of a larger one.

    Raises:
        CheckpointError: If the place cannot be written or is full; what was saved before stays whole.
    """
    if place.mesh is not None:
        save_shares(folder / SHARES, tensors, step=step, place=place)
        return
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    save_state(folder, RunState(step=step, parts=parts, counts={}))


def resume_run(folder: Path, tensors: dict[str, Tensor], *, place: Place) -> int:
    """Fills the tensors from the newest state, whatever number of processes saved it.

    Returns:
        Updates done; 0 where nothing was saved.

    Raises:
        CheckpointError: If the state is damaged or does not fit the recipe.
    """
    place.wait()
    alone, shared = _alone_step(folder), shared_step(folder / SHARES)
    if alone is None and shared is None:
        return 0
    with torch.no_grad():
        if shared is not None and shared > (alone or 0):
            load_shares(folder / SHARES, tensors)
            return shared
        state = load_state(folder)
        assert state is not None
        stored = {f"{part}/{name}": value for part, values in state.parts.items() for name, value in values.items()}
        differ = [n for n, v in tensors.items() if n not in stored or stored[n].shape != v.shape]
        differ += [n for n in stored if n not in tensors]
        if differ:
            raise CheckpointError(
                f"The saved run does not fit this recipe: {len(differ)} tensors differ, such as {differ[0]!r}.",
                next_step="Choose another `out`, or go back to the old recipe.",
            )
        for name, value in tensors.items():
            put(value, stored[name])
        return state.step


def _alone_step(folder: Path) -> int | None:
    path = folder / STATE_FILE
    return int(read_safetensors(path).metadata.get("step", -1)) if path.exists() else None
