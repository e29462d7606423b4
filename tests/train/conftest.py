from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from osler.weights.tokenizer import GemmaTokenizer
from tests.train.small_base import write_base

_TOKENIZERS = 3
"""That are kept: one takes 73 MB."""


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base model with the real vocabulary."""
    return write_base(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks are slower with several threads, and their sums then differ from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _tokenizer_read_once() -> Iterator[None]:
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
