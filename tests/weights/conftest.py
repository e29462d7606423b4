from __future__ import annotations

from pathlib import Path

import pytest

from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_file import GgufFile, read_gguf
from osler.weights.tokenizer import GemmaTokenizer


@pytest.fixture(scope="session")
def embedded_path() -> Path:
    return embedded_gguf()


@pytest.fixture(scope="session")
def embedded(embedded_path: Path) -> GgufFile:
    return read_gguf(embedded_path)


@pytest.fixture(scope="session")
def tokenizer(embedded: GgufFile) -> GemmaTokenizer:
    return GemmaTokenizer.from_gguf(embedded)
