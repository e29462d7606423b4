"""Writes safetensors one tensor at a time.

The library's own writer wants all tensors at once, which for 4 billion weights
is more memory than quantizing them needs. The format is a header in JSON, with
the place of each tensor, and the tensors one after the other:
https://huggingface.co/docs/safetensors. Shapes are known beforehand, so the
header goes first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from osler.errors import CheckpointError
from osler.weights.cache import whole_file

_NAMES = {torch.uint8: "U8", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
_ALIGN = 64
_PROBES, _PROBE_BYTES = 64, 1 << 14

Place = tuple[torch.dtype, tuple[int, ...]]


def write_stream(
    path: Path, *, places: Mapping[str, Place], metadata: Mapping[str, str], tensors: Callable[[], Iterable[Tensor]]
) -> str:
    """Writes a file that appears whole or not at all.

    Args:
        places: Type and shape of each tensor, in the order in which they come.
        metadata: Of the file.
        tensors: Yields the tensors.

    Returns:
        SHA-256 of the file.

    Raises:
        CheckpointError: If the place cannot be written or is full.
    """
    digest = sha256()
    try:
        with whole_file(path) as out:
            header = _header(places, metadata)
            digest.update(header)
            out.write(header)
            for (name, (dtype, shape)), tensor in zip(places.items(), tensors(), strict=True):
                assert (tensor.dtype, tuple(tensor.shape)) == (dtype, shape), name
                view = memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
                digest.update(view)
                out.write(view)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a whole file."""
    digest = sha256()
    with path.open("rb") as source:
        while block := source.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def file_probe(path: Path) -> str:
    """Returns a SHA-256 of the size, the header and 64 blocks spread over a file: cheap at every start."""
    size = path.stat().st_size
    digest = sha256(str(size).encode())
    with path.open("rb") as source:
        head = int.from_bytes(source.read(8), "little")
        digest.update(source.read(min(head, size)))
        for number in range(_PROBES):
            source.seek(number * max(0, size - _PROBE_BYTES) // (_PROBES - 1))
            digest.update(source.read(_PROBE_BYTES))
    return digest.hexdigest()


def _header(places: Mapping[str, Place], metadata: Mapping[str, str]) -> bytes:
    content: dict[str, object] = {"__metadata__": dict(metadata)}
    at = 0
    for name, (dtype, shape) in places.items():
        end = at + prod(shape) * dtype.itemsize
        content[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(content, separators=(",", ":")).encode()
    # Filled up with spaces, as the format allows, so that the tensors start on a cache line.
    text += b" " * (-(len(text) + 8) % _ALIGN)
    return len(text).to_bytes(8, "little") + text
