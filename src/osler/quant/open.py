"""Any model that Osler loads, as the float weights that can be quantized, with all that belongs to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from osler.errors import CheckpointError
from osler.model.config import OslerConfig
from osler.prepare import Preprocess, preprocess_for
from osler.quant.kernels import KernelChoice
from osler.quant.network import product_tensors, quantized_network
from osler.quant.plan import default_plan
from osler.quant.source import WeightSource
from osler.weights import Checkpoint
from osler.weights.assemble import DTypeName, empty_network, torch_dtype
from osler.weights.catalog import EMBEDDED_NAME, GEMMA_TERMS, MINI_FOLDER, MINI_NAME, find_model
from osler.weights.checkpoint import licence_of
from osler.weights.digest import weights_digest
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_config import config_from_gguf
from osler.weights.gguf_file import read_gguf
from osler.weights.huggingface import open_huggingface
from osler.weights.json_file import read_json
from osler.weights.lora import LowRank, read_adapter
from osler.weights.osler_folder import MODEL_TYPE, has_adapter, read_osler_folder
from osler.weights.skills import PUBLISHED_SKILLS, Skill
from osler.weights.tokenizer import GemmaTokenizer

TokenizerHome = Literal["stored", "embedded"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedModel:
    """A model whose weights have not been read yet.

    Args:
        tokenizer: Makes the tokenizer. tokenizer_home: Where it is.
        identity: Of the float weights, see `Checkpoint`.
    """

    name: str
    path: Path
    config: OslerConfig
    source: WeightSource
    tokenizer: Callable[[], GemmaTokenizer]
    tokenizer_home: TokenizerHome
    preprocess: Preprocess
    licence: str
    trained: frozenset[Skill]
    identity: str
    warnings: tuple[str, ...] = ()


def open_model(name_or_path: str | os.PathLike[str]) -> OpenedModel:
    """Opens a model by its name in the catalog or its path.

    Raises:
        CheckpointError: If files are missing or damaged, or the model is quantized already.
        RequestError: If the name is unknown.
    """
    name = str(name_or_path)
    path = find_model(name)
    if name == EMBEDDED_NAME:
        return _open_gguf(embedded_gguf(), name=name, licence=GEMMA_TERMS, home="embedded")
    if path.is_file():
        return _open_gguf(path, name=path.stem, licence="unknown", home="stored")
    shown = name if name == MINI_NAME else path.resolve().name
    if path == MINI_FOLDER and not (path / "config.json").is_file():
        raise CheckpointError(f"This copy of Osler does not hold the trained parts of {MINI_NAME!r}.")
    kind = read_json(path / "config.json").get("model_type")
    if kind == "osler-quantized":
        raise CheckpointError(
            f"{str(path)!r} is quantized already.",
            allowed="Quantize the model that it was made from.",
            next_step="Open it without asking for bits.",
        )
    return _open_osler(path, name=shown) if kind == MODEL_TYPE else _open_huggingface(path, name=shown)


def load_and_quantize(name: str, *, bits: int, dtype: DTypeName, kernels: KernelChoice) -> Checkpoint:
    """Loads a model and quantizes it on the way, by the usual plan.

    Args:
        name: As for `open_model`. bits: 4 or 8.
        dtype: Of the activations and of what is not quantized.
        kernels: What computes.

    Raises:
        CheckpointError: As `open_model`, or if the weights do not fit.
    """
    opened = open_model(name)
    plan = default_plan(opened.config, bits=bits)
    model = quantized_network(
        opened.source,
        config=opened.config,
        plan=plan,
        dtype=torch_dtype(dtype),
        kernels=kernels.kernels,
        name=str(opened.path),
    )
    return Checkpoint(
        model=model,
        tokenizer=opened.tokenizer(),
        preprocess=opened.preprocess,
        name=opened.name,
        source=opened.path,
        licence=opened.licence,
        identity=sha256(f"{opened.identity} {plan.to_json()}".encode()).hexdigest(),
        bits=bits,
        warnings=opened.warnings,
        trained=opened.trained,
    )


def _open_gguf(path: Path, *, name: str, licence: str, home: TokenizerHome) -> OpenedModel:
    file = read_gguf(path)
    config = config_from_gguf(file)
    return OpenedModel(
        name=name,
        path=path,
        config=config,
        source=WeightSource(stored={}, gguf=file),
        tokenizer=lambda: GemmaTokenizer.from_gguf(file),
        tokenizer_home=home,
        preprocess=preprocess_for(config),
        licence=licence if licence != "unknown" else licence_of(file.metadata.get("general.license")),
        trained=frozenset(),
        identity=weights_digest(path).identity,
    )


def _open_osler(path: Path, *, name: str) -> OpenedModel:
    parts = read_osler_folder(path)
    adapter: dict[str, LowRank] = {}
    if has_adapter(path):
        matrices = {entry: tuple(value.shape) for entry, value in empty_network(parts.config).state_dict().items()}
        _, adapter = read_adapter(
            path, shapes={entry.removesuffix(".weight"): shape for entry, shape in matrices.items() if len(shape) == 2}
        )
        _check_merges(adapter, config=parts.config, path=path)
    file = read_gguf(embedded_gguf()) if parts.home == "embedded" else None
    return OpenedModel(
        name=name,
        path=path,
        config=parts.config,
        source=WeightSource(stored=parts.stored, gguf=file, adapter=adapter),
        tokenizer=lambda: GemmaTokenizer.from_folder(path) if file is None else GemmaTokenizer.from_gguf(file),
        tokenizer_home="stored" if file is None else "embedded",
        preprocess=parts.preprocess,
        licence=parts.licence,
        trained=parts.trained,
        identity=weights_digest(path).identity,
    )


def _check_merges(adapter: dict[str, LowRank], *, config: OslerConfig, path: Path) -> None:
    """An adapter on a layer that stays in floating point would be lost without a word."""
    merged = {name.removesuffix(".weight") for name in product_tensors(config)}
    if lost := sorted(set(adapter) - merged):
        raise CheckpointError(
            f"The adapter in {str(path)!r} changes {lost[0]!r}, which is not quantized.",
            allowed="Adapters on the decoder's linear layers are merged while quantizing.",
            next_step="Merge the adapter, save the model, and quantize that.",
        )


def _open_huggingface(path: Path, *, name: str) -> OpenedModel:
    opened = open_huggingface(path)
    return OpenedModel(
        name=name,
        path=path,
        config=opened.config,
        source=WeightSource(stored=opened.tensors),
        tokenizer=lambda: GemmaTokenizer.from_folder(path),
        tokenizer_home="stored",
        preprocess=opened.preprocess,
        licence="unknown",
        trained=PUBLISHED_SKILLS if opened.config.vision is not None else frozenset({"answers"}),
        identity=weights_digest(path).identity,
        warnings=opened.warnings,
    )
