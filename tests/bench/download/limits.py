"""What this machine can do in this minute: receive and throw away, write and flush, hash bytes in memory.

Whoever overlaps all three perfectly needs the longest of them. Buffers of 1 MiB, reused; seconds for `n_bytes`.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

BUFFER_BYTES = 1 << 20
WRITE_BYTES = 32 * 1024
MAX_SILENCE_SECONDS = 20.0


class Limits(NamedTuple):
    receive_seconds: float
    write_seconds: float
    hash_seconds: float


def measured_limits(wares: Mapping[str, int], folder: Path, authority: Path) -> Limits:
    """`wares`: their sizes in bytes by their URLs."""
    n_bytes = sum(wares.values())
    received = sum(_receive(url, size, authority) for url, size in wares.items())
    return Limits(received, _write(folder / "limit", n_bytes), _hash(n_bytes))


def _receive(url: str, n_bytes: int, authority: Path) -> float:
    """Over one connection after another, should the server cut them."""
    at, view = 0, memoryview(bytearray(BUFFER_BYTES))
    began = time.perf_counter()
    while at < n_bytes:
        with _asked(url, at, authority) as connection:
            head = connection.recv_into(view)
            at += head - bytes(view[:head]).index(b"\r\n\r\n") - 4
            while got := connection.recv_into(view):
                at += got
    return time.perf_counter() - began


def _asked(url: str, at: int, authority: Path) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname
    ask = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nRange: bytes={at}-\r\nConnection: close\r\n\r\n"
    connection = socket.create_connection((parts.hostname, parts.port or 80), timeout=MAX_SILENCE_SECONDS)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=str(authority))
        connection = context.wrap_socket(connection, server_hostname=parts.hostname)
    connection.sendall(ask.encode())
    return connection


def _write(path: Path, n_bytes: int) -> float:
    piece = random.Random(1).randbytes(WRITE_BYTES)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(n_bytes // WRITE_BYTES):  # large writes cost some kernels more than the disk does
            file.write(piece)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds


def _hash(n_bytes: int) -> float:
    buffer, digest = random.Random(2).randbytes(BUFFER_BYTES), hashlib.sha256()
    began = time.perf_counter()
    for _ in range(n_bytes // BUFFER_BYTES):
        digest.update(buffer)
    digest.digest()
    return time.perf_counter() - began
