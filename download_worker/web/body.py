"""The body of one answer, read straight from its connection: never a byte more than its framing allows.

A body of known length goes from the socket into the reader's own memory, past urllib3 and http.client, which would
copy it; over TLS with all records that have arrived in one call (see `tls.py`). Chunked bodies are taken apart by
http.client.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from urllib3.util.wait import wait_for_read

from download_worker.web.tls import TlsStream

MAX_PIECE_BYTES = 1024 * 1024
"""Of `read`, which asks for this much memory before it knows how much has come."""
_NOTHING_YET = (ssl.SSLWantReadError, BlockingIOError)
_READV = getattr(os, "readv", None)  # Windows has none, and no descriptors behind its sockets


class Body:
    """Reads the body of an answer of urllib3 that was not preloaded. Raises what they raise; see `body_errors`."""

    def __init__(self, raw: Any) -> None:
        head: http.client.HTTPResponse = raw._original_response
        self._raw = raw
        self._chunked = bool(raw.chunked)
        self._left: int | None = head.length
        self._stream: Any = head.fp
        self._sock: socket.socket | TlsStream | None = getattr(getattr(self._stream, "raw", None), "_sock", None)
        self._reads_ahead = True  # with the head some of the body came, too

    def read(self, max_bytes: int) -> bytes:
        """At least one byte, or none at the end."""
        if self._chunked:
            piece: bytes = self._raw.read1(max_bytes, decode_content=False)
            return piece
        wanted = self._bounded(min(max_bytes, MAX_PIECE_BYTES))
        piece = self._stream.read1(wanted) if wanted else b""
        self._reads_ahead = True
        self._count(len(piece), wanted)
        return piece

    def read_into(self, view: memoryview) -> int:
        """Into the beginning of `view`: how many bytes; 0 at the end."""
        if self._chunked:
            piece = self.read(len(view))
            view[: len(piece)] = piece
            return len(piece)
        wanted = self._bounded(len(view))
        if not wanted:
            return 0
        if self._sock is None or self._reads_ahead:
            got: int = self._stream.readinto1(view[:wanted])
            self._reads_ahead = wanted - got < io.DEFAULT_BUFFER_SIZE  # this read may have been for so few
        elif isinstance(self._sock, TlsStream):
            got = self._sock.read_many(view[:wanted])
        else:
            got = self._sock.recv_into(view[:wanted])
        self._count(got, wanted)
        return got

    def read_soon(self, view: memoryview, seconds: float) -> int | None:
        """As `read_into`, but None if nothing has come within so long."""
        got = self._read_at_once(view)
        if got is None and self.more_within(seconds):
            return self.read_into(view)
        return got

    def _read_at_once(self, view: memoryview) -> int | None:
        """What is there already, for one system call: Python's own reads ask first whether there is something.

        None where nothing is, or where it takes more than that to find out.
        """
        sock, wanted = self._sock, self._bounded(len(view))
        if self._chunked or self._reads_ahead or not wanted or _READV is None:
            return None
        if not isinstance(sock, socket.socket) or isinstance(sock, ssl.SSLSocket):  # what is there may be encrypted
            return None
        try:
            got: int = _READV(sock.fileno(), [view[:wanted]])  # it waits no more than a socket with a timeout does
        except _NOTHING_YET:
            return None
        self._count(got, wanted)
        return got

    def more_within(self, seconds: float) -> bool:
        """Whether a read would find something, if only the end, within so long; True where that cannot be told."""
        if self._sock is None or self._left == 0 or self._stream.closed:
            return True
        if self._holds_bytes() or (isinstance(self._sock, TlsStream) and self._sock.has_more):
            return True
        return wait_for_read(cast(socket.socket, self._sock), timeout=seconds)  # whatever has a descriptor will do

    def _holds_bytes(self) -> bool:
        """Whether the stream has bytes of its own, or may have: it reads ahead only where it was asked for a few."""
        if not self._reads_ahead:
            return False
        try:
            with self._without_waiting():
                return bool(self._stream.peek(1))
        except _NOTHING_YET:
            return False
        except (OSError, ValueError):
            return True

    def ended_cleanly(self) -> bool:
        """Whether all of it was read and nothing came after it, so that its connection may carry another answer (H29).

        Only where the length was told: behind chunks http.client may have read on already.
        """
        if self._chunked or self._left != 0 or self._sock is None or self._stream.closed:
            return False
        try:
            with self._without_waiting():
                return not self._stream.peek(1)
        except _NOTHING_YET:
            return True
        except (OSError, ValueError):
            return False

    @contextmanager
    def _without_waiting(self) -> Iterator[None]:
        assert self._sock is not None, "only asked of a socket"  # noqa: S101 - for mypy
        patience = self._sock.gettimeout()
        self._sock.settimeout(0.0)
        try:
            yield
        finally:
            self._sock.settimeout(patience)

    def _bounded(self, max_bytes: int) -> int:
        return max_bytes if self._left is None else min(max_bytes, self._left)

    def _count(self, got: int, wanted: int) -> None:
        if self._left is None:
            return
        self._left -= got
        if wanted and not got:
            raise http.client.IncompleteRead(b"", self._left)
