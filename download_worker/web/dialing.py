"""One guarded TCP connection: the name is resolved once, each address judged, the peer judged again, then it may speak.

Because the address that was judged is the address that is connected to, a name that resolves differently the next time
(DNS rebinding) gains nothing. Everything here ends within a deadline and can be cut from another thread.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

from download_worker.errors import Code, TryLater
from download_worker.leash import Leash
from download_worker.web.addresses import AddressPolicy

CONNECT_DEADLINE_SECONDS = 30.0
"""For the name and all its addresses together (N2, N3)."""


class Place(NamedTuple):
    """An address as the operating system takes it: the family, and what `connect` is given."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def address(self) -> str:
        return str(self.sockaddr[0])


Resolve = Callable[[str, int], list[Place]]
"""Every address of a name, best first. Raises OSError (socket.gaierror)."""


def system_resolve(host: str, port: int) -> list[Place]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Place(family, sockaddr) for family, _, _, _, sockaddr in found]


class Line:
    """A handle on a connection that another thread can cut in any of its phases: handshake, head or body.

    It holds a duplicate of the socket's descriptor, because TLS takes the socket itself away from whoever made it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: socket.socket | None = None
        self._cut = False

    def hold(self, sock: socket.socket) -> None:
        spare = sock.dup()
        with self._lock:
            former, self._spare = self._spare, spare
            if former is not None:
                former.close()
            if self._cut:
                _shut(spare)

    def cut(self) -> None:
        """Whoever reads or writes on it is at the end at once. From any thread, any number of times; never raises."""
        with self._lock:
            self._cut = True
            if self._spare is not None:
                _shut(self._spare)

    def close(self) -> None:
        with self._lock:
            if self._spare is not None:
                self._spare.close()
                self._spare = None


class Dialer:
    """Connects for one stream. `trusted` skips the policy: a proxy that the user configured."""

    def __init__(
        self, policy: AddressPolicy, resolve: Resolve, line: Line, leash: Leash, *, connect_timeout_seconds: float
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._line = line
        self._leash = leash
        self._timeout_seconds = connect_timeout_seconds

    def dial(self, host: str, port: int, *, trusted: bool = False) -> socket.socket:
        """Raises Refused(refused_address), TryLater(no_connection), Interrupted."""
        deadline = monotonic() + CONNECT_DEADLINE_SECONDS
        places = self._places(host, port)
        if not trusted:
            for place in places:
                self._policy.check(host, port, place.address)
        for last, place in enumerate(places, 1 - len(places)):
            seconds = min(self._timeout_seconds, deadline - monotonic())
            try:
                sock = self._connected(place, max(seconds, 0.001))
            except OSError as error:
                self._leash.check()
                if last == 0 or monotonic() >= deadline:
                    raise TryLater(Code.NO_CONNECTION, f"no connection to {host}:{port}: {_why(error)}") from error
                continue
            return self._judged(sock, host, port, trusted=trusted)
        raise TryLater(Code.NO_CONNECTION, f"{host} has no address")

    def _places(self, host: str, port: int) -> list[Place]:
        """In a thread of its own, because the system's resolver knows neither a deadline nor a leash."""
        found: list[list[Place] | OSError | UnicodeError] = []
        done = threading.Event()

        def look() -> None:
            try:
                found.append(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                found.append(error)
            done.set()

        threading.Thread(target=look, name=f"resolves {host}", daemon=True).start()
        with self._leash.cutting(done.set):
            done.wait(self._timeout_seconds)
        self._leash.check()
        if not found:
            raise TryLater(Code.NO_CONNECTION, f"{host} was not resolved within {self._timeout_seconds:.0f} s")
        if isinstance(found[0], Exception):
            raise TryLater(Code.NO_CONNECTION, f"{host} cannot be resolved: {_why(found[0])}") from found[0]
        return found[0]

    def _connected(self, place: Place, timeout_seconds: float) -> socket.socket:
        sock = socket.socket(place.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_seconds)
            self._line.hold(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(place.sockaddr)
        except BaseException:
            sock.close()
            raise
        return sock

    def _judged(self, sock: socket.socket, host: str, port: int, *, trusted: bool) -> socket.socket:
        """The last word has the peer that is really there; not one byte was sent to it yet."""
        try:
            self._leash.check()  # a cut that came before there was a connection had nothing to cut
            if not trusted:
                self._policy.check(host, port, str(sock.getpeername()[0]))
        except BaseException:
            sock.close()
            raise
        return sock


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # not connected yet, or no longer
        sock.shutdown(socket.SHUT_RDWR)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
