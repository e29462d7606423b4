"""Starts a real Orthanc server with its DICOMweb plugin on free loopback ports."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
PLUGIN = next(
    (path for folder in ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")
     for path in Path(folder).glob("libOrthancDicomWeb.so")), None
)  # fmt: skip
needs_orthanc = pytest.mark.skipif(
    PROGRAM is None or PLUGIN is None, reason="no Orthanc with its DICOMweb plugin (apt install orthanc-dicomweb)"
)


def free_port() -> int:
    """A port on loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Orthanc:
    """A server: its folder, ports and process."""

    folder: Path
    web: int = field(default_factory=free_port)
    dimse: int = field(default_factory=free_port)
    users: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"dicomweb://127.0.0.1:{self.web}/dicom-web"

    def start(self) -> None:
        config: dict[str, Any] = {
            "Name": "OSLERTEST",
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": self.web,
            "DicomPort": self.dimse,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self.users),
            "RegisteredUsers": self.users,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            "HttpServerEnabled": True,
            "SynchronousCMove": True,
            "DicomCheckCalledAet": False,
            "HttpThreadsCount": 8,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / "orthanc.json"
        place.write_text(json.dumps(config))
        assert PROGRAM is not None
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen([PROGRAM, str(place)], stdout=log, stderr=log)
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.web), timeout=1).close()
                return
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
            time.sleep(0.1)
        raise AssertionError("Orthanc does not answer")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def store(self, paths: list[Path]) -> None:
        for path in paths:
            request = urllib.request.Request(f"http://127.0.0.1:{self.web}/instances", data=path.read_bytes())
            for user, password in self.users.items():
                import base64

                token = base64.b64encode(f"{user}:{password}".encode()).decode()
                request.add_header("Authorization", f"Basic {token}")
            urllib.request.urlopen(request, timeout=30).close()


@contextlib.contextmanager
def running(folder: Path, *, users: dict[str, str] | None = None) -> Iterator[Orthanc]:
    """A server that is killed at the end."""
    server = Orthanc(folder, users=users or {})
    server.start()
    try:
        yield server
    finally:
        server.kill()
