"""Reads GGUF files: metadata and memory-mapped tensors.

Written here because the `gguf` package's reader builds several Python objects
for each of Gemma's 262,144 tokens, which a walk over the bytes does not need.
The format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFormat:
    """How a tensor is stored: ``weights`` values in every ``bytes`` bytes."""

    name: str
    weights: int
    bytes: int


BLOCK_FORMATS = {
    0: BlockFormat(name="F32", weights=1, bytes=4),
    1: BlockFormat(name="F16", weights=1, bytes=2),
    2: BlockFormat(name="Q4_0", weights=32, bytes=18),
    3: BlockFormat(name="Q4_1", weights=32, bytes=20),
    6: BlockFormat(name="Q5_0", weights=32, bytes=22),
    8: BlockFormat(name="Q8_0", weights=32, bytes=34),
    12: BlockFormat(name="Q4_K", weights=256, bytes=144),
    13: BlockFormat(name="Q5_K", weights=256, bytes=176),
    14: BlockFormat(name="Q6_K", weights=256, bytes=210),
    30: BlockFormat(name="BF16", weights=1, bytes=2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """Where a tensor lies in the file.

    Args:
        shape: As torch has it, the contiguous axis last.
        offset: First byte, from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    format: BlockFormat
    offset: int

    @property
    def bytes(self) -> int:
        """Bytes that it takes in the file."""
        return prod(self.shape) // self.format.weights * self.format.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFile:
    """An open GGUF file; tensors are read from the memory map on request."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]
    data: np.ndarray

    def raw(self, name: str) -> np.ndarray:
        """Returns the stored bytes of a tensor, not copied.

        Raises:
            CheckpointError: If there is no such tensor.
        """
        tensor = self.tensor(name)
        return self.data[tensor.offset : tensor.offset + tensor.bytes]

    def read(self, name: str, *, dtype: torch.dtype) -> torch.Tensor:
        """Returns a tensor's values in a floating type.

        Raises:
            CheckpointError: If there is no such tensor.
        """
        from osler.weights.gguf_blocks import dequantize

        tensor = self.tensor(name)
        return dequantize(self.raw(name), format_name=tensor.format.name, shape=tensor.shape, dtype=dtype)

    def value(self, key: str) -> Any:
        """Returns a metadata value.

        Raises:
            CheckpointError: If the file lacks the key.
        """
        if key not in self.metadata:
            raise CheckpointError(
                f"{str(self.path)!r} lacks the metadata key {key!r}.",
                next_step="Convert the model again with a current llama.cpp.",
            )
        return self.metadata[key]

    def tensor(self, name: str) -> GgufTensor:
        """Returns where a tensor lies.

        Raises:
            CheckpointError: If there is no such tensor.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{str(self.path)!r} has no tensor {name!r}.")
        return self.tensors[name]


def read_gguf(path: Path) -> GgufFile:
    """Opens a GGUF file: reads the header and maps the tensors.

    Raises:
        CheckpointError: If the file is absent, not GGUF, truncated, or holds formats unknown here.
    """
    path = Path(path)
    try:
        with path.open("rb") as source:
            view = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the file is empty"
        raise CheckpointError(f"Cannot open {str(path)!r}: {reason}.", next_step="Check the path.") from error
    try:
        metadata, tensors = _read_header(_Cursor(view), path=path)
    except (struct.error, ValueError, TypeError, IndexError, ArithmeticError, MemoryError, RecursionError) as error:
        raise _damaged(path, detail="its header does not parse") from error
    data = np.frombuffer(view, dtype=np.uint8)
    for tensor in tensors.values():
        if tensor.offset + tensor.bytes > len(data):
            raise _damaged(path, detail=f"tensor {tensor.name!r} ends at byte {tensor.offset + tensor.bytes:,}")
    return GgufFile(path=path, metadata=metadata, tensors=tensors, data=data)


class _Cursor:
    """Walks over the header."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view = view
        self.at = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.view, self.at)
        self.at += struct.calcsize(code)
        return value

    def string(self) -> str:
        return self.strings(1)[0]

    def strings(self, count: int) -> list[str]:
        view, at, size = self.view, self.at, len(self.view)
        length_of = struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            end = at + 8 + length_of(view, at)[0]
            if end > size:
                raise IndexError("string past the end of the file")
            found.append(view[at + 8 : end].decode("utf-8"))
            at = end
        self.at = at
        return found

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_code(kind))
        item = self.scalar("I")
        count = self.scalar("Q")
        if item == _STRING:
            return self.strings(count)
        if item == _ARRAY:
            return [self.value(_ARRAY) for _ in range(count)]
        dtype = np.dtype(_code(item)).newbyteorder("<")
        if count * dtype.itemsize > len(self.view) - self.at:
            raise IndexError("array past the end of the file")
        array = np.frombuffer(self.view, dtype=dtype, count=count, offset=self.at).copy()
        self.at += count * dtype.itemsize
        return array


def _code(kind: int) -> str:
    if kind not in _SCALARS:
        raise IndexError(f"unknown value type {kind}")
    return _SCALARS[kind]


def _read_header(cursor: _Cursor, *, path: Path) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
    if cursor.view[:4] != _MAGIC:
        raise CheckpointError(
            f"{str(path)!r} is not a GGUF file: it starts with {cursor.view[:4]!r}.",
            allowed=f"GGUF starts with {_MAGIC!r}.",
        )
    cursor.at = 4
    version = cursor.scalar("I")
    if version not in _VERSIONS:
        raise CheckpointError(
            f"{str(path)!r} is GGUF version {version}.",
            allowed="Versions 2 and 3, little-endian, are read.",
            next_step="Convert the model again with a current llama.cpp.",
        )
    tensor_count, value_count = cursor.scalar("Q"), cursor.scalar("Q")
    metadata = {}
    for _ in range(value_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    infos = [_read_tensor_info(cursor, path=path) for _ in range(tensor_count)]
    alignment = int(metadata.get("general.alignment", 32))
    start = -(-cursor.at // alignment) * alignment
    tensors = {
        name: GgufTensor(name=name, shape=shape, format=BLOCK_FORMATS[kind], offset=start + offset)
        for name, shape, kind, offset in infos
    }
    return metadata, tensors


def _read_tensor_info(cursor: _Cursor, *, path: Path) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    dimensions = cursor.scalar("I")
    if not 0 < dimensions <= _MAX_DIMENSIONS:
        raise IndexError(f"{dimensions} dimensions")
    shape = tuple(cursor.scalar("Q") for _ in range(dimensions))[::-1]
    kind, offset = cursor.scalar("I"), cursor.scalar("Q")
    if kind not in BLOCK_FORMATS:
        raise CheckpointError(
            f"Tensor {name!r} of {str(path)!r} is stored in format number {kind}, which is not read.",
            allowed=f"Formats read: {', '.join(block.name for block in BLOCK_FORMATS.values())}.",
            next_step="Convert the model to one of them with llama.cpp's llama-quantize.",
        )
    if shape[-1] % BLOCK_FORMATS[kind].weights:
        raise IndexError(f"{name}: rows of {shape[-1]} are not whole blocks")
    return name, shape, kind, offset


def _damaged(path: Path, *, detail: str) -> CheckpointError:
    return CheckpointError(
        f"{str(path)!r} is truncated or damaged: {detail}, and the file has {path.stat().st_size:,} bytes.",
        next_step="Copy or download the file again.",
    )
