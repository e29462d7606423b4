"""One way in: a name, a folder or a file becomes a network with its tokenizer and contract."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from osler.errors import CheckpointError, RequestError
from osler.model.osler import Osler
from osler.prepare import Preprocess, preprocess_for, require_same
from osler.weights.added_parts import read_own_parts
from osler.weights.assemble import DTypeName, assemble, torch_dtype
from osler.weights.catalog import EMBEDDED_NAME, GEMMA_TERMS, MINI_FOLDER, MINI_NAME, find_model
from osler.weights.contract import read_contract
from osler.weights.digest import WeightsDigest, weights_digest
from osler.weights.embedded import EMBEDDED_SHA256, embedded_gguf
from osler.weights.gguf_config import config_from_gguf, gguf_tensors
from osler.weights.gguf_file import read_gguf
from osler.weights.huggingface import load_huggingface
from osler.weights.json_file import read_json
from osler.weights.lora import load_adapter
from osler.weights.osler_folder import BASE_HOME, MODEL_TYPE, has_adapter, load_osler_folder
from osler.weights.skills import PUBLISHED_SKILLS, Skill, read_skills
from osler.weights.tokenizer import GemmaTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network that is ready to answer.

    Args:
        name: As asked for. source: The folder or file.
        licence: Terms of the weights.
        digest: First digits of the SHA-256 of the weights; empty where reading them again takes long.
        identity: Changes whenever the weights do; empty for weights made in memory.
        bits: What the weights were quantized to; ``None``: they are floating point.
        warnings: What was odd about the files.
        trained: What the weights were trained to do; a task that needs another skill says so.
    """

    model: Osler
    tokenizer: GemmaTokenizer
    preprocess: Preprocess
    name: str
    source: Path
    licence: str
    digest: str = ""
    identity: str = ""
    bits: int | None = None
    warnings: tuple[str, ...] = ()
    trained: frozenset[Skill] = frozenset()

    @property
    def key(self) -> str:
        """Of weights and contract: what the network made of a study under another key cannot be compared."""
        return f"{self.identity or self.name} {self.preprocess.hash}"


def load_checkpoint(name_or_path: str | os.PathLike[str], *, dtype: DTypeName = "bfloat16") -> Checkpoint:
    """Loads a model by its name in the catalog or its path.

    Args:
        name_or_path: ``"osler-mini"``, a Hugging Face folder, an Osler folder, or a GGUF file.
        dtype: Of the weights in memory.

    Raises:
        CheckpointError: If files are missing or damaged or do not fit.
        RequestError: If the name is unknown.
    """
    torch_dtype(dtype)
    name = str(name_or_path)
    path = find_model(name)
    if name == EMBEDDED_NAME:
        return _from_gguf(embedded_gguf(), name=name, dtype=dtype, licence=GEMMA_TERMS)
    if path.is_file():
        return _from_gguf(path, name=path.stem, dtype=dtype, licence="unknown")
    if path == MINI_FOLDER and not (path / "config.json").is_file():
        raise CheckpointError(
            f"This copy of Osler does not hold the trained parts of {MINI_NAME!r}.",
            allowed=f"They belong in {str(MINI_FOLDER)!r}.",
            next_step="Install a released version, or train them: osler train recipes/mini_vision.toml, "
            "then osler train recipes/mini_answers.toml.",
        )
    return _from_folder(path, name=name if name == MINI_NAME else path.resolve().name, dtype=dtype)


def _from_folder(folder: Path, *, name: str, dtype: DTypeName) -> Checkpoint:
    content = read_json(folder / "config.json")
    if content.get("model_type") == "osler-quantized":
        raise CheckpointError(
            f"{str(folder)!r} holds quantized weights, which this needs in floating point.",
            next_step="Use the model that they were made from; answers come from osler.load.",
        )
    weights = weights_digest(folder)
    if content.get("model_type") == MODEL_TYPE and content.get("decoder_home") == BASE_HOME:
        return _from_adapter(folder, content, name=name, dtype=dtype, weights=weights)
    if content.get("model_type") == MODEL_TYPE:
        own = load_osler_folder(folder, dtype=dtype)
        return Checkpoint(
            model=own.model,
            tokenizer=own.tokenizer,
            preprocess=own.preprocess,
            name=name,
            source=folder,
            licence=own.licence,
            digest=weights.shown,
            identity=weights.identity,
            trained=own.trained,
        )
    with ThreadPoolExecutor(max_workers=1) as pool:
        tokenizer = pool.submit(GemmaTokenizer.from_folder, folder)
        loaded = load_huggingface(folder, dtype=dtype)
        return Checkpoint(
            model=loaded.model,
            tokenizer=tokenizer.result(),
            preprocess=loaded.preprocess,
            name=name,
            source=folder,
            licence="unknown",
            digest=weights.shown,
            identity=weights.identity,
            warnings=loaded.warnings,
            trained=PUBLISHED_SKILLS if loaded.model.vision is not None else frozenset({"answers"}),
        )


def _from_adapter(
    folder: Path, content: dict[str, Any], *, name: str, dtype: DTypeName, weights: WeightsDigest
) -> Checkpoint:
    """What was learned on a base: that is loaded and checked, the adapter merged into it, parts put on it."""
    place = adapter_base(folder, content)
    try:
        base = load_checkpoint(place, dtype=dtype)
    except RequestError as error:
        raise base_is_absent(folder, content) from error
    require_base(folder, content, digest=base.digest)
    require_same(read_contract(folder), base.preprocess)
    own = read_own_parts(folder, content, preprocess=base.preprocess)
    if own is not None:
        own.put_on(base.model)
    if own is None or has_adapter(folder):
        load_adapter(base.model, folder, mode="merge")
    return dataclasses.replace(
        base,
        name=name,
        source=folder,
        licence=str(content.get("license", base.licence)),
        digest=weights.shown,
        # Of both: answers that are remembered for one base must not be given for another.
        identity=sha256(f"{weights.identity} {base.identity}".encode()).hexdigest(),
        trained=read_skills(content.get("trained", ["answers"]), source=str(folder / "config.json")),
    )


def adapter_base(folder: Path, content: Mapping[str, Any]) -> str:
    """Returns the name or path of the model that an adapter's folder is for.

    Raises:
        CheckpointError: If the folder names itself.
    """
    named = str(content.get("base") or "")
    # A relative folder is meant from here, so that adapter and base can move together.
    place = str(folder / named) if named and (folder / named / "config.json").is_file() else named
    if place and Path(place).resolve() == folder.resolve():
        raise CheckpointError(f"{str(folder)!r} names itself as its base.", next_step="Mend `base` in its config.json.")
    return place


def base_is_absent(folder: Path, content: Mapping[str, Any]) -> CheckpointError:
    """Builds the error for an adapter whose base model is not here."""
    return CheckpointError(
        f"{str(folder)!r} is an adapter on {str(content.get('base') or '')!r}, which is not here.",
        next_step="Put the base back, or write its new place under `base` in config.json.",
    )


def require_base(folder: Path, content: Mapping[str, Any], *, digest: str) -> None:
    """Refuses a base with other weights than the adapter was trained on, where both digests are known.

    Raises:
        CheckpointError: With both.
    """
    wanted = content.get("base_digest") or ""
    if wanted and digest and wanted != digest:
        raise CheckpointError(
            f"{str(folder)!r} was trained on other weights of {str(content.get('base') or '')!r}: "
            f"their digest is {wanted}.",
            allowed=f"Those here have {digest}.",
            next_step="Fine-tune again on these, or get back the base that it was trained on.",
        )


def _from_gguf(path: Path, *, name: str, dtype: DTypeName, licence: str) -> Checkpoint:
    file = read_gguf(path)
    config = config_from_gguf(file)
    weights = WeightsDigest(EMBEDDED_SHA256, EMBEDDED_SHA256[:16]) if name == EMBEDDED_NAME else weights_digest(path)
    # The tokenizer is built in Python and Rust while torch, which lets go of the interpreter, fills the weights.
    with ThreadPoolExecutor(max_workers=1) as pool:
        tokenizer = pool.submit(GemmaTokenizer.from_gguf, file)
        model = assemble(config, dict(gguf_tensors(file, dtype=torch_dtype(dtype))), source=str(path))
        return Checkpoint(
            model=model,
            tokenizer=tokenizer.result(),
            preprocess=preprocess_for(config),
            name=name,
            source=path,
            licence=licence if licence != "unknown" else licence_of(file.metadata.get("general.license")),
            digest=weights.shown,
            identity=weights.identity,
        )


def licence_of(stated: object) -> str:
    """Returns the terms that a GGUF file states for its weights."""
    return GEMMA_TERMS if stated == "gemma" else str(stated or "unknown")
