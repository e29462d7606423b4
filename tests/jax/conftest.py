"""Small random networks, the same in PyTorch and in JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from osler.engine.runner import Runner
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler
from osler.quant.build import Built, find_compiler
from tests.kernels import by_name

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

_GEMMA3 = get_config("debug")
CONFIGS = {
    "gemma 3": _GEMMA3,
    "whole periods": replace(_GEMMA3, decoder=replace(_GEMMA3.decoder, layers=6, global_every=3)),
    "only sliding": replace(_GEMMA3, decoder=replace(_GEMMA3.decoder, layers=3)),
    "gemma 2": replace(
        _GEMMA3,
        decoder=replace(
            _GEMMA3.decoder,
            layers=4,
            global_every=2,
            qk_norm="none",
            attention_softcap=50.0,
            logit_softcap=30.0,
            rope_scale=1.0,
        ),
    ),
    "all parts": get_config("debug-parts"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One network, twice."""

    torch: Runner
    jax: JaxRunner  # noqa: F821 (imported where jax is there)
    config: OslerConfig


def build(name: str) -> Pair:
    from osler.jax.runner import JaxRunner

    config = CONFIGS[name]
    torch.manual_seed(4)
    model = Osler(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.1)
    for buffer in model.buffers():
        torch.nn.init.normal_(buffer)
    return Pair(torch=Runner(model), jax=JaxRunner(model.state_dict(), config=config, longest=64), config=config)


@pytest.fixture(scope="session")
def pair_of() -> Callable[[str], Pair]:
    """Builds a pair once for all tests."""
    made: dict[str, Pair] = {}

    def pair(name: str = "gemma 3") -> Pair:
        if name not in made:
            made[name] = build(name)
        return made[name]

    return pair


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The kernels for JAX, compiled from the sources under test: a library that is there already has their digest."""
    from osler.jax.build import build_kernels, library_path

    if library_path().is_file():
        return Built(path=library_path(), compiler="")
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return build_kernels(target=tmp_path_factory.mktemp("kernels") / "osler-kernels-jax.so")


@pytest.fixture(scope="session")
def choose(built: Built) -> Callable[[str], Kernels]:  # noqa: F821 (imported where jax is there)
    """Kernels by name; a path that this processor lacks is skipped with that reason."""
    from osler.jax.kernels import choose_kernels

    return by_name(choose_kernels, library=built.path)


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Greatest difference, relative to the greatest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())
