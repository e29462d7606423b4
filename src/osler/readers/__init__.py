"""From files to a `Study`: DICOM, NIfTI, MGH and pictures, by one entry."""

from osler.readers.limits import LIMITS, Limits
from osler.readers.open import open_study

__all__ = ["LIMITS", "Limits", "open_study"]
