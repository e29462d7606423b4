"""A base model for tests of fine-tuning: the debug network with the vocabulary of the real tokenizer, and scans."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from osler.model.config import OslerConfig, TokenIds, get_config
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_file import read_gguf
from osler.weights.osler_folder import save_osler_folder
from osler.weights.tokenizer import GemmaTokenizer

_TOKENIZERS = 3
"""That are kept: one takes 73 MB."""


@contextmanager
def tokenizers_read_once() -> Iterator[None]:
    """Reading 262,144 words takes longer than a small run: the same file is read once in this process."""
    read, known = GemmaTokenizer.from_folder, {}

    def from_folder(folder: Path) -> GemmaTokenizer:
        try:
            status = (folder / "tokenizer.json").stat()
        except OSError:
            return read(folder)
        key = (str(folder), status.st_mtime_ns, status.st_size)
        known[key] = known.pop(key, None) or read(folder)
        if len(known) > _TOKENIZERS:
            del known[next(iter(known))]  # the one not asked for longest
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GemmaTokenizer, "from_folder", from_folder)
        yield


def small_config() -> OslerConfig:
    """The debug network, narrow, with all words of Gemma."""
    debug = get_config("debug")
    decoder = dataclasses.replace(
        debug.decoder, vocab=262_144, width=16, mlp_width=32, layers=3, heads=2, kv_heads=1, head_dim=16
    )
    return dataclasses.replace(debug, decoder=decoder, tokens=TokenIds())


def write_base(folder: Path) -> Path:
    """Writes a random base."""
    torch.manual_seed(0)
    config = small_config()
    model = Osler(config)
    tokenizer = GemmaTokenizer.from_gguf(read_gguf(embedded_gguf()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05)
    save_osler_folder(model, folder, preprocess=preprocess_for(config), tokenizer=tokenizer)
    return folder


def write_pictures(folder: Path, *, count: int, seed: int = 0) -> list[str]:
    """Draws pictures, bright or dark by turns, and returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = []
    for number in range(count):
        level = 40 if number % 2 else 200
        pixels = np.clip(rng.normal(level, 25, (40, 48)), 0, 255).astype(np.uint8)
        names.append(f"scan{number}.png")
        Image.fromarray(pixels).save(folder / names[-1])
    return names


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Writes a CSV with the columns of the first row."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def questions(names: Iterable[str]) -> list[dict[str, object]]:
    """A question on each picture."""
    return [
        {"path": name, "question": "Is it bright?", "answer": "No, dark." if number % 2 else "Yes, bright."}
        for number, name in enumerate(names)
    ]


def recipe_text(*, base: Path, csv_path: Path, out: Path, steps: int, more: str = "") -> str:
    """A fine-tuning recipe for the small base, in float32, as TOML."""
    return f"""stage = "finetune"
csv = "{csv_path}"
out = "{out}"
base = "{base}"
rank = 4
micro_batch = 2
save_every = 3
precision = "float32"
{more}
[optimizer]
steps = {steps}
batch = 4
learning_rate = 2e-2
warmup = 2
weight_decay = 0.0
average = 0.5
"""
