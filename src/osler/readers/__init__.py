"""From files to a `Study`: DICOM, NIfTI, MGH, pictures, whole slides, documents and FHIR, by one entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.readers.limits import LIMITS, Limits
    from osler.readers.open import open_study
    from osler.readers.patient import open_patient

_HOMES = {
    "LIMITS": "osler.readers.limits",
    "Limits": "osler.readers.limits",
    "open_patient": "osler.readers.patient",
    "open_study": "osler.readers.open",
}

__all__ = ["LIMITS", "Limits", "open_patient", "open_study"]


def __getattr__(name: str) -> Any:
    """Imports public names when they are first used: a process that only decodes needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.readers' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
