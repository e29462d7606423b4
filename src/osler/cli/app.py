"""The command-line application: which commands there are, and ``--version``.

Nothing heavy is imported here: ``osler --help`` answers before torch, numpy
or pydicom would have loaded. Each command imports what it needs when it runs.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

import osler
from osler.cli.ask import ask
from osler.cli.build_kernels import build_kernels
from osler.cli.cache import cache
from osler.cli.chat import chat
from osler.cli.compare import compare
from osler.cli.deidentify import deidentify
from osler.cli.demo import demo
from osler.cli.doctor import doctor
from osler.cli.ehr import ehr
from osler.cli.evaluate import evaluate
from osler.cli.extract import extract
from osler.cli.findings import findings
from osler.cli.inspect import inspect
from osler.cli.locate import locate
from osler.cli.models import models
from osler.cli.quantize import quantize
from osler.cli.receive import receive
from osler.cli.report import report
from osler.cli.schema import schema
from osler.cli.search import index, search
from osler.cli.synth import synth
from osler.cli.synth_patients import patients
from osler.cli.synth_show import show
from osler.cli.synth_volumes import volumes
from osler.cli.train import train
from osler.cli.triage import triage

app = typer.Typer(
    name="osler",
    help="Ask questions about a patient's images, on your own machine. Research software, not a medical device.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"osler {osler.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


_COMMANDS = (
    ask, chat, ehr, extract, report, locate, findings, compare,
    index, search, triage,
    inspect, receive, deidentify,
    models, quantize, build_kernels, cache, doctor, demo, train, evaluate, schema,
)  # fmt: skip
for command in _COMMANDS:
    app.command()(command)
for command in (volumes, patients, show):
    synth.command()(command)
app.add_typer(synth)


def run() -> None:
    """Runs the application; SIGTERM unwinds like Ctrl-C, so that no half file stays."""
    signal.signal(signal.SIGTERM, _stop)
    app()


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)
