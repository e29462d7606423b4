"""No identifier of a patient in any log, message or file but those that the user names; no network.

Every command that takes a patient's files runs on files with planted
identifiers, in ways that succeed and in ways that fail, with every log of
every library at its most talkative. A new command fails the first test until
it stands here.
"""

from __future__ import annotations

import _thread
import functools
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from typer.testing import CliRunner, Result

from osler.cli.app import _COMMANDS, app
from osler.engine.load import load
from tests.cli.mini import needs_mini
from tests.cli.planted_inputs import DIRECT, IDENTIFIERS, write_inputs
from tests.readers.orthanc import free_port
from tests.tasks.planted import DAY, NAME, NUMBER, SERIES, STUDY, all_bytes, found_in

_SHORT = "--max-tokens 3"
RUNS: dict[str, tuple[tuple[str, int], ...]] = {
    "ask": (
        (f"ask now 'What is shown?' --prior prior --record record.json --record report.pdf {_SHORT} "
         "--markdown out/a.md --sr out/a.sr.dcm --fhir out/a.json --picture out/a.png", 0),
        (f"ask slide.tif 'What is shown?' {_SHORT} --json", 0),
        (f"ask scan.nii.gz 'What is shown?' {_SHORT}", 0),
        (f"ask chest.tif 'What is shown?' {_SHORT}", 0),
        (f"ask chest.jpg 'What is shown?' {_SHORT}", 0),
        ("ask now 'What was the last HbA1c?' --record record.json", 0),
        ("ask now 'What is shown?' --record other.json", 2),
        ("ask now 'What is shown?' --prior other", 2),
        ("ask broken-slide.tif 'What is shown?'", 2),
        ("ask broken-scan.nii.gz 'What is shown?' --json", 2),
    ),
    "chat": ((f"chat now --record record.json {_SHORT}", 0), ("chat broken-folder", 2)),
    "report": ((f"report now --record record.json {_SHORT}", 0), ("report broken-chest.tif", 2)),
    "locate": (("locate now.png 'left lung' --picture out/l.png", 0), ("locate broken-now.png 'left lung'", 2)),
    "findings": (
        ("findings now 'pleural effusion' --json", 0),
        ("findings odd.dcm 'pleural effusion'", 0),
        ("findings broken.dcm", 2),
    ),
    "compare": (
        ("compare now.png before.png --boxes now.json --boxes before.json", 0),
        ("compare now prior --finding 'pleural effusion' --record record.json", 0),
        ("compare now other", 2),
        ("compare now prior --record broken.json", 2),
    ),
    "ehr": (
        ("ehr record.json 'What was the last HbA1c?' --steps", 0),
        (f"ehr record.json 'Why was the asthma treated?' {_SHORT}", 0),
        ("ehr broken.json 'What was the last HbA1c?'", 2),
        ("ehr record.json 'Why?' --record other.json", 2),
    ),
    "extract": (
        ("extract report.pdf --rules-only --fhir out/e.json", 0),
        ("extract broken.pdf --rules-only", 2),
        ("extract locked.pdf --rules-only", 2),
    ),
    "index": (("index archive --out out/archive.index", 0), ("index bad-inbox --out out/bad.index", 2)),
    "search": (
        ("search out/archive.index now --json", 0),
        ("search out/archive.index 'pleural effusion'", 0),
        ("search out/archive.index broken.dcm --kind study", 2),
    ),
    "triage": (("triage inbox --out out/list.csv", 0), ("triage bad-inbox --out out/bad.csv --json", 2)),
    "inspect": (
        ("inspect now --prior prior --record record.json --picture out/i.png", 0),
        ("inspect slide.tif --no-picture", 0),
        ("inspect broken-folder --no-picture", 2),
        ("inspect odd.dcm --no-picture", 0),
    ),
    "deidentify": (
        ("deidentify now --out out/clean --pixels none --key out/key", 0),
        ("deidentify broken-folder --out out/none --pixels none", 2),
    ),
    "receive": (("receive --out out/received --port {port} --stop-when-idle 100", 130),),
    "evaluate": (("evaluate --data data --sets lung-boxes --split all --untrained --out out/evaluated", 0),),
    "train": (("train --csv scans.csv --out out/tuned --base base --steps 1", 0),),
}  # fmt: skip
NO_PATIENT_FILES = {
    "models": "lists weights",
    "quantize": "reads weights",
    "build_kernels": "compiles its own source",
    "cache": "counts entries by kind and size, and removes them",
    "doctor": "reads what comes with Osler",
    "demo": "reads a file that comes with pydicom",
    "schema": "prints a schema that comes with Osler",
}
_PRODUCT = {"extract", "search", "ehr", "chat"}
"""Print lines of documents and of the record themselves: that is what is asked of them."""


@dataclass(kw_only=True)
class Listening:
    """What one pass over all commands gave."""

    folder: Path
    results: dict[str, Result] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    active: bool = False

    def log(self, record: logging.LogRecord) -> None:
        """Keeps a record with its arguments and traceback."""
        self.logged.append(f"{record.name}: {logging.Formatter().format(record)}")

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Keeps the connections and look-ups of names that Python makes; an audit hook."""
        if self.active and event in ("socket.connect", "socket.sendto"):
            self.connections.append(str(arguments[1]))
        if self.active and event == "socket.getaddrinfo":
            self.connections.append(str(arguments[0]))


def _send(port: int, file: Path) -> None:
    """Sends a file to a receiver, once it listens, and ends it by Ctrl-C; for a thread of its own."""
    from pynetdicom import AE

    images = dcmread(file)
    peer = AE()
    peer.add_requested_context(images.SOPClassUID, images.file_meta.TransferSyntaxUID)
    for _ in range(400):
        link = peer.associate("127.0.0.1", port)
        if link.is_established:
            link.send_c_store(images)
            link.release()
            break
        time.sleep(0.05)
    _thread.interrupt_main()


def _run(line: str, *, folder: Path) -> Result:
    port = free_port()
    sender = threading.Thread(target=_send, args=(port, folder / "now" / "1.dcm"))
    words = shlex.split(line.format(port=port))
    if words[0] == "receive":
        sender.start()
    result = CliRunner().invoke(app, words, input="What is shown?\n/evidence\n/open broken.dcm\n/save out/talk.md\n")
    if words[0] == "receive":
        sender.join()
    return result


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """Runs every line, listening to logs and connections."""
    folder = tmp_path_factory.mktemp("patient")
    session = functools.cache(load)
    heard = Listening(folder=folder)
    for name in ("out", "cache", "tmp", "home"):
        (folder / name).mkdir()
    write_inputs(folder)
    from tests.train.small_base import write_base

    write_base(folder / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSLER_STUDY_CACHE", str(folder / "cache"))
        session("osler-mini")
    sys.addaudithook(heard.hear)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OSLER_STUDY_CACHE", str(folder / "cache"))
        for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(folder / ("tmp" if name == "TMPDIR" else "home")))
        patch.setattr("tempfile.tempdir", str(folder / "tmp"))
        patch.setattr("osler.engine.load.load", lambda name, **options: session(name))
        patch.setattr(logging.Logger, "callHandlers", lambda logger, record: heard.log(record))
        patch.setattr(logging.root, "level", logging.DEBUG)
        heard.active = True
        for lines in RUNS.values():
            for line, _ in lines:
                heard.results[line] = _run(line, folder=folder)
        heard.active = False
    yield heard
    heard.active = False


def test_every_command_is_listened_to() -> None:
    assert {command.__name__ for command in _COMMANDS} == {*RUNS, *NO_PATIENT_FILES}
    assert not set(RUNS) & set(NO_PATIENT_FILES)


def test_every_command_hides_the_text_of_an_unexpected_error() -> None:
    """By `osler.cli.failure.guarded`, whose tests show what it tells."""
    assert [command.__name__ for command in _COMMANDS if not hasattr(command, "__wrapped__")] == []


@needs_mini
def test_the_commands_end_as_they_should(heard: Listening) -> None:
    wanted = {line: code for lines in RUNS.values() for line, code in lines}
    ended = {line: result.exit_code for line, result in heard.results.items()}
    assert ended == wanted, {line: heard.results[line].output for line in ended if ended[line] != wanted[line]}


@needs_mini
def test_no_log_and_no_message_names_the_patient(heard: Listening) -> None:
    messages = {line: result.stderr for line, result in heard.results.items()}
    found = {
        (where, secret)
        for where, text in [*messages.items(), *((text[:80], text) for text in heard.logged)]
        for secret in IDENTIFIERS
        if found_in(text.encode(), secret)
    }
    assert found == set()


@needs_mini
def test_no_answer_about_images_names_the_patient(heard: Listening) -> None:
    answers = {line: result.stdout for line, result in heard.results.items() if line.split()[0] not in _PRODUCT}
    assert {(line, one) for line, text in answers.items() for one in DIRECT if found_in(text.encode(), one)} == set()


@needs_mini
def test_no_file_that_the_user_has_not_named_holds_an_identifier(heard: Listening) -> None:
    for path in (path for name in ("cache", "tmp", "home") for path in (heard.folder / name).rglob("*")):
        left = str(path.relative_to(heard.folder)).encode()
        if path.is_file():  # of tensors, the head alone is words
            left += path.read_bytes()[:100_000]
        assert {secret for secret in IDENTIFIERS if found_in(left, secret)} == set(), path
    assert os.listdir(heard.folder / "tmp") == []
    assert os.listdir(heard.folder / "cache")


@needs_mini
def test_no_connection_is_made(heard: Listening) -> None:
    """But that of the test itself, which sends to `osler receive` on this machine."""
    assert [one for one in heard.connections if "127.0.0.1" not in one and one != "None"] == []
    assert heard.connections
    (line,) = (line for line, _ in RUNS["receive"])
    assert "1 files of 1 studies" in heard.results[line].stdout


@needs_mini
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("archive.index", "bad.index"), {SERIES, STUDY, DAY}),
        (("list.csv", "list.csv.journal", "bad.csv"), set()),
        (("clean", "deidentify-report.md"), set()),
        (("tuned",), set()),
        (("evaluated",), {NUMBER, *NAME.split("^")}),
    ],
    ids=["index", "worklist", "deidentified", "tuned", "evaluated"],
)
def test_what_the_named_files_hold(heard: Listening, names: tuple[str, ...], told: set[str]) -> None:
    """As docs/concepts/patient-data.md says: paths, UIDs, and the patients' keys of a set that is evaluated."""
    places = [path for path in (heard.folder / "out").iterdir() if path.name in names]
    assert places
    held = b"".join(path.read_bytes() if path.is_file() else all_bytes(path) for path in places)
    assert {one for one in IDENTIFIERS if found_in(held, one)} <= told
