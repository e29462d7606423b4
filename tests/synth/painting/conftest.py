"""Compiled kernels that paint, once a session, and a way to paint with them or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from osler.quant.build import Built, find_compiler
from osler.synth.painting.build import build_kernels
from osler.synth.painting.library import Painting, choose_painting

Result = TypeVar("Result")
Both = Callable[[Callable[[], Result]], tuple[Result, Result]]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The kernels, compiled from the sources under test."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return build_kernels(target=tmp_path_factory.mktemp("painting") / "painting.so")


@pytest.fixture
def both(built: Built) -> Both:
    """Calls something with the kernels, then without: both results."""
    native, numpy = choose_painting("native", library=built.path), choose_painting("numpy")

    def run(painted: Callable[[], Result]) -> tuple[Result, Result]:
        return painted_by(native, painted), painted_by(numpy, painted)

    return run


def painted_by(painting: Painting, painted: Callable[[], Result]) -> Result:
    """What something gives where one choice paints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osler.synth.painting.library._chosen", lambda: painting)
        return painted()
