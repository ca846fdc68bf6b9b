"""Names become addresses: within a deadline, cut at any time, and “no such name” only where a resolver can be believed.

The system's resolver knows neither deadline nor leash, so it is asked in a thread; one thread per name, however many
connections wait for it. `EAI_AGAIN` (SERVFAIL, no resolver reached) is for later. `EAI_NONAME` is what a typo gives
(NXDOMAIN), but also what macOS and some routers say when they are cut off from the world: it is believed only when it
was said three times and the same resolver finds another name right then, that of a known home (FAULTS.md N2, N11).
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any, NamedTuple

from download_worker.errors import Code, GiveUp, TryLater
from download_worker.room import MORE_FILES
from download_worker.threads import thread_errors
from download_worker.web.addresses import is_address
from download_worker.web.line import Line

NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""It is this machine that has no sockets or no memory for them; no host is to blame."""
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


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
    """Without a descriptor the system's resolver says what it says without a network: so it is seen whether there is
    one. Raises OSError, see `Resolve`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        os.close(os.open(os.devnull, os.O_RDONLY))
        raise
    return [Place(family, sockaddr) for family, _, _, _, sockaddr in found]


class Patience(NamedTuple):
    """How long one lookup may take, until when (monotonic) all of them, and who may cut them short."""

    line: Line
    seconds: float
    deadline: float

    def wait(self, woken: threading.Event, seconds: float) -> None:
        with self.line.telling(woken.set):
            woken.wait(max(0.0, min(seconds, self.deadline - monotonic())))


class Names:
    """Looks names up for all connections of a process. Thread-safe.

    After each of the pauses a name that was not found is looked up again. `known` are names that exist for certain:
    none of them is ever taken for none, and no other name is while the resolver does not find one of them.
    """

    def __init__(self, resolve: Resolve, known: Iterable[str], pauses_seconds: Sequence[float]) -> None:
        self._resolve = resolve
        self._known = tuple(host for host in dict.fromkeys(known) if not is_address(host))
        self._pauses_seconds = tuple(pauses_seconds)
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], Future[list[Place]]] = {}

    def places(self, host: str, port: int, patience: Patience) -> list[Place]:
        """Every address of the host, best first, at least one.

        Raises:
            TryLater: `no_connection`; `storage`, where this machine has nothing left to ask with. GiveUp: `not_found`,
            there is no such name.
        """
        found = self._looked_up(host, port, patience)
        for pause_seconds in () if host in self._known else self._pauses_seconds:
            if not _is_no_such_name(found):
                break
            patience.wait(threading.Event(), pause_seconds)
            found = self._looked_up(host, port, patience)
        if not isinstance(found, BaseException):
            return found
        if _is_no_such_name(found):
            self._doubt(host, port, patience)
            if host not in self._known:
                hint = "correct the host in the URL, or use another source"
                raise GiveUp(Code.NOT_FOUND, f"there is no host named {host}", hint=hint, elsewhere=True) from found
        raise TryLater(Code.NO_CONNECTION, f"{host} cannot be resolved: {why(found)}") from found

    def glance(self, host: str, port: int, patience: Patience) -> list[Place]:
        """What the resolver says at once; nothing where it knows no such name, or says nothing in time.

        Raises TryLater(storage): then nobody knows.
        """
        try:
            found = self._looked_up(host, port, patience)
        except TryLater as trouble:
            if trouble.code is Code.STORAGE:
                raise
            return []
        return [] if isinstance(found, BaseException) else found

    def _doubt(self, host: str, port: int, patience: Patience) -> None:
        """Raises TryLater(no_connection) when this resolver does not even find the names that exist for certain."""
        for known in self._known:
            if known != host and not isinstance(self._looked_up(known, port, patience), BaseException):
                return
        nobody = OSError(errno.ENETUNREACH, "nor can any other name")
        raise TryLater(Code.NO_CONNECTION, f"{host} cannot be resolved, {nobody.strerror}") from nobody

    def _looked_up(self, host: str, port: int, patience: Patience) -> list[Place] | BaseException:
        """What the resolver says. Raises TryLater when it says nothing in time, or the line is cut; when it lacks
        descriptors or a thread, with `storage`."""
        woken = threading.Event()
        lookup = self._lookup(host, port)
        lookup.add_done_callback(lambda _: woken.set())
        patience.wait(woken, patience.seconds)
        if patience.line.is_cut:
            raise TryLater(Code.NO_CONNECTION, f"the lookup of {host} was given up")
        if lookup.done():
            failure = lookup.exception()
            if isinstance(failure, OSError) and not isinstance(failure, socket.gaierror) and failure.errno in NONE_LEFT:
                message = f"{host} cannot be looked up: {why(failure)}"
                raise TryLater(Code.STORAGE, message, hint=MORE_FILES) from failure
            return failure or lookup.result()
        silence = TimeoutError(errno.ETIMEDOUT, "no answer")
        raise TryLater(Code.NO_CONNECTION, f"{host} was not resolved within {patience.seconds:.0f} s") from silence

    def _lookup(self, host: str, port: int) -> Future[list[Place]]:
        """The one that is under way, or a new one. Raises TryLater(storage): there is no thread for it."""
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is None:
                lookup = Future()
                # A daemon, so that a resolver without an end cannot keep the process from ending.
                look = threading.Thread(target=self._look, args=(host, port, lookup), name=f"resolves {host}")
                look.daemon = True
                with thread_errors():
                    look.start()
                self._lookups[host, port] = lookup  # the thread cannot take it out before we leave the lock
        return lookup

    def _look(self, host: str, port: int, lookup: Future[list[Place]]) -> None:
        try:
            found = self._resolve(host, port)
            if not found:
                raise OSError(errno.EADDRNOTAVAIL, "it has no address")
            self._end(host, port)
            lookup.set_result(found)
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait for this name are told
            self._end(host, port)
            lookup.set_exception(error)

    def _end(self, host: str, port: int) -> None:
        with self._lock:
            self._lookups.pop((host, port), None)


def why(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _is_no_such_name(found: object) -> bool:
    return isinstance(found, socket.gaierror) and found.errno in _NO_SUCH_NAME
