"""A host on the loopback: it gives every connection a thread and closes at once, whatever its connections are doing."""

import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import quote

from .connection import Connection, Gate

JOIN_SECONDS_MAX = 2.0


class Loopback(ABC):
    """Subclasses say what a connection is for; `_changed` guards their books and is notified whenever they change."""

    def __init__(self, port: int = 0, ssl_context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._gates = [Gate()]
        self._ssl_context = ssl_context
        self._connections: dict[int, Connection] = {}
        self._threads: list[threading.Thread] = []
        self.connections_seen = 0
        self._listener = socket.create_server((host, port), backlog=128)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.base = f"{'http' if ssl_context is None else 'https'}://{host}:{self.port}"
        self._accepting = threading.Thread(target=self._accept, name=f"{self.base} accepts", daemon=True)
        self._accepting.start()

    def url(self, path: str) -> str:
        """The address of a path; a query may follow it after a question mark."""
        plain, mark, query = path.partition("?")
        return f"{self.base}/{quote(plain.lstrip('/'))}{mark}{query}"

    def release(self) -> None:
        """Let every connection that stalls now go on; later stalls stall again."""
        with self._changed:
            self._gates.append(Gate())
            self._gates[-2].open()

    def wait_for(self, condition: Callable[[Self], object], timeout_seconds: float = 10.0) -> None:
        """Return as soon as `condition(host)` is true; TimeoutError if it is not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_seconds):
                raise TimeoutError(f"{self!r}: not within {timeout_seconds} s")

    def close(self) -> None:
        """End at once. The listener outlives its thread: its file number must not become another's while in use."""
        deadline = time.monotonic() + JOIN_SECONDS_MAX
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(JOIN_SECONDS_MAX / 2)
        self._listener.close()
        with self._changed:
            for connection in self._connections.values():
                connection.hang_up()
            self._gates[-1].open()
            threads = self._threads
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for gate in self._gates:
            gate.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _converse(self, connection: Connection) -> None:
        """Serve one connection until it ends; an OSError means that it ended."""

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._attend, args=(sock,), name=f"{self.base} serves", daemon=True)
            with self._changed:
                self._threads = [*(known for known in self._threads if known.is_alive()), thread]
                thread.start()

    def _attend(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:  # the client left, or the host closes
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._secured(sock) as channel:
                self._keep(channel)

    def _secured(self, sock: socket.socket) -> socket.socket:
        """With TLS the handshake happens at the first read, where `close` can end it."""
        if self._ssl_context is None:
            return sock
        return self._ssl_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _keep(self, sock: socket.socket) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            self.connections_seen += 1
            number, books, gate = self.connections_seen, self._changed, lambda: self._gates[-1]
            connection = Connection(number, sock, books, gate, self._closing)
            self._connections[connection.number] = connection
        try:
            self._converse(connection)
        finally:
            with self._changed:
                del self._connections[connection.number]
                self._changed.notify_all()
            connection.close()
