"""The optional packages of synthetic patients, and what to do where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from osler.errors import RequestError


def import_extra(name: str) -> ModuleType:
    """Imports a package of the ``synth`` extra.

    Raises:
        RequestError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RequestError(
            f"Synthetic patients need the package {name.partition('.')[0]!r}, which is not installed.",
            next_step="pip install 'osler[synth]'",
        ) from error


def import_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Imports pyarrow and its Parquet writer."""
    return import_extra("pyarrow"), import_extra("pyarrow.parquet")
