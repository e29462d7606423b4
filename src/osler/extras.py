"""Optional packages, and what to do where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from osler.errors import RequestError


def import_extra(name: str, *, extra: str) -> ModuleType:
    """Imports a package of an extra.

    Args:
        name: Of the module, such as ``"pyarrow.parquet"``.
        extra: Which extra of Osler brings it.

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
