"""One guarded TCP connection: each address judged, several raced, the peer judged again, then it may speak.

Because the address that was judged is the address that is connected to, a name that resolves differently the next time
(DNS rebinding) gains nothing. A dead address costs a quarter of a second and not a timeout (RFC 8305, Happy Eyeballs):
the next one, of the other family, is tried beside it, and the first connection that stands wins. One thread does it
all, within a deadline, and another can cut it at any moment.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import chain, product, zip_longest
from time import monotonic

from download_worker.errors import Code, GiveUp, TryLater
from download_worker.leash import Leash
from download_worker.room import MORE_FILES
from download_worker.web.addresses import AddressPolicy, is_address
from download_worker.web.line import Line
from download_worker.web.names import NONE_LEFT, Names, Patience, Place, why
from download_worker.web.proxies import PROXY_HINT, Proxy
from download_worker.web.socks import through

CONNECT_DEADLINE_SECONDS = 30.0
"""For the name and all its addresses together (N2, N3)."""
NEXT_ADDRESS_SECONDS = 0.25
"""RFC 8305, section 5: the “Connection Attempt Delay” that it recommends."""
GLANCE_SECONDS = 2.0
"""For the name of a host that a proxy will look up: behind a company's proxy there may be no resolver for it."""
MAX_PLACES = 16

_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)})


class Dialer:
    """Connects for one stream at a time. `trusted` skips the policy: a proxy that the user configured."""

    def __init__(
        self, policy: AddressPolicy, names: Names, line: Line, leash: Leash, *, connect_timeout_seconds: float
    ) -> None:
        self._policy = policy
        self._names = names
        self._line = line
        self._leash = leash
        self._timeout_seconds = connect_timeout_seconds
        self.dialed = 0
        """Connections that were tried so far."""
        self.via: Proxy | None = None
        """A SOCKS proxy that everything goes through; the others are the business of urllib3."""

    def serve(self, line: Line, leash: Leash) -> None:
        """Another stream from now on."""
        self._line, self._leash = line, leash

    def dial(self, host: str, port: int, *, trusted: bool = False) -> socket.socket:
        """Raises Refused(refused_address), TryLater(no_connection; storage, when too many files are open),
        GiveUp(not_found), Interrupted."""
        self.dialed += 1
        deadline = monotonic() + CONNECT_DEADLINE_SECONDS
        try:
            self._check()
            if self.via is not None:
                return self._through(self.via, host, port, deadline)
            places = self._places(host, port, deadline, trusted=trusted)
            return self._judged(self._raced(places, deadline), host, port, trusted=trusted)
        except OSError as error:
            self._check()
            code = Code.STORAGE if error.errno in NONE_LEFT else Code.NO_CONNECTION
            whom, hint = ("the proxy ", PROXY_HINT) if trusted else ("", None)
            hint = MORE_FILES if code is Code.STORAGE else hint
            raise TryLater(code, f"no connection to {whom}{host}:{port}: {why(error)}", hint=hint) from error
        except TryLater:
            self._leash.check()  # what was cut looks like a failure
            raise

    def judge(self, host: str, port: int) -> None:
        """Before a proxy that looks names up by itself: what is known of this name here must be allowed.

        Most proxies run on this machine or beside it, and would lead a name of a private address right there.
        Raises Refused(refused_address), TryLater(storage).
        """
        patience = Patience(self._line, GLANCE_SECONDS, monotonic() + GLANCE_SECONDS)
        for place in self._names.glance(host, port, patience):
            self._policy.check(host, port, place.address)

    def _places(self, host: str, port: int, deadline: float, *, trusted: bool) -> list[Place]:
        """All of them allowed. Raises Refused, TryLater, GiveUp."""
        try:
            places = self._names.places(host, port, Patience(self._line, self._timeout_seconds, deadline))
        except GiveUp as error:
            if not trusted:
                raise
            raise TryLater(Code.NO_CONNECTION, f"{error.message}, which is the proxy", hint=PROXY_HINT) from error
        if not trusted:
            for place in places:
                self._policy.check(host, port, place.address)
        return alternating(places)[:MAX_PLACES]

    def _through(self, proxy: Proxy, host: str, port: int, deadline: float) -> socket.socket:
        """By a SOCKS proxy: to an address that was judged, or to a name that the proxy looks up."""
        goals = [host]
        if not proxy.resolves_names or is_address(host):
            goals = [place.address for place in self._places(host, port, deadline, trusted=False)]
        failure = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        for place, goal in product(self._places(proxy.host, proxy.port, deadline, trusted=True), goals):
            seconds = min(self._timeout_seconds, deadline - monotonic())
            if seconds <= 0:
                break
            try:
                sock = through(proxy, place, goal, port, self._line, timeout_seconds=seconds)
            except OSError as error:
                self._check()
                if error.errno in NONE_LEFT:
                    raise
                failure = error
                continue
            sock.settimeout(self._timeout_seconds)
            return self._judged(sock, host, port, trusted=True)
        what = f"no connection to {host}:{port} by the proxy {proxy}: {why(failure)}"
        raise TryLater(Code.NO_CONNECTION, what, hint=PROXY_HINT) from failure

    def _raced(self, places: list[Place], deadline: float) -> socket.socket:
        """Raises OSError: nobody was there, or the race was cut."""
        race = _Race(places, self._timeout_seconds, deadline)
        with race, self._line.telling(race.wake):
            sock = race.run()
        try:
            sock.settimeout(self._timeout_seconds)
            self._line.hold(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _judged(self, sock: socket.socket, host: str, port: int, *, trusted: bool) -> socket.socket:
        """The last word has the peer that is really there; not one byte was sent to it yet."""
        try:
            self._check()  # a cut that came before there was a connection had nothing to cut
            if not trusted:
                self._policy.check(host, port, str(sock.getpeername()[0]))
        except BaseException:
            sock.close()
            raise
        return sock

    def _check(self) -> None:
        self._leash.check()
        if self._line.is_cut:
            raise TryLater(Code.NO_CONNECTION, "the connection was given up")


def alternating(places: Iterable[Place]) -> list[Place]:
    """Each once; IPv6 and IPv4 take turns, beginning with the family that the system prefers (RFC 8305, section 4)."""
    families: dict[int, list[Place]] = {}
    for place in dict.fromkeys(places):
        families.setdefault(place.family, []).append(place)
    return [place for place in chain.from_iterable(zip_longest(*families.values())) if place is not None]


class _Race:
    """Connects to several places side by side; leaving it closes all but the winner."""

    def __init__(self, places: list[Place], timeout_seconds: float, deadline: float) -> None:
        self._waiting = places
        self._timeout_seconds = timeout_seconds
        self._deadline = deadline
        self._running: dict[socket.socket, float] = {}
        """Each with the moment at which its patience ends."""
        self._next_at = monotonic()
        self._failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    def __enter__(self) -> _Race:
        with ExitStack() as stack:
            self._bell, self._ear = map(stack.enter_context, socket.socketpair())
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._bell.setblocking(False)
            self._selector.register(self._ear, selectors.EVENT_READ)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        for sock in self._running:
            sock.close()

    def wake(self) -> None:
        """End it, from any thread. Never raises."""
        with suppress(OSError):
            self._bell.send(b"x")

    def run(self) -> socket.socket:
        """The first connection that stands. Raises OSError: why none does, or that it was woken."""
        while (self._waiting or self._running) and (now := monotonic()) < self._deadline:
            if self._waiting and (now >= self._next_at or not self._running):
                self._next_at = now + NEXT_ADDRESS_SECONDS
                self._begin(self._waiting.pop(0), now)
                continue
            ends = [self._deadline, *self._running.values(), *([self._next_at] if self._waiting else [])]
            winner = self._step(max(0.0, min(ends) - now))
            if winner is not None:
                return winner
        raise self._failure

    def _begin(self, place: Place, now: float) -> None:
        try:
            sock = socket.socket(place.family, socket.SOCK_STREAM)
        except OSError as error:  # this machine does not know the family
            self._lost(None, error)
            return
        self._running[sock] = now + self._timeout_seconds
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(place.sockaddr)
            if code not in _UNDER_WAY:
                raise OSError(code, os.strerror(code))
            self._selector.register(sock, selectors.EVENT_WRITE)
        except OSError as error:
            self._lost(sock, error)

    def _step(self, seconds: float) -> socket.socket | None:
        """Wait for the next thing to happen. Raises OSError: it was woken."""
        ready = {key.fileobj for key, _ in self._selector.select(seconds)}
        if self._ear in ready:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        now = monotonic()
        for sock, until in list(self._running.items()):
            if sock in ready:
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    self._selector.unregister(sock)
                    del self._running[sock]
                    return sock
                self._lost(sock, OSError(code, os.strerror(code)))
            elif now >= until:
                self._lost(sock, TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
        return None

    def _lost(self, sock: socket.socket | None, error: OSError) -> None:
        """The next one need not wait. A refusal says more than silence: somebody is there."""
        self._next_at = 0.0
        if self._failure.errno != errno.ECONNREFUSED:
            self._failure = error
        if sock is not None:
            del self._running[sock]
            with suppress(KeyError):  # it never got that far
                self._selector.unregister(sock)
            sock.close()
