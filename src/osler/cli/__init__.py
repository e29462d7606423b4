"""The commands, one file each; `main` is the console script."""

from __future__ import annotations


def main() -> None:
    """Runs ``osler`` with the arguments of the process and exits."""
    from osler.cli.app import run

    run()
