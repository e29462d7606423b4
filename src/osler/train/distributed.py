"""One run on several processes or machines: sharded by FSDP2, saved by DCP, started by `torchrun`.

Each process holds a share of every weight, gradient and moment (`fully_shard`), gathers a
layer while it computes, and learns from its own samples. Small parts that processes run unequally
often stay whole in each, and their gradients are averaged (`mean_gradients`). What changes is saved
as safetensors by PyTorch's distributed checkpoint, and read back by any number of processes, one included.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from osler.engine.device import choose_device
from osler.errors import CheckpointError, RequestError
from osler.train.checkpoints import save_json

STEP_FILE = "step.json"
_PATIENCE = timedelta(days=1)
_JOINS = count()
"""Of this process: stages of a recipe join one after the other."""


class _Sum(torch.autograd.Function):
    """The sum over processes; PyTorch's own is deprecated in favor of one in a private module."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which process of a run this is.

    Args:
        rank: Its number, from 0. world: How many there are.
        device: What it computes on.
        mesh: Of all processes; ``None`` for a run of one.
    """

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes logs and the result."""
        return self.rank == 0

    def total(self, value: float) -> float:
        """Adds up a number over all processes."""
        return self.totals([value])[0]

    def totals(self, values: Sequence[float]) -> list[float]:
        """Adds up numbers, each over all processes."""
        if self.mesh is None or not values:
            return list(values)
        numbers = torch.tensor(list(values), dtype=torch.float64 if self.device.type == "cpu" else torch.float32)
        numbers = numbers.to(self.device)
        dist.all_reduce(numbers)
        return numbers.tolist()

    def sum(self, value: Tensor) -> Tensor:
        """Adds up a tensor over all processes; gradients pass through."""
        return value if self.mesh is None else _Sum.apply(value)

    def names(self, names: list[str]) -> list[str]:
        """Collects names from all processes."""
        if self.mesh is None:
            return names
        gathered: list[list[str]] = [[] for _ in range(self.world)]
        dist.all_gather_object(gathered, names)
        return [name for part in gathered for name in part]

    def wait(self) -> None:
        """Waits for all processes."""
        if self.mesh is not None:
            dist.barrier()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process goes through alone and prepares files, which the others then find."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Place(rank=0, world=1, device=torch.device("cpu"))
"""A run of one process."""


@contextmanager
def joined(*, device: torch.device | None = None) -> Iterator[Place]:
    """Joins the processes that `torchrun` has started; alone without it.

    Args:
        device: What to compute on; ``None`` for the best that is there.

    Raises:
        RequestError: If what `torchrun` sets is not there as a whole.
    """
    device = choose_device("auto").value if device is None else device
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Place(rank=0, world=1, device=device)
        return
    if absent := [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise RequestError(
            f"WORLD_SIZE is {world}, but {', '.join(absent)} are not set.",
            next_step="Start it by: torchrun --nproc-per-node 2 -m osler train RECIPE",
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # The first process prepares the scans while the others wait, which may take hours.
    backend = "nccl" if device.type == "cuda" else "gloo"
    store, rank, _ = next(dist.rendezvous("env://", timeout=_PATIENCE))
    store.set_timeout(_PATIENCE)  # as PyTorch does where it opens the store itself
    # What an earlier stage left in the store would be taken for addresses of this one.
    store = dist.PrefixStore(f"stage {next(_JOINS)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)
    try:
        mesh = init_device_mesh(device.type, (world,))
        yield Place(rank=dist.get_rank(), world=world, device=device, mesh=mesh)
    finally:
        dist.destroy_process_group()


def shard(
    module: nn.Module, *, layers: list[nn.Module], place: Place, but: AbstractSet[nn.Parameter] = frozenset()
) -> None:
    """Divides the weights of a module among the processes, in place; nothing happens in a run of one.

    Args:
        module: Whose forward pass is called. layers: Parts of it that are gathered one at a time.
        but: Parameters that stay whole in each process, see `mean_gradients`.
    """
    if place.mesh is None:
        return
    for layer in layers:
        fully_shard(layer, mesh=place.mesh)
    fully_shard(module, mesh=place.mesh, ignored_params=set(but))


def mean_gradients(parameters: Iterable[nn.Parameter], *, place: Place) -> None:
    """Takes the mean over all processes of the gradients of parameters that each holds whole; all must call it.

    A gradient that is not there counts as zero; where no process has one, there is none afterwards.
    """
    held = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    if place.mesh is None or not held:
        return
    there = torch.tensor([float(p.grad is not None) for p in held], device=place.device)
    pieces = [torch.zeros(p.numel(), device=p.device) if p.grad is None else p.grad.flatten().float() for p in held]
    flat = torch.cat([there, *pieces])
    dist.all_reduce(flat)
    found, *means = (flat / place.world).split([len(held), *(p.numel() for p in held)])
    for parameter, some, mean in zip(held, found.tolist(), means, strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype) if some else None


def clip_gradients(parameters: Iterable[nn.Parameter], *, most: float) -> float:
    """Scales gradients, whole and shared out, so that their norm is not above ``most``; returns what it was."""
    held = [parameter for parameter in parameters if parameter.grad is not None]
    groups = [[p for p in held if isinstance(p.grad, DTensor) == shared] for shared in (True, False)]
    groups = [group for group in groups if group]
    norm = get_total_norm([whole(get_total_norm([p.grad for p in group])) for group in groups])
    for group in groups:
        clip_grads_with_norm_(group, most, norm)
    return float(norm)


def whole(value: Tensor) -> Tensor:
    """The whole of a tensor whose shares lie in several processes; all of them must call it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def put(target: Tensor, value: Tensor) -> None:
    """Copies a whole tensor into one that may be shared out."""
    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(value)


def save_shares(folder: Path, tensors: Mapping[str, Tensor], *, step: int, place: Place) -> None:
    """Writes the shares of all processes into a folder that takes its name only when it is whole.

    Raises:
        CheckpointError: If the place cannot be written or is full; the old folder stays.
    """
    from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageWriter, save

    part = folder.with_name(f".{folder.name}.partial")
    if place.first:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, exist_ok=True)
    place.wait()
    problem = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it writes alone
            save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(part), save_distributed=True))
    except (Exception, CheckpointException) as error:  # the latter, what went wrong on any process, is no Exception
        problem = _cause(error)
    if problems := place.names([problem] if problem else []):
        if place.first:
            shutil.rmtree(part, ignore_errors=True)
        raise CheckpointError(
            f"Cannot write {str(folder)!r}: {problems[0]}.",
            allowed="The state that was saved last is whole.",
            next_step="Make room and give the same command again: it goes on from there.",
        )
    if place.first:
        save_json(part / STEP_FILE, {"step": step, "processes": place.world})
        _replace(part, folder)
    place.wait()


def load_shares(folder: Path, into: MutableMapping[str, Tensor]) -> None:
    """Reads shares back into tensors of the same names, whatever number of processes wrote them.

    Raises:
        CheckpointError: If files are missing or damaged, or do not fit.
    """
    from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader, load

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it reads alone
            load(into, storage_reader=HuggingFaceStorageReader(str(folder)))  # type: ignore[arg-type]
    except (Exception, CheckpointException) as error:  # as in `save_shares`
        raise CheckpointError(
            f"The saved run in {str(folder)!r} is damaged or does not fit: {_cause(error)}.",
            next_step="Choose another `out`, or go back to the old recipe.",
        ) from error


def shared_step(folder: Path) -> int | None:
    """Updates done when the shares were saved; ``None`` where there are none.

    Raises:
        CheckpointError: If the file that says so is damaged.
    """
    # A kill between the two renames of `_replace` leaves the old folder under this name.
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    try:
        return int(json.loads((folder / STEP_FILE).read_text(encoding="utf-8"))["step"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{str(folder / STEP_FILE)!r} is damaged.", next_step="Delete the folder and train again."
        ) from error


def _replace(part: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _cause(error: BaseException) -> str:
    """The first line of what went wrong."""
    inner: Any = next(iter(getattr(error, "failures", {}).values()), error)
    inner = inner[0] if isinstance(inner, tuple) else inner
    return str(inner).strip().splitlines()[0] if str(inner).strip() else type(inner).__name__
