"""The optional packages of synthetic patients, and what to do where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from osler.errors import RequestError


def import_extra(name: str, *, extra: str = "synth") -> ModuleType:
    """Imports a package of an extra.

    Raises:
        RequestError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RequestError(
            f"This needs the package {name.partition('.')[0]!r}, which is not installed.",
            next_step=f"pip install 'osler[{extra}]'",
        ) from error


def import_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Imports pyarrow and its Parquet writer."""
    return import_extra("pyarrow"), import_extra("pyarrow.parquet")


def require_synth() -> None:
    """Checks that the packages of whole patients are there, before modules that need them are imported.

    Raises:
        RequestError: With the first one that is missing.
    """
    for name in ("pyarrow", "reportlab", "pypdfium2"):
        import_extra(name)
