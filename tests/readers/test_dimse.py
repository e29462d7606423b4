"""C-STORE from real peers: pynetdicom, dcmtk, Orthanc; files whole or not at all, whatever the peer does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from osler.errors import RequestError
from osler.readers import open_study
from osler.readers.dimse import ReceiveOptions, Receiver
from tests.cli.running import SOURCES, invoke
from tests.readers.make_dicom import SERIES_UID, STUDY_UID, base_dataset, ramp, write_series
from tests.readers.orthanc import free_port, needs_orthanc, running

pynetdicom = pytest.importorskip("pynetdicom")
from pynetdicom.sop_class import CTImageStorage, Verification  # noqa: E402

STORESCU = shutil.which("storescu")
SECRETS = ("Doe", "Jane", "SECRET-1")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "in", volume=ramp(6, 70, 80))


def options(tmp_path: Path, **more: object) -> ReceiveOptions:
    return ReceiveOptions(out=tmp_path / "inbox", port=free_port(), **more)  # type: ignore[arg-type]


def send(port: int, paths: list[Path], *, title: str = "TEST", change: object = None) -> list[int]:
    """Sends files and returns the statuses."""
    entity = pynetdicom.AE(ae_title=title)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.add_requested_context(Verification)
    link = entity.associate("127.0.0.1", port)
    if not link.is_established:
        return []
    statuses = []
    for path in paths:
        ds = dcmread(path)
        if callable(change):
            change(ds)
        statuses.append(int(link.send_c_store(ds).Status))
    link.release()
    return statuses


def stored(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "inbox").rglob("*") if path.is_file())


def test_a_series_arrives_as_it_is(tmp_path: Path, files: list[Path]) -> None:
    with Receiver(options(tmp_path)) as receiver:
        port = receiver._options.port
        assert send(port, files) == [0] * 6
        entity = pynetdicom.AE()
        entity.add_requested_context(Verification)
        link = entity.associate("127.0.0.1", port)
        assert link.send_c_echo().Status == 0
        link.release()
    assert receiver.received.files == 6
    folder = tmp_path / "inbox" / STUDY_UID / SERIES_UID
    assert sorted(path.stem for path in folder.iterdir()) == sorted(dcmread(path).SOPInstanceUID for path in files)
    one, other = open_study(tmp_path / "in").volumes()[0], open_study(tmp_path / "inbox").volumes()[0]
    assert np.array_equal(one.read(), other.read())
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_copies_and_other_objects_of_the_same_name(tmp_path: Path, files: list[Path]) -> None:
    with Receiver(options(tmp_path)) as receiver:
        port = receiver._options.port
        send(port, files[:1])
        before = stored(tmp_path)[0].read_bytes()
        assert send(port, files[:1]) == [0]
        assert send(port, files[:1], change=lambda ds: setattr(ds, "SliceThickness", "9")) == [0x0111]
    assert receiver.received.again == 1
    assert "the first is kept" in next(iter(receiver.received.refused))
    assert [path.read_bytes() for path in stored(tmp_path)] == [before]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", "../../../etc"),
        ("SeriesInstanceUID", "/tmp/x"),
        ("StudyInstanceUID", "1..2"),
        ("SeriesInstanceUID", ""),
        ("StudyInstanceUID", "1.2\\1.3"),
    ],
)
def test_names_cannot_lead_elsewhere(
    tmp_path: Path, files: list[Path], keyword: str, value: str, recwarn: pytest.WarningsRecorder
) -> None:
    with Receiver(options(tmp_path)) as receiver:
        assert send(receiver._options.port, files[:1], change=lambda ds: setattr(ds, keyword, value)) == [0xC000]
    assert stored(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "inbox"]


def test_only_named_peers_may_send(tmp_path: Path, files: list[Path]) -> None:
    with Receiver(options(tmp_path, allow=("MYPACS",))) as receiver:
        assert send(receiver._options.port, files[:1], title="STRANGER") == []
        assert send(receiver._options.port, files[:1], title="MYPACS") == [0]


def test_a_peer_that_stops_in_the_middle_leaves_nothing_half(tmp_path: Path, files: list[Path]) -> None:
    with Receiver(options(tmp_path)) as receiver:
        port = receiver._options.port
        entity = pynetdicom.AE()
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        link = entity.associate("127.0.0.1", port)
        assert link.send_c_store(dcmread(files[0])).Status == 0
        # The start of a P-DATA unit that announces more than comes, then the line is cut.
        link.dul.socket.socket.sendall(struct.pack(">BBI", 4, 0, 5000) + b"\0" * 100)
        link.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 10
        while not receiver.received.broken and time.monotonic() < deadline:
            time.sleep(0.05)
        assert receiver.received.broken >= 1
        assert send(port, files[1:]) == [0] * 5
    assert len(stored(tmp_path)) == 6


def test_noise_and_silence_do_not_stop_it(tmp_path: Path, files: list[Path]) -> None:
    with Receiver(options(tmp_path)) as receiver:
        port = receiver._options.port
        with socket.create_connection(("127.0.0.1", port)) as noise:
            noise.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
            with socket.create_connection(("127.0.0.1", port)):
                assert send(port, files) == [0] * 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process, as on Unix")
def test_a_full_disk_is_told_to_the_sender(tmp_path: Path, files: list[Path]) -> None:
    """A limit on the size of files is the same to a program as a disk that is full."""
    port = free_port()
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        f"sys.argv = ['osler', 'receive', '--out', {str(tmp_path / 'inbox')!r}, '--port', '{port}'];"
        "sys.argv += ['--stop-when-idle', '4'];"
        "from osler.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCES)}, stdout=subprocess.PIPE, text=True
    )
    _wait_for(port)
    big = base_dataset(np.zeros((256, 256), np.int16), modality="CT", SeriesInstanceUID=SERIES_UID)
    place = tmp_path / "big.dcm"
    big.save_as(place, enforce_file_format=True)
    assert send(port, [place]) == [0xA700]
    assert send(port, files[:1]) == [0]
    output = process.communicate(timeout=60)[0]
    assert "Refused: 1: the disk is full or cannot be written" in output
    assert len(stored(tmp_path)) == 1


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


@pytest.mark.skipif(STORESCU is None, reason="no storescu (apt install dcmtk)")
def test_dcmtk_sends_and_ctrl_c_ends(tmp_path: Path, files: list[Path]) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "osler", "receive", "--out", str(tmp_path / "inbox"), "--port", str(port)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(port)
    assert STORESCU is not None
    subprocess.run([STORESCU, "127.0.0.1", str(port), *map(str, files)], check=True, timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "6 files of 1 studies and 1 series received" in out
    assert SERIES_UID in out
    assert "Traceback" not in err
    assert not any(secret in out + err for secret in SECRETS)
    assert len(stored(tmp_path)) == 6


@needs_orthanc
def test_orthanc_sends_to_it(tmp_path: Path, files: list[Path]) -> None:
    with running(tmp_path / "orthanc") as server, Receiver(options(tmp_path, ae_title="INBOX")) as receiver:
        server.store(files)
        base = f"http://127.0.0.1:{server.web}"
        body = f'["INBOX", "127.0.0.1", {receiver._options.port}]'.encode()
        urllib.request.urlopen(urllib.request.Request(f"{base}/modalities/osler", data=body, method="PUT")).close()
        import json

        ids = json.load(urllib.request.urlopen(f"{base}/series"))
        store = urllib.request.Request(f"{base}/modalities/osler/store", data=json.dumps(ids).encode())
        urllib.request.urlopen(store, timeout=60).close()
    assert receiver.received.files == 6
    one, other = open_study(tmp_path / "in").volumes()[0], open_study(tmp_path / "inbox").volumes()[0]
    assert np.array_equal(one.read(), other.read())


def test_a_port_in_use_and_bad_titles(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = invoke("receive", "--out", tmp_path / "inbox", "--port", port)
        assert result.exit_code == 2
        assert "Cannot listen at 127.0.0.1" in result.stderr
    with pytest.raises(RequestError, match="no application entity title"):
        ReceiveOptions(out=tmp_path, ae_title="much too long for a title")
    (tmp_path / "file").write_text("x")
    refused = invoke("receive", "--out", tmp_path / "file", "--port", free_port())
    assert refused.exit_code == 2
    assert "no folder that can be written" in refused.stderr
