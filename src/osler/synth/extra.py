"""The optional packages of synthetic patients, and what to do where they are missing."""

from __future__ import annotations

from types import ModuleType

from osler.extras import import_extra


def import_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Imports pyarrow and its Parquet writer."""
    return import_extra("pyarrow", extra="synth"), import_extra("pyarrow.parquet", extra="synth")


def require_synth() -> None:
    """Checks that the packages of whole patients are there, before modules that need them are imported.

    Raises:
        RequestError: With the first one that is missing.
    """
    for name in ("pyarrow", "reportlab", "pypdfium2"):
        import_extra(name, extra="synth")
