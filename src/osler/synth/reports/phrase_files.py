"""The phrase tables: TOML and CSV files in ``phrases/``."""

from __future__ import annotations

import csv
import tomllib
from importlib.resources import files
from typing import Any


def read_table(name: str) -> dict[str, Any]:
    """Reads a TOML file."""
    return tomllib.loads(_read(name))


def read_rows(name: str) -> dict[str, dict[str, str]]:
    """Reads a CSV file, by its column ``key``."""
    return {row["key"]: row for row in csv.DictReader(_read(name).splitlines())}


def _read(name: str) -> str:
    return (files("osler.synth.reports") / "phrases" / name).read_text(encoding="utf-8")
