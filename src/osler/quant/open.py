"""Any model that Osler loads, as the float weights that can be quantized, with all that belongs to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from osler.errors import CheckpointError, RequestError
from osler.model.config import OslerConfig
from osler.prepare import Preprocess, preprocess_for, require_same
from osler.quant.kernels import KernelChoice
from osler.quant.network import Assemble, product_tensors, quantized_network
from osler.quant.plan import default_plan
from osler.quant.source import WeightSource
from osler.weights import Checkpoint
from osler.weights.added_parts import read_own_parts
from osler.weights.assemble import DTypeName, empty_network, torch_dtype
from osler.weights.catalog import EMBEDDED_NAME, GEMMA_TERMS, MINI_FOLDER, MINI_NAME, find_model
from osler.weights.checkpoint import adapter_base, base_is_absent, licence_of, require_base
from osler.weights.contract import read_contract
from osler.weights.digest import weights_digest
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_config import config_from_gguf
from osler.weights.gguf_file import read_gguf
from osler.weights.huggingface import open_huggingface
from osler.weights.json_file import read_json
from osler.weights.lora import LowRank, read_adapter
from osler.weights.osler_folder import BASE_HOME, MODEL_TYPE, has_adapter, read_osler_folder
from osler.weights.skills import PUBLISHED_SKILLS, Skill, read_skills
from osler.weights.tokenizer import GemmaTokenizer

TokenizerHome = Literal["stored", "embedded"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedModel:
    """A model whose weights have not been read yet.

    Args:
        name: As asked for, or that of the folder or file. path: Where it is.
        config: Sizes of the network. source: Its weights, mapped.
        tokenizer: Makes the tokenizer. tokenizer_home: Where it is.
        preprocess: Its contract. licence: Terms of the weights.
        trained: What the weights were trained to do.
        identity: Of the float weights, see `Checkpoint`.
        warnings: What was odd about the files.
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
    content = read_json(path / "config.json")
    kind = content.get("model_type")
    if kind == "osler-quantized":
        raise CheckpointError(
            f"{str(path)!r} is quantized already.",
            allowed="Quantize the model that it was made from.",
            next_step="Open it without asking for bits.",
        )
    if kind != MODEL_TYPE:
        return _open_huggingface(path, name=shown)
    if content.get("decoder_home") == BASE_HOME:
        return _open_adapter(path, content, name=shown)
    return _open_osler(path, name=shown)


def load_and_quantize(
    name: str, *, bits: int, dtype: DTypeName, kernels: KernelChoice, assemble: Assemble | None = None
) -> Checkpoint:
    """Loads a model and quantizes it on the way, by the usual plan.

    Args:
        name: As for `open_model`. bits: 4 or 8.
        dtype: Of the activations and of what is not quantized.
        kernels: What computes.
        assemble: Builds the network, see `quantized_network`.

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
        assemble=assemble,
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
    adapter = _read_updates(path, config=parts.config) if has_adapter(path) else {}
    file = read_gguf(embedded_gguf()) if parts.home == "embedded" else None
    return OpenedModel(
        name=name,
        path=path,
        config=parts.config,
        source=WeightSource(
            stored=parts.stored, gguf=file, adapter={layer: (update,) for layer, update in adapter.items()}
        ),
        tokenizer=lambda: GemmaTokenizer.from_folder(path) if file is None else GemmaTokenizer.from_gguf(file),
        tokenizer_home="stored" if file is None else "embedded",
        preprocess=parts.preprocess,
        licence=parts.licence,
        trained=parts.trained,
        identity=weights_digest(path).identity,
    )


def _open_adapter(path: Path, content: Mapping[str, Any], *, name: str) -> OpenedModel:
    """An adapter on its base, whose own adapter stays."""
    try:
        base = open_model(adapter_base(path, content))
    except RequestError as error:
        raise base_is_absent(path, content) from error
    require_base(path, content, digest=weights_digest(base.path).shown)
    require_same(read_contract(path), base.preprocess)
    updates = dict(base.source.adapter)
    own = read_own_parts(path, content, preprocess=base.preprocess)
    learned = {} if own is not None and not has_adapter(path) else _read_updates(path, config=base.config)
    for layer, update in learned.items():
        updates[layer] = (*updates.get(layer, ()), update)
    stored = base.source.stored if own is None else {**own.without(base.source.stored), **own.tensors}
    return replace(
        base,
        name=name,
        path=path,
        config=base.config if own is None else own.on(base.config),
        source=replace(base.source, adapter=updates, stored=stored),
        licence=str(content.get("license", base.licence)),
        identity=sha256(f"{weights_digest(path).identity} {base.identity}".encode()).hexdigest(),
        trained=read_skills(content.get("trained", ["answers"]), source=str(path / "config.json")),
    )


def _read_updates(path: Path, *, config: OslerConfig) -> dict[str, LowRank]:
    """Reads an adapter, and refuses one on a layer beside the decoder, which may stay as it is and lose it."""
    matrices = {entry: tuple(value.shape) for entry, value in empty_network(config).state_dict().items()}
    shapes = {entry.removesuffix(".weight"): shape for entry, shape in matrices.items() if len(shape) == 2}
    _, adapter = read_adapter(path, shapes=shapes)
    merged = {name.removesuffix(".weight") for name in product_tensors(config)}
    if lost := sorted(set(adapter) - merged):
        raise CheckpointError(
            f"The adapter in {str(path)!r} changes {lost[0]!r}, which is no layer of the decoder.",
            allowed="Adapters on the decoder's linear layers are merged while quantizing.",
            next_step="Merge the adapter, save the model, and quantize that.",
        )
    return adapter


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
