"""Synthetic patients: facts first, everything else rendered from the same facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.synth.draw import draw_facts, draw_patient
    from osler.synth.iterate import ReportSample, iterate_reports
    from osler.synth.report_run import write_reports
    from osler.synth.reports import ReportFacts, read_report_facts
    from osler.synth.shards import ReportRun

_HOMES = {
    "ReportFacts": "osler.synth.reports",
    "ReportRun": "osler.synth.shards",
    "ReportSample": "osler.synth.iterate",
    "draw_facts": "osler.synth.draw",
    "draw_patient": "osler.synth.draw",
    "iterate_reports": "osler.synth.iterate",
    "read_report_facts": "osler.synth.reports",
    "write_reports": "osler.synth.report_run",
}

__all__ = [
    "ReportFacts",
    "ReportRun",
    "ReportSample",
    "draw_facts",
    "draw_patient",
    "iterate_reports",
    "read_report_facts",
    "write_reports",
]


def __getattr__(name: str) -> Any:
    """Imports public names when they are first used: some need the optional packages."""
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.synth' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
