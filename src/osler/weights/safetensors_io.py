"""Safetensors files in and out: memory-mapped reading, whole-or-nothing writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from osler.errors import CheckpointError
from osler.weights.cache import whole_path
from osler.weights.json_file import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """The contents of one or several safetensors files, mapped, not copied."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_safetensors(path: Path) -> TensorFile:
    """Maps a file.

    Raises:
        CheckpointError: If it is absent, truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return TensorFile(tensors=tensors, metadata=file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the metadata of a file alone.

    Raises:
        CheckpointError: As `read_safetensors`.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_sharded(folder: Path) -> TensorFile:
    """Maps the weights of a Hugging Face folder: ``model.safetensors`` or the shards of its index.

    Raises:
        CheckpointError: If there are none, a shard is absent or damaged, or there are pickles only.
    """
    if (folder / INDEX).is_file():
        shards = _shards(folder)
    elif (folder / SINGLE).is_file():
        shards = {SINGLE: None}
    else:
        raise _no_weights(folder)
    absent = [name for name in shards if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{str(folder)!r} lacks {len(absent)} of {len(shards)} weight files: {', '.join(absent[:6])}.",
            next_step="Copy the files that are missing.",
        )
    files = [read_safetensors(folder / name) for name in shards]
    return TensorFile(
        tensors={name: tensor for file in files for name, tensor in file.tensors.items()},
        metadata={key: value for file in files for key, value in file.metadata.items()},
    )


def write_safetensors(tensors: Mapping[str, Tensor], *, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a file that appears whole or not at all.

    Raises:
        CheckpointError: If the place cannot be written or is full.
    """
    try:
        with whole_path(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata=dict(metadata))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"Cannot read {str(path)!r}: {error}.",
        allowed="A whole safetensors file is needed.",
        next_step="Copy or download the file again.",
    )


def _shards(folder: Path) -> dict[str, None]:
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{str(folder / INDEX)!r} has no weight_map.", next_step="Copy the file again.")
    outside = [name for name in places.values() if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{str(folder / INDEX)!r} points outside its folder: {outside[0]!r}.")
    return dict.fromkeys(sorted(places.values()))


def _no_weights(folder: Path) -> CheckpointError:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return CheckpointError(
            f"{str(folder)!r} holds pickled weights only: {', '.join(pickles[:6])}.",
            allowed="Osler reads safetensors: a pickle can run any program when it is opened.",
            next_step="Get the safetensors version of the model, or save it with transformers' save_pretrained.",
        )
    return CheckpointError(
        f"{str(folder)!r} has no weights.",
        allowed=f"A folder needs {SINGLE} or {INDEX} with its shards.",
        next_step="Check the path.",
    )
