"""A stand-in model host on the loopback: answers ranges like the real ones, and for one file cuts the line twice."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

_RANGE = re.compile(r"bytes=(\d+)-\Z")
PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Shelved:
    """One file of the host. `cuts`: how many times the line breaks half-way; `bytes_per_second` slows it down."""

    body: bytes
    content_type: str = "application/octet-stream"
    cuts: int = 0
    bytes_per_second: int = 4_000_000


@contextmanager
def model_host(shelf: Mapping[str, Shelved]) -> Iterator[str]:
    """Serve `path → file` on a free port of 127.0.0.1; yields its base URL. Gone at the end of the block."""
    server = _Host(("127.0.0.1", 0), _Handler)
    server.shelf = MappingProxyType(dict(shelf))
    server.cuts_left = {path: file.cuts for path, file in shelf.items()}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Host(ThreadingHTTPServer):
    daemon_threads = True
    shelf: Mapping[str, Shelved]
    cuts_left: dict[str, int]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Host

    def do_GET(self) -> None:
        file = self.server.shelf.get(self.path)
        if file is None:
            self.send_error(404)
            return
        asked = _RANGE.match(self.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        size = len(file.body)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.send_header("Content-Type", file.content_type)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha256(file.body).hexdigest()[:32]}"')
        self.end_headers()
        self._send(file, start)

    def _send(self, file: Shelved, start: int) -> None:
        cut = self.server.cuts_left[self.path] > 0
        end = start + (len(file.body) - start) // 2 if cut else len(file.body)
        pause = threading.Event()
        for at in range(start, end, PIECE_BYTES):
            self.wfile.write(file.body[at : min(at + PIECE_BYTES, end)])
            pause.wait(PIECE_BYTES / file.bytes_per_second)
        if cut:
            self.server.cuts_left[self.path] -= 1
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """The demo narrates by itself."""
