"""The models known on this machine: where they are, whose terms hold, what they need.

Reads names, sizes and configurations only; torch is not imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osler.errors import CheckpointError, RequestError, unknown_name
from osler.model.config import OslerConfig, get_config
from osler.weights.cache import cache_folder
from osler.weights.embedded import EMBEDDED_BYTES, EMBEDDED_FILE, embedded_parts, embedded_path
from osler.weights.footprint import BYTES_A_WEIGHT, memory_bytes, needs_embedded_decoder, parameter_count

MINI_NAME = "osler-mini"
MINI_FOLDER = Path(__file__).parent / "mini"
EMBEDDED_NAME = "gemma-3-270m"
PUBLISHED_NAME = "medgemma-1.5-4b"
GEMMA_TERMS = "Gemma Terms of Use (https://ai.google.dev/gemma/terms)"
HAI_DEF_TERMS = "HAI-DEF Terms of Use (https://developers.google.com/health-ai-developer-foundations/terms)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A model that Osler knows by name.

    Args:
        name: For ``--model``. what: One line on what it is for.
        where: Its folder or file, ``None`` if it is not here.
        licence: Terms of the weights.
        disk_bytes: What it takes on disk, 0 if it is not here.
        memory_bytes: What the weights take in memory in bfloat16, 0 if not known.
        missing: What is missing and what to do, empty if it is ready.
    """

    name: str
    what: str
    where: Path | None
    licence: str
    disk_bytes: int
    memory_bytes: int
    missing: str = ""


def list_models() -> tuple[CatalogEntry, ...]:
    """Lists the models: the embedded ones, the published one, and the user's own in the models folders."""
    own = [_own_entry(path) for path in _own_models()]
    known = [_mini_entry(), _embedded_entry()]
    if PUBLISHED_NAME not in {entry.name for entry in own}:
        known.append(_published_entry())
    return (*known, *own)


def models_folders() -> tuple[Path, ...]:
    """Returns where the user's own models are looked for: ``$OSLER_MODELS``, then ``models`` in the cache."""
    listed = [Path(part).expanduser() for part in os.environ.get("OSLER_MODELS", "").split(os.pathsep) if part]
    return (*listed, cache_folder() / "models")


def find_model(name: str) -> Path:
    """Returns the folder or file of a name or path.

    Raises:
        CheckpointError: If it is known but not here.
        RequestError: If it is neither a path nor a known name; the message has the nearest match.
    """
    if name == MINI_NAME:
        return MINI_FOLDER
    if name == EMBEDDED_NAME:
        return embedded_path()
    own = {_own_name(path): path for path in _own_models()}
    if name in own:
        return own[name]
    if name and (path := _existing(name)):
        return path
    if name == PUBLISHED_NAME:
        entry = _published_entry()
        raise CheckpointError(f"The model {name!r} is not on this machine.", next_step=entry.missing)
    if os.sep in name or name.endswith(".gguf") or not name:
        raise RequestError(
            f"There is no model at {name!r}.",
            allowed="A folder with config.json and safetensors, or a GGUF file.",
            next_step="Check the path; 'osler models' lists the names.",
        )
    raise unknown_name("model", name=name, known=[MINI_NAME, EMBEDDED_NAME, PUBLISHED_NAME, *own])


def _mini_entry() -> CatalogEntry:
    ready = (MINI_FOLDER / "config.json").is_file()
    own = _size(MINI_FOLDER) if ready else 0
    missing = "" if ready else "Its trained parts are not in this copy of Osler: install a released version."
    return CatalogEntry(
        name=MINI_NAME,
        what="Gemma 3 270M with Osler's own image tower: for trying, testing and fine-tuning",
        where=MINI_FOLDER if ready else None,
        licence=f"Apache-2.0 (Osler's parts); {GEMMA_TERMS} (decoder)",
        disk_bytes=own + (EMBEDDED_BYTES if ready else 0),
        memory_bytes=parameter_count(get_config("osler-mini")) * BYTES_A_WEIGHT,
        missing=missing or _embedded_missing(),
    )


def _embedded_entry() -> CatalogEntry:
    missing = _embedded_missing()
    config = OslerConfig(name=EMBEDDED_NAME, decoder=get_config("osler-mini").decoder, vision=None)
    return CatalogEntry(
        name=EMBEDDED_NAME,
        what="Gemma 3 270M, pretrained, text only: continues a text, does not answer questions",
        where=None if missing else embedded_path(),
        licence=GEMMA_TERMS,
        disk_bytes=0 if missing else EMBEDDED_BYTES,
        memory_bytes=parameter_count(config) * BYTES_A_WEIGHT,
        missing=missing,
    )


def _embedded_missing() -> str:
    if embedded_path().is_file():
        return ""
    try:
        embedded_parts()
    except CheckpointError as error:
        return str(error)
    return ""


def _published_entry() -> CatalogEntry:
    return CatalogEntry(
        name=PUBLISHED_NAME,
        what="MedGemma 1.5 4B as published by Google",
        where=None,
        licence=HAI_DEF_TERMS,
        disk_bytes=0,
        memory_bytes=parameter_count(get_config(PUBLISHED_NAME)) * BYTES_A_WEIGHT,
        missing=(
            "Accept the terms at huggingface.co/google/medgemma-1.5-4b-it, copy the folder to this machine, and name "
            f"its path, or put it at {str(models_folders()[0] / PUBLISHED_NAME)!r}."
        ),
    )


def _existing(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):
        # Too long for a path, a NUL in it, or the home of an unknown user: no path at all.
        return None


def _own_entry(path: Path) -> CatalogEntry:
    kind, missing = "GGUF", ""
    if path.is_dir():
        try:
            content = json.loads((path / "config.json").read_text(encoding="utf-8"))
            kind = content.get("model_type", "unknown")
            if needs_embedded_decoder(content):
                missing = _embedded_missing()
        except (OSError, ValueError, AttributeError) as error:
            kind, missing = "unreadable", f"config.json cannot be read: {error}"
        if not missing and not any(path.glob("*.safetensors")):
            missing = "No safetensors in the folder."
    return CatalogEntry(
        name=_own_name(path),
        what=f"Your own, {kind}",
        where=path,
        licence="unknown",
        disk_bytes=_size(path),
        memory_bytes=memory_bytes(path),
        missing=missing,
    )


def _own_models() -> Iterator[Path]:
    seen: set[str] = set()
    for folder in models_folders():
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            is_model = path.suffix == ".gguf" if path.is_file() else (path / "config.json").is_file()
            if is_model and path.name != EMBEDDED_FILE and not path.name.startswith(".") and path.name not in seen:
                seen.add(path.name)
                yield path


def _own_name(path: Path) -> str:
    return path.stem if path.suffix == ".gguf" else path.name


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
