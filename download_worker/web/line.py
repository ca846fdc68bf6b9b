"""A handle on a connection that another thread can cut in any of its phases: lookup, connect, handshake, head or body.

It holds a duplicate of the socket's descriptor, because TLS takes the socket itself away from whoever made it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Line:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: socket.socket | None = None
        self._told: list[Callable[[], None]] = []
        self._cut = False

    def hold(self, sock: socket.socket) -> None:
        """This connection from now on, instead of the one before."""
        self.take_over(sock.dup())

    def take_over(self, spare: socket.socket) -> None:
        """The connection of which this is a duplicate, which is ours from now on: what `let_go` gave."""
        with self._lock:
            former, self._spare = self._spare, spare
            if former is not None:
                former.close()
            if self._cut:
                _shut(spare)

    def let_go(self) -> socket.socket | None:
        """The duplicate, for another line: a cut that comes from now on does not reach it. None where one has come."""
        with self._lock:
            if self._cut:
                return None
            spare, self._spare = self._spare, None
            return spare

    @contextmanager
    def telling(self, cut: Callable[[], None]) -> Iterator[None]:
        """While inside, `cut` is called too, from another thread or at once; it must not raise."""
        with self._lock:
            self._told.append(cut)
            is_cut = self._cut
        try:
            if is_cut:
                cut()
            yield
        finally:
            with self._lock:
                self._told.remove(cut)

    @property
    def is_cut(self) -> bool:
        return self._cut

    def cut(self) -> None:
        """Whoever reads or writes on it is at the end at once. From any thread, any number of times; never raises."""
        with self._lock:
            self._cut = True
            if self._spare is not None:
                _shut(self._spare)
            for cut in self._told:
                cut()

    def close(self) -> None:
        with self._lock:
            if self._spare is not None:
                self._spare.close()
                self._spare = None


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # not connected yet, or no longer
        sock.shutdown(socket.SHUT_RDWR)
