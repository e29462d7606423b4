"""A web server on loopback that misbehaves in one chosen way."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydicom import dcmread

Answer = Callable[[BaseHTTPRequestHandler], None]


class OddServer:
    """Answers metadata of DICOM files properly, and instances by a function."""

    def __init__(self, files: list[Path], *, instance: Answer | None = None, metadata: Answer | None = None) -> None:
        self.files = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in files}
        self.instance, self.metadata = instance, metadata
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                outer.headers.append(dict(self.headers.items()))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    outer.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    @property
    def address(self) -> str:
        return f"dicomweb://127.0.0.1:{self.port}/dicom-web"

    @property
    def study(self) -> str:
        first = dcmread(next(iter(self.files.values())), stop_before_pixels=True)
        return f"{self.address}/studies/{first.StudyInstanceUID}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/metadata"):
            if self.metadata is not None:
                return self.metadata(handler)
            records = [dcmread(path, stop_before_pixels=True).to_json_dict() for path in self.files.values()]
            return reply(handler, json.dumps(records).encode(), kind="application/dicom+json")
        if self.instance is not None:
            return self.instance(handler)
        return reply_file(handler, self.files[handler.path.rsplit("/", 1)[1]].read_bytes())

    def __enter__(self) -> OddServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def reply(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    kind: str = "text/html",
    status: int = 200,
    length: int | None = None,
) -> None:
    """Sends an answer; ``length`` may lie."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)
    if length is not None:
        handler.close_connection = True


def reply_file(handler: BaseHTTPRequestHandler, data: bytes, *, keep: int | None = None, closing: bool = True) -> None:
    """Sends a DICOM file as multipart, whole or its first bytes."""
    head = b"--XX\r\nContent-Type: application/dicom\r\n\r\n"
    body = head + data[:keep] + (b"\r\n--XX--\r\n" if closing else b"")
    reply(handler, body, kind='multipart/related; type="application/dicom"; boundary=XX')


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Sends a byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(600):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Answers nothing for a while."""
    time.sleep(5)
    handler.close_connection = True


@contextlib.contextmanager
def watched_connections(monkeypatch: Any) -> Iterator[list[Any]]:
    """Notes every address that is connected to."""
    import socket

    seen: list[Any] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        seen.append(address)
        real(self, address)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield seen
