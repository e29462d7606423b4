"""Writes a quantized folder as a GGUF file, which llama.cpp reads.

Codes and scales are those of the folder, to the bit, and Osler's own reader
gives them back. A GGUF file of a decoder holds the decoder and the tokenizer:
image tower, heads and the preprocessing contract have no place in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES

from osler.errors import CheckpointError, RequestError
from osler.model.config import OslerConfig
from osler.progress import Progress
from osler.quant.gguf_blocks import block_format, to_blocks
from osler.quant.gguf_header import header, tokenizer_of_file, tokenizer_of_vocabulary
from osler.quant.network import part_names
from osler.quant.packed import PackedWeight
from osler.quant.plan import QuantPlan, products
from osler.quant.stored import OpenedFolder, open_folder
from osler.weights.cache import whole_path
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_config import gguf_name
from osler.weights.gguf_file import read_gguf
from osler.weights.tokenizer_files import read_vocabulary

_CHUNK_ROWS = 4096
_FILE_TYPES = {"Q8_0": 7, "Q4_0": 2, "Q4_1": 3}


def export_gguf(folder: Path, path: Path, *, on_progress: Progress | None = None) -> int:
    """Writes a file that appears whole or not at all.

    Args:
        folder: From `quantize_to_folder`.
        path: Of the file; must not exist.
        on_progress: Called with ``"export"``, tensors done, tensors in all.

    Returns:
        Bytes of the file.

    Raises:
        RequestError: If the file exists, or GGUF cannot hold the network or a format.
        CheckpointError: If the folder is damaged, or the file cannot be written.
    """
    path = Path(path)
    check_target(path)
    opened = open_folder(Path(folder))
    tensors = _Tensors(opened)
    names, metadata = list(tensors.formats), _metadata(opened, formats=tensors.formats)
    try:
        with whole_path(path) as part:
            writer = GGUFWriter(part, metadata["general.architecture"])
            for key, value in metadata.items():
                _add_value(writer, key, value)
            for name in names:
                tensors.announce(writer, name)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for number, name in enumerate(names, start=1):
                writer.write_tensor_data(tensors.data(name))
                if on_progress is not None:
                    on_progress("export", number, len(names))
            writer.close()
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
    return path.stat().st_size


def check_target(path: Path) -> None:
    """Refuses a file that exists, or has no folder.

    Raises:
        RequestError: Before anything costly is done.
    """
    if path.exists():
        raise RequestError(f"{str(path)!r} exists.", next_step="Name another file, or delete it first.")
    if not path.parent.is_dir():
        raise RequestError(f"There is no folder {str(path.parent)!r}.", next_step="Make it, or name another one.")


def require_exportable(config: OslerConfig, plan: QuantPlan) -> None:
    """Refuses a network or a plan that GGUF cannot hold, before anything is quantized.

    Raises:
        RequestError: Naming what has no place in GGUF.
    """
    header(config, name="", licence="", tokenizer={})
    for product, _, columns in products(config.decoder):
        form = plan.format(product)
        if form is not None:
            block_format(form, columns=columns, name=product)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Rows of a packed weight that make one tensor of the file."""

    weight: PackedWeight
    start: int
    stop: int


class _Tensors:
    """The tensors of the file, in its order, by the network's names."""

    def __init__(self, opened: OpenedFolder) -> None:
        self._stored = opened.stored
        self._shapes = {name: s for name, s in opened.stored.shapes.items() if name.startswith("language_model.")}
        self._rows: dict[str, _Rows] = {}
        for product, _, _ in products(opened.config.decoder):
            self._rows |= _split(part_names(product), opened.stored.parts(product), shapes=self._shapes)
        self.formats = dict.fromkeys(self._shapes, "F32") | {
            name: block_format(rows.weight.format, columns=rows.weight.columns, name=name)
            for name, rows in self._rows.items()
        }

    def announce(self, writer: GGUFWriter, name: str) -> None:
        """Tells the writer of a tensor that will come."""
        kind = GGMLQuantizationType[self.formats[name]]
        shape, (weights, size) = self._shapes[name], GGML_QUANT_SIZES[kind]
        stored = (*shape[:-1], shape[-1] // weights * size)
        # The writer takes the shape in bytes of a tensor in blocks.
        dtype, told = (np.float32, shape) if kind is GGMLQuantizationType.F32 else (np.uint8, stored)
        writer.add_tensor_info(gguf_name(name), told, np.dtype(dtype), prod(stored), raw_dtype=kind)

    def data(self, name: str) -> np.ndarray:
        """A tensor as it is stored."""
        if name not in self._rows:
            # llama.cpp stores the factor 1 + w of a Gemma norm.
            return (self._stored.plain(name).float() + 1).numpy()
        rows = self._rows[name]
        starts = range(rows.start, rows.stop, _CHUNK_ROWS)
        parts = [to_blocks(rows.weight, start=at, stop=min(rows.stop, at + _CHUNK_ROWS)) for at in starts]
        return torch.cat(parts).numpy()


def _split(
    names: Sequence[str], parts: Sequence[PackedWeight], *, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, _Rows]:
    """Finds the tensors that a product joins: side by side in one weight, or each in its own."""
    if len(parts) == len(names):
        return {n: _Rows(weight=part, start=0, stop=part.rows) for n, part in zip(names, parts, strict=True)}
    (joined,) = parts
    found, start = {}, 0
    for name in names:
        stop = start + shapes[name][0]
        found[name] = _Rows(weight=joined, start=start, stop=stop)
        start = stop
    return found


def _metadata(opened: OpenedFolder, *, formats: Mapping[str, str]) -> dict[str, Any]:
    content, rows = opened.content, opened.config.decoder.vocab
    if content.get("tokenizer_home") == "embedded":
        tokenizer = tokenizer_of_file(read_gguf(embedded_gguf()), rows=rows)
    else:
        tokenizer = tokenizer_of_vocabulary(read_vocabulary(opened.folder), rows=rows)
    made = header(
        opened.config,
        name=str(content.get("made_from", opened.config.name)),
        licence=str(content.get("license", "unknown")),
        tokenizer=tokenizer,
    )
    counts = Counter(kind for kind in formats.values() if kind != "F32")
    made["general.quantization_version"] = 2
    made["general.file_type"] = _FILE_TYPES[counts.most_common(1)[0][0]]
    # What llama.cpp does not read, and people may want to know.
    made["osler.plan"] = opened.plan.to_json()
    made["osler.calibration"] = opened.calibration or "none"
    return made


def _add_value(writer: GGUFWriter, key: str, value: Any) -> None:
    if key == "general.architecture":
        return  # written by the writer itself
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, np.ndarray):
        writer.add_array(key, value.tolist())
    else:
        writer.add_array(key, value)
