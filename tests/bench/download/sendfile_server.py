"""A file server that costs little: HTTP/1.1, one range, sendfile, a thread for each connection.

`python -m tests.bench.download.sendfile_server FOLDER HOST PORT LOG [--cut BYTES] [--rate BYTES] [--tls CERT KEY]`
writes `ready` when it listens and ends when its stdin ends. It stands in where nginx is not installed, and wherever a
connection shall be held to a rate or be cut after so many bytes of body. The log has a line per answer, as
`servers.LOG_FORMAT` says.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 1 << 20
RATE_STEP_SECONDS = 0.02
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
_serial = count(1)


class Policy(NamedTuple):
    folder: Path
    log: int
    cut_bytes: int | None
    bytes_per_second: int | None
    tls: ssl.SSLContext | None


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    parser.add_argument("--cut", type=int)
    parser.add_argument("--rate", type=int)
    parser.add_argument("--tls", nargs=2)
    given = parser.parse_args()
    tls = None
    if given.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*given.tls)
    log = os.open(given.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    policy = Policy(given.folder, log, given.cut, given.rate, tls)
    listener = socket.create_server((given.host, given.port), backlog=256)
    threading.Thread(target=_accept_for_ever, args=(listener, policy), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


def _accept_for_ever(listener: socket.socket, policy: Policy) -> None:
    while True:
        connection, _address = listener.accept()
        threading.Thread(target=_served, args=(connection, policy), daemon=True).start()


def _served(connection: socket.socket, policy: Policy) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError), connection:
        if policy.tls is None:
            Conversation(connection, policy).go_on()
        else:
            with policy.tls.wrap_socket(connection, server_side=True) as wrapped:
                Conversation(wrapped, policy).go_on()


class Conversation:
    """One connection, request after request, until it is closed or has carried all that it may."""

    def __init__(self, connection: socket.socket, policy: Policy) -> None:
        self._connection = connection
        self._policy = policy
        self._serial = next(_serial)
        self._left = sys.maxsize if policy.cut_bytes is None else policy.cut_bytes
        self._unread = b""
        self._sent = 0
        self._next_turn = 0.0

    def go_on(self) -> None:
        while self._left > 0 and (asked := self._asked()) is not None:
            began, self._sent, status = time.time(), 0, 0
            try:
                status = self._answered(asked)
                if asked.headers.get("connection", "").lower() == "close":
                    self._left = 0
            finally:
                now = time.time()
                line = f"{self._serial} {now:.3f} {now - began:.3f} {self._sent} {status}\n"
                os.write(self._policy.log, line.encode())

    def _asked(self) -> Asked | None:
        while b"\r\n\r\n" not in self._unread:
            more = self._connection.recv(MAX_HEAD_BYTES)
            if not more or len(self._unread) > MAX_HEAD_BYTES:
                return None
            self._unread += more
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _version = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        return Asked(method, path, {name.strip().lower(): value.strip() for name, _, value in pairs})

    def _answered(self, asked: Asked) -> int:
        path = self._policy.folder / asked.path.rpartition("/")[2]
        if not path.is_file():
            return self._head(404, {"Content-Length": "0"})
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            tag = f'"{int(path.stat().st_mtime):x}-{size:x}"'
            first, end, status = wanted_range(asked.headers, size, tag)
            if status == 416:
                return self._head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            lines = {"Content-Length": str(end - first), "ETag": tag, "Accept-Ranges": "bytes"}
            lines |= {"Content-Type": "application/octet-stream", "X-Repo-Commit": "0" * 40}
            if status == 206:
                lines["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
            self._head(status, lines)
            if asked.method == "GET":
                self._body(file, first, end)
        return status

    def _head(self, status: int, lines: dict[str, str]) -> int:
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._connection.sendall(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{text}\r\n".encode())
        return status

    def _body(self, file: BinaryIO, first: int, end: int) -> None:
        rate = self._policy.bytes_per_second
        piece_bytes = int(rate * RATE_STEP_SECONDS) if rate else CHUNK_BYTES
        while first < end and self._left > 0:
            if rate:
                self._wait_for_turn()
            n_bytes = self._sent_of(file, first, min(piece_bytes, end - first, self._left))
            first, self._sent, self._left = first + n_bytes, self._sent + n_bytes, self._left - n_bytes
            if rate:
                self._next_turn += n_bytes / rate

    def _wait_for_turn(self) -> None:
        """The rate is the connection's, over all its requests; what it did not use is lost to it."""
        now = time.monotonic()
        self._next_turn = max(self._next_turn, now - RATE_STEP_SECONDS)
        time.sleep(max(0.0, self._next_turn - now))

    def _sent_of(self, file: BinaryIO, at: int, n_bytes: int) -> int:
        if self._policy.tls is None:
            return os.sendfile(self._connection.fileno(), file.fileno(), at, n_bytes)
        piece = os.pread(file.fileno(), n_bytes, at)
        self._connection.sendall(piece)
        return len(piece)


def wanted_range(headers: dict[str, str], size: int, tag: str) -> tuple[int, int, int]:
    """First byte, end and status. A condition that does not hold, or a range that is not one, asks for everything."""
    match = _RANGE.match(headers.get("range", ""))
    if match is None or headers.get("if-range", tag) != tag:
        return 0, size, 200
    first, last = match.groups()
    if not first:
        return max(0, size - int(last or 0)), size, 206
    if int(first) >= size:
        return 0, 0, 416
    return int(first), min(size, int(last) + 1) if last else size, 206


if __name__ == "__main__":
    main()
