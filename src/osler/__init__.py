"""Osler: questions about a patient's images and record, answered on your own machine.

Research software, not a medical device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from osler.library_logs import mute_values

if TYPE_CHECKING:
    from osler.engine.load import load
    from osler.engine.session import Session
    from osler.readers import open_study
    from osler.study import Answer, Study
    from osler.tasks.compare import compare
    from osler.tasks.findings import findings
    from osler.tasks.locate import locate
    from osler.tasks.report import report

__version__ = "0.1.0"

mute_values()

_HOMES = {
    "Answer": "osler.study",
    "Session": "osler.engine.session",
    "Study": "osler.study",
    "compare": "osler.tasks.compare",
    "findings": "osler.tasks.findings",
    "load": "osler.engine.load",
    "locate": "osler.tasks.locate",
    "open_study": "osler.readers",
    "report": "osler.tasks.report",
}

__all__ = [
    "Answer",
    "Session",
    "Study",
    "__version__",
    "compare",
    "findings",
    "load",
    "locate",
    "open_study",
    "report",
]


def __getattr__(name: str) -> Any:
    """Imports public names when they are first used, so that ``import osler`` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'osler' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
