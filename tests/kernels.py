"""Kernels that a test asks for by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from osler.errors import RequestError


def by_name(choose_kernels: Callable[..., Any], *, library: Path) -> Callable[[str], Any]:
    """Returns kernels by their name; a path that this processor lacks is skipped with that reason."""

    def chosen(name: str) -> Any:
        try:
            return choose_kernels(name, library=library).kernels
        except RequestError as error:
            if "do not run on this processor" not in str(error):
                raise
            pytest.skip(str(error))

    return chosen
