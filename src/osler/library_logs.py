"""Logs of libraries that would write down what stands in a patient's files.

A library has one logger for all who use it in a process: where an application
has its own logging at DEBUG, Pillow would write every tag of a TIFF into it,
and highdicom the UIDs of the sources. So these start at a level at which they
quote nothing; who wants them sets another level after ``import osler``.
Libraries that are loaded by one reader alone are muted there.
"""

from __future__ import annotations

import logging

QUOTING = {
    "PIL": logging.WARNING,  # values of TIFF tags, names of color profiles
    "highdicom": logging.WARNING,  # UIDs of source images
}
"""Loggers by name, with the lowest level at which they tell no values."""


def mute_values() -> None:
    """Raises the level of the loggers of `QUOTING`, but where somebody has set one already."""
    for name, level in QUOTING.items():
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)
