"""Compiled kernels, once a session, and a small model in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from osler.model.osler import Osler
from osler.quant.build import Built, build_kernels, find_compiler
from osler.quant.kernels import choose_kernels
from osler.weights import save_huggingface
from osler.weights.tokenizer import GemmaTokenizer
from tests.engine.conftest import config, model, parts_checkpoint, parts_model, tokenizer
from tests.kernels import Choose, by_name, missing_tiles

__all__ = ["config", "model", "parts_checkpoint", "parts_model", "tokenizer"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The kernels, compiled from the sources under test; tiles are computed by vectors on processors without."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return build_kernels(target=tmp_path_factory.mktemp("kernels") / "osler-kernels.so", tiles=missing_tiles())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Osler, tokenizer: GemmaTokenizer) -> Path:
    """The `debug` network with random weights as a Hugging Face folder."""
    place = tmp_path_factory.mktemp("model") / "debug"
    save_huggingface(model, place, tokenizer=tokenizer)
    return place


@pytest.fixture
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def choose(built: Built) -> Choose:
    """Kernels by name; a path that this processor lacks is skipped with that reason."""
    return by_name(choose_kernels, library=built.path)
