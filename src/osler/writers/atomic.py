"""Files that are there whole or not at all: `osler.atomic` under its old name."""

from __future__ import annotations

from osler.atomic import Replace, check_writable, write_atomic

__all__ = ["Replace", "check_writable", "write_atomic"]
