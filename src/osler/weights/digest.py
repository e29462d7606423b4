"""Which weights exactly: a SHA-256 over the files of a model, where reading them again is cheap."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class WeightsDigest:
    """Which weights a folder or file holds.

    Args:
        identity: Changes whenever the weights do: the SHA-256 of everything, or, of weights over 128 MiB,
            that of names, sizes, times of change and blocks spread over each file, as reading all of
            it would take longer than loading it.
        shown: The first 16 digits of the SHA-256 of everything; empty for larger weights.
    """

    identity: str
    shown: str


def weights_digest(place: Path) -> WeightsDigest:
    """Digests a folder or file of weights, reading each byte once at most."""
    files = _model_files(place) if place.is_dir() else [place]
    if sum(path.stat().st_size for path in files) <= _CHEAP_BYTES:
        whole = _digest(files)
        return WeightsDigest(whole, whole[:_SHOWN] if files else "")
    return WeightsDigest(_sampled(files), "")


def _sampled(files: list[Path]) -> str:
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
