"""Osler's own folders: configuration, preprocessing contract, safetensors, tokenizer, adapter.

========================= ====================================================
``config.json``           ``model_type: "osler"``, the network, where the decoder is, the license
``preprocess.json``       the contract the weights were trained with
``vision.safetensors``    tower and projector, ``decoder.safetensors`` the decoder, ``parts.safetensors`` what else the
                          network has (`osler.weights.config_json.PARTS`); metadata hold the contract and its hash
``adapter_model...``      an adapter for the decoder, in peft's layout, merged when loaded
``tokenizer.json``        absent where the decoder is the embedded one, which brings its own
========================= ====================================================

The shipped mini is such a folder: tower and projector stored, decoder embedded. A
fine-tuned adapter is one too: it holds the adapter alone and names its base model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from osler.errors import CheckpointError
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.prepare import Preprocess, require_same
from osler.weights.assemble import DTypeName, assemble, torch_dtype
from osler.weights.cache import whole_file
from osler.weights.config_json import PARTS, config_from_dict, config_to_dict
from osler.weights.contract import CONTRACT_FILE, read_contract
from osler.weights.embedded import EMBEDDED_SHA256, embedded_gguf
from osler.weights.gguf_config import gguf_tensors
from osler.weights.gguf_file import read_gguf
from osler.weights.json_file import read_json
from osler.weights.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, LoraConfig, load_adapter, save_adapter
from osler.weights.parts import PART_MODULES
from osler.weights.safetensors_io import read_safetensors, write_safetensors
from osler.weights.skills import Skill, read_skills
from osler.weights.tokenizer import GemmaTokenizer

MODEL_TYPE = "osler"
DecoderHome = Literal["stored", "embedded"]
BASE_HOME = "base"
"""Where all weights are those of another model, which config.json names under ``base``."""
License = Literal["Gemma Terms of Use", "HAI-DEF Terms of Use", "unknown"]

_VERSION = 1
_EYES = ("vision_tower.", "multi_modal_projector.")
_VISION_FILE = "vision.safetensors"
_DECODER_FILE = "decoder.safetensors"
PARTS_FILE = "parts.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class OslerFolder:
    """A network read from one of Osler's folders."""

    model: Osler
    tokenizer: GemmaTokenizer
    preprocess: Preprocess
    licence: str
    trained: frozenset[Skill]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OslerParts:
    """What one of Osler's folders holds itself.

    Args:
        home: Where the decoder is.
        stored: The tensors of the folder, mapped.
    """

    config: OslerConfig
    home: DecoderHome
    preprocess: Preprocess
    stored: dict[str, Tensor]
    licence: str
    trained: frozenset[Skill]


def load_osler_folder(folder: Path, *, dtype: DTypeName, cache_dir: Path | None = None) -> OslerFolder:
    """Loads a network; its adapter, if there is one, is merged.

    Raises:
        CheckpointError: If files are missing or damaged, or weights do not fit.
        PreprocessMismatchError: If weights and preprocess.json name different contracts.
    """
    folder = Path(folder)
    parts = read_osler_folder(folder)
    if parts.home == "embedded":
        tokenizer, decoder = _embedded(dtype=dtype, cache_dir=cache_dir)
    else:
        tokenizer, decoder = GemmaTokenizer.from_folder(folder), {}
    tensors = decoder | {name: tensor.to(torch_dtype(dtype)) for name, tensor in parts.stored.items()}
    model = assemble(parts.config, tensors, source=str(folder))
    if has_adapter(folder):
        load_adapter(model, folder, mode="merge")
    return OslerFolder(
        model=model, tokenizer=tokenizer, preprocess=parts.preprocess, licence=parts.licence, trained=parts.trained
    )


def read_osler_folder(folder: Path) -> OslerParts:
    """Reads all of a folder but the embedded decoder and the tokenizer; tensors are mapped, not copied.

    Raises:
        CheckpointError: As `load_osler_folder`.
        PreprocessMismatchError: As there.
    """
    source = str(folder / "config.json")
    content = read_json(folder / "config.json")
    listed_parts(content, folder=folder)
    config = config_from_dict(content, source=source)
    home: DecoderHome = "embedded" if content.get("decoder_home", "stored") == "embedded" else "stored"
    if home == "embedded":
        _check_base(content, folder=folder)
    preprocess = read_contract(folder)
    return OslerParts(
        config=config,
        home=home,
        preprocess=preprocess,
        stored=_read_stored(folder, preprocess=preprocess),
        licence=str(content.get("license", "unknown")),
        trained=read_skills(content.get("trained", ["answers"]), source=source),
    )


def has_adapter(folder: Path) -> bool:
    """Whether an adapter for the decoder lies in a folder."""
    return (folder / ADAPTER_WEIGHTS).is_file() or (folder / ADAPTER_CONFIG).is_file()


def save_osler_folder(
    model: Osler,
    folder: Path,
    *,
    preprocess: Preprocess,
    tokenizer: GemmaTokenizer,
    decoder: DecoderHome = "stored",
    licence: License = "Gemma Terms of Use",
    trained: Iterable[Skill] = ("answers",),
) -> None:
    """Writes a network in Osler's layout.

    Args:
        decoder: ``"embedded"`` leaves the decoder and tokenizer out: the loader takes the embedded
            ones, and an adapter saved beside them with `save_adapter`.
        trained: What the weights were trained to do.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    folder = Path(folder)
    metadata = _metadata(preprocess)
    state = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    inner = {name.replace(".base.weight", ".weight"): tensor for name, tensor in state.items()}
    own = {name: tensor for name, tensor in inner.items() if name.startswith(_EYES)}
    parts = {name: tensor for name, tensor in inner.items() if not name.startswith((*_EYES, "language_model."))}
    text = {name: tensor for name, tensor in inner.items() if name.startswith("language_model.")}
    if own:
        write_safetensors(own, path=folder / _VISION_FILE, metadata=metadata)
    if parts:
        write_safetensors(parts, path=folder / PARTS_FILE, metadata=metadata)
    if decoder == "stored":
        write_safetensors(text, path=folder / _DECODER_FILE, metadata=metadata)
        tokenizer.save(folder)
    base = {"decoder_sha256": EMBEDDED_SHA256} if decoder == "embedded" else {}
    header = {"model_type": MODEL_TYPE, "version": _VERSION, "license": licence, "decoder_home": decoder, **base}
    header |= {"trained": sorted(trained), "parts": parts_of(model.config)}
    _write_text(folder / CONTRACT_FILE, preprocess.to_json() + "\n")
    _write_text(folder / "config.json", json.dumps(header | config_to_dict(model.config), indent=2) + "\n")


def _metadata(preprocess: Preprocess) -> dict[str, str]:
    return {"format": "pt", "preprocess": preprocess.to_json(), "preprocess_hash": preprocess.hash}


def _of(key: str, modules: Iterable[str]) -> bool:
    return key.partition(".")[0] in modules


def parts_of(config: OslerConfig) -> list[str]:
    """Names the parts that a network adds to the published one."""
    return [name for name in PARTS if getattr(config, name) is not None]


def listed_parts(content: Mapping[str, Any], *, folder: Path) -> tuple[str, ...]:
    """Returns the parts that a folder lists; old folders list none.

    Raises:
        CheckpointError: If this version does not know one, or its sizes are missing.
    """
    listed = content.get("parts", [])
    if not isinstance(listed, list) or (unknown := [name for name in listed if name not in PARTS]):
        named = ", ".join(map(repr, unknown)) if isinstance(listed, list) else repr(listed)
        raise CheckpointError(
            f"{str(folder)!r} has parts that this version does not know: {named}.",
            allowed=f"Known: {', '.join(PARTS)}.",
            next_step="Install the version of Osler that the folder was made with.",
        )
    if missing := [name for name in listed if not isinstance(content.get(name), dict)]:
        raise CheckpointError(
            f"{str(folder / 'config.json')!r} lists the part {missing[0]!r} without its sizes.",
            next_step="Copy config.json again from where the weights came from.",
        )
    return tuple(listed)


def save_tuned_folder(
    model: Osler,
    folder: Path,
    *,
    base: str,
    lora: LoraConfig | None,
    parts: Mapping[str, Tensor],
    preprocess: Preprocess,
    base_digest: str,
    licence: str,
    trained: Iterable[Skill],
) -> None:
    """Writes what was learned on a base: an adapter in peft's layout, parts, or both, and how to load them.

    Args:
        model: With adapters, if ``lora`` says what they are.
        base: Name or folder of the base.
        parts: Tensors of the parts that learned, by their names in the network.
        base_digest: Of the base's weights; empty where that is not known.
        trained: What all together were trained to do.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    folder = Path(folder)
    header = {
        "model_type": MODEL_TYPE,
        "version": _VERSION,
        "license": licence,
        "decoder_home": BASE_HOME,
        "base": base,
        "base_digest": base_digest,
        "preprocess_hash": preprocess.hash,
        "trained": sorted(trained),
    }
    if parts:
        header["parts"] = [name for name, modules in PART_MODULES.items() if any(_of(key, modules) for key in parts)]
        write_safetensors(parts, path=folder / PARTS_FILE, metadata=_metadata(preprocess))
    if lora is not None:
        save_adapter(model, folder, config=lora)
    _write_text(folder / CONTRACT_FILE, preprocess.to_json() + "\n")
    _write_text(folder / "config.json", json.dumps(header | config_to_dict(model.config), indent=2) + "\n")


def _embedded(*, dtype: DTypeName, cache_dir: Path | None) -> tuple[GemmaTokenizer, dict[str, Tensor]]:
    file = read_gguf(embedded_gguf(cache_dir=cache_dir))
    # The tokenizer is built in Python and Rust while torch, which lets go of the interpreter, fills the weights.
    with ThreadPoolExecutor(max_workers=1) as pool:
        tokenizer = pool.submit(GemmaTokenizer.from_gguf, file)
        tensors = dict(gguf_tensors(file, dtype=torch_dtype(dtype)))
        return tokenizer.result(), tensors


def _check_base(content: Mapping[str, Any], *, folder: Path) -> None:
    wanted = content.get("decoder_sha256", EMBEDDED_SHA256)
    if wanted != EMBEDDED_SHA256:
        raise CheckpointError(
            f"{str(folder)!r} was trained on a decoder with SHA-256 {wanted}.",
            allowed=f"The embedded one has {EMBEDDED_SHA256}.",
            next_step="Install the version of Osler that the folder was made with.",
        )


def _read_stored(folder: Path, *, preprocess: Preprocess) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        file = read_safetensors(path)
        if "preprocess" in file.metadata:
            require_same(Preprocess.from_json(file.metadata["preprocess"]), preprocess)
        tensors |= file.tensors
    return tensors


def _weight_files(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.glob("*.safetensors")) if path.name != ADAPTER_WEIGHTS)


def _write_text(path: Path, text: str) -> None:
    try:
        with whole_file(path) as out:
            out.write(text.encode("utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
