"""Which weights exactly: a SHA-256 over the files of a model, where reading them again is cheap."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

_CHUNK = 1 << 22
_CHEAP_BYTES = 128 << 20
_SHOWN = 16
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 16


def files_digest(folder: Path) -> str:
    """Returns the SHA-256 (hexadecimal) over names and contents of a folder's safetensors and JSON files."""
    return _digest(_model_files(folder))


def short_digest(place: Path) -> str:
    """Returns the first 16 digits for a folder or file of at most 128 MiB, and nothing for a larger one."""
    files = _model_files(place) if place.is_dir() else [place]
    if not files or sum(path.stat().st_size for path in files) > _CHEAP_BYTES:
        return ""
    return _digest(files)[:_SHOWN]


def identity(place: Path) -> str:
    """Returns a hash that changes whenever the weights of a folder or file do.

    Of small models it is the SHA-256 of everything; of larger ones that of names, sizes, times of
    change and blocks spread over each file, as reading all of it would take longer than loading it.
    """
    files = _model_files(place) if place.is_dir() else [place]
    if sum(path.stat().st_size for path in files) <= _CHEAP_BYTES:
        return _digest(files)
    digest = sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        with path.open("rb") as source:
            for number in range(_SAMPLES):
                source.seek(number * max(0, status.st_size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(source.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.json"))]


def _digest(files: list[Path]) -> str:
    digest = sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as source:
            while block := source.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()
