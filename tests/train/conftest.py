from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.train.small_base import tokenizers_read_once, write_base


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
    with tokenizers_read_once():
        yield
