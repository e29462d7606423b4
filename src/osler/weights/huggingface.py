"""Hugging Face folders in and out: `transformers` reads what is written here, and the other way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from osler.errors import CheckpointError
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.prepare import Preprocess
from osler.weights.assemble import DTypeName, assemble, torch_dtype
from osler.weights.cache import whole_file
from osler.weights.hf_config import config_from_huggingface, huggingface_config
from osler.weights.json_file import read_json
from osler.weights.names import published_name, rename
from osler.weights.safetensors_io import INDEX, SINGLE, read_sharded, write_safetensors
from osler.weights.tokenizer import GemmaTokenizer

_SHARD_BYTES = 5_000_000_000
_BILINEAR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A network from a folder and what its folder says about preprocessing."""

    model: Osler
    preprocess: Preprocess
    warnings: tuple[str, ...] = ()


def load_huggingface(folder: Path, *, dtype: DTypeName | None = None) -> LoadedModel:
    """Loads a network from a folder, memory-mapped.

    Args:
        folder: With config.json and safetensors, single or sharded, in either key layout.
        dtype: Converts the weights; ``None`` keeps what the file has and copies nothing.

    Raises:
        CheckpointError: If files are missing or damaged, or weights do not fit the configuration.
    """
    folder = Path(folder)
    opened = open_huggingface(folder)
    tensors = opened.tensors
    if dtype is not None:
        # One at a time, so that the mapped pages of one tensor can go before the next is read.
        tensors = {name: tensor.to(torch_dtype(dtype)) for name, tensor in tensors.items()}
    model = assemble(opened.config, tensors, source=str(folder))
    return LoadedModel(model=model, preprocess=opened.preprocess, warnings=opened.warnings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedFolder:
    """What a folder holds, its tensors mapped under Osler's names."""

    config: OslerConfig
    tensors: dict[str, Tensor]
    preprocess: Preprocess
    warnings: tuple[str, ...]


def open_huggingface(folder: Path) -> OpenedFolder:
    """Opens a folder without building its network.

    Raises:
        CheckpointError: If files are missing or damaged.
    """
    found = config_from_huggingface(read_json(folder / "config.json"), source=str(folder / "config.json"))
    tensors = rename(read_sharded(folder).tensors, source=str(folder))
    config = found.config
    if config.name in ("gemma2", "gemma3"):
        config = replace(config, name=folder.resolve().name)
    preprocess, warnings = _preprocess(folder, config=config)
    return OpenedFolder(config=config, tensors=tensors, preprocess=preprocess, warnings=found.warnings + warnings)


def save_huggingface(
    model: Osler, folder: Path, *, tokenizer: GemmaTokenizer | None = None, shard_bytes: int = _SHARD_BYTES
) -> None:
    """Writes a network as a folder that every version of `transformers` with Gemma 3 reads.

    Args:
        tokenizer: Its files are written too.
        shard_bytes: Most bytes of one safetensors file.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    folder = Path(folder)
    if adapted := [name for name in model.state_dict() if name.endswith(".lora_A")]:
        raise CheckpointError(
            f"The model carries {len(adapted)} adapters, which this layout has no place for.",
            next_step="Call merge_lora first, or save_adapter to keep them apart.",
        )
    layout = "text" if model.config.vision is None else "multimodal"
    tensors = {published_name(name, layout=layout): tensor for name, tensor in model.state_dict().items()}
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    shards = _split(tensors, limit=shard_bytes)
    places = {}
    for number, shard in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(shard, path=folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
    _write_json(folder / "config.json", huggingface_config(model.config) | {"torch_dtype": dtype})
    if model.config.vision is not None:
        _write_json(folder / "preprocessor_config.json", _processor_json(model.config.vision.image_size))
    if tokenizer is not None:
        tokenizer.save(folder)


def folder_contract(folder: Path) -> Preprocess:
    """Returns the preprocessing that a folder's files ask for.

    Raises:
        CheckpointError: If they are missing or damaged, or ask for what Osler does not have.
    """
    found = config_from_huggingface(read_json(folder / "config.json"), source=str(folder / "config.json"))
    return _preprocess(folder, config=found.config)[0]


def _preprocess(folder: Path, *, config: OslerConfig) -> tuple[Preprocess, tuple[str, ...]]:
    vision = config.vision
    if vision is None:
        return Preprocess(image_size=0, image_tokens=0), ()
    published = Preprocess(
        image_size=vision.image_size,
        image_tokens=config.image_tokens,
        sampling="published",
        prompt="published",
    )
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return published, (f"{str(folder)!r} has no preprocessor_config.json; the published recipe is assumed.",)
    content = read_json(path)
    wanted = _processor_json(vision.image_size)
    differing = [
        f"{key} is {content[key]!r} instead of {value!r}"
        for key, value in wanted.items()
        if key in _PIXEL_KEYS and content.get(key) is not None and content[key] != value
    ]
    if differing:
        raise CheckpointError(
            f"{str(path)!r} asks for preprocessing that Osler does not have: {'; '.join(differing)}.",
            allowed="The published recipe: square bilinear resizing to the tower's size, mean and std 0.5.",
            next_step="Check that the file belongs to these weights.",
        )
    return published, ()


_PIXEL_KEYS = (
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
)


def _processor_json(size: int) -> dict[str, Any]:
    return {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_pan_and_scan": None,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Gemma3ImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Gemma3Processor",
        "resample": _BILINEAR,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }


def _split(tensors: Mapping[str, Tensor], *, limit: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        if shards[-1] and held + tensor.nbytes > limit:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += tensor.nbytes
    return shards


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    try:
        with whole_file(path) as out:
            out.write((json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
