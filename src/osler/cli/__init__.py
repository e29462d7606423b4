"""The commands, one file each; `main` is the console script."""

from __future__ import annotations


def main() -> None:
    """Runs ``osler`` with the arguments of the process and exits; Ctrl-C ends it with 130, however early."""
    try:
        from osler.cli.app import run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
