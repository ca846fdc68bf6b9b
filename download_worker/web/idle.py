"""Connections that nobody needs now, kept for a moment: the next job to the same origin takes one instead of dialing.

Two hundred small files would cost two hundred handshakes. What makes this safe is not here: a link leads to exactly
one origin by exactly one proxy, its peer was judged when it was dialed, and no secret belongs to it (`link.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from download_worker.web.link import Goal, Link

IDLE_SECONDS = 15.0
"""Then it is closed at the next opportunity. Hosts hang up after 5 s (Apache's KeepAliveTimeout) to 75 s (nginx)."""
MOST_FOR_ONE = 8
MOST_IN_ALL = 32


class _Parked(NamedTuple):
    since_seconds: float
    link: Link


class Idle:
    """Thread-safe. Whoever takes a link has it alone."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._parked: list[_Parked] = []  # the oldest first
        self._is_closed = False

    def take(self, goal: Goal) -> Link | None:
        """The one that was used last, since that is the likeliest to be alive; None where there is none."""
        while (link := self._newest(goal)) is not None:
            if link.is_quiet:
                return link
            link.close()
        return None

    def park(self, link: Link) -> None:
        """Nobody uses it any more. The oldest make room."""
        with self._lock:
            self._parked.append(_Parked(self._now(), link))
            same = [parked for parked in self._parked if parked.link.goal == link.goal]
            surplus = self._stale() if not self._is_closed else list(self._parked)
            surplus += same[:-MOST_FOR_ONE] + self._parked[:-MOST_IN_ALL]
            self._parked = [parked for parked in self._parked if parked not in surplus]
        _close(surplus)

    def forget(self, goal: Goal) -> None:
        """One of these did not lead there any more: nobody shall find out about the others one by one."""
        with self._lock:
            lost = [parked for parked in self._parked if parked.link.goal == goal]
            self._parked = [parked for parked in self._parked if parked not in lost]
        _close(lost)

    def close(self) -> None:
        """All of them, and from now on each that comes."""
        with self._lock:
            self._is_closed = True
            parked, self._parked = self._parked, []
        _close(parked)

    def _newest(self, goal: Goal) -> Link | None:
        with self._lock:
            stale = self._stale()
            self._parked = self._parked[len(stale) :]
            found = next((parked for parked in reversed(self._parked) if parked.link.goal == goal), None)
            if found is not None:
                self._parked.remove(found)
        _close(stale)
        return None if found is None else found.link

    def _stale(self) -> list[_Parked]:
        until = self._now() - IDLE_SECONDS
        return [parked for parked in self._parked if parked.since_seconds <= until]


def _close(parked: list[_Parked]) -> None:
    """Without the lock: whoever needs a connection does not wait for one that ends."""
    for _, link in parked:
        link.close()
