"""What a host asks of those who ask it: when it may be asked again, and by how many at once.

A door is a host, and of that host its API apart from the rest: Hugging Face counts the two in windows of their own
(FACTS 5: 500 and 3,000 questions in five minutes). Times are seconds of the steady clock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from download_worker.clock import Clock
from download_worker.errors import Code, TryLater
from download_worker.leash import Leash

FAILURES_MAX = 4
"""So many failures or pauses in a row, and the door is taken for closed."""
REST_SECONDS = 60.0
UNTOLD_WAIT_SECONDS = 5.0
"""For a host that is busy and does not say how long."""
_TURN_SECONDS = 0.05


class Door:
    """Safe to share between threads."""

    def __init__(self, host: str, clock: Clock, connections: int) -> None:
        self.host = host
        self._clock = clock
        self._lock = threading.Lock()
        self._seats = threading.BoundedSemaphore(connections)
        self._closed_until = float("-inf")
        self._code = Code.BUSY_HOST
        self._failures = self._pauses = 0

    def closed_for_seconds(self) -> float:
        """0 when it is open."""
        with self._lock:
            return max(0.0, self._closed_until - self._clock.steady().seconds)

    def refusal(self, seconds: float) -> TryLater:
        """What is said to those who do not wait."""
        why = "allows no more questions" if self._code is Code.BUSY_HOST else "did not answer several times and rests"
        hint = f"nothing to do; ask again in {max(1, round(seconds))} seconds"
        message = f"{self.host} {why} for {max(1, round(seconds))} seconds"
        return TryLater(self._code, message, hint=hint, retry_after_seconds=seconds)

    def opened(self) -> None:
        """It answered, whatever it said."""
        with self._lock:
            self._failures = self._pauses = 0

    def close_for(self, seconds: float) -> None:
        """The host asked for this pause; a longer one that it asked for before holds.

        One that asks for pause after pause and answers nothing in between is left alone for longer: else two hundred
        questions would wait for it one after another.
        """
        with self._lock:
            if self._closed_until <= self._clock.steady().seconds:
                self._pauses += 1
            if self._pauses >= FAILURES_MAX:
                self._pauses = 0
                seconds = max(seconds, REST_SECONDS)
            self._shut(seconds, Code.BUSY_HOST)

    def failed(self, trouble: TryLater) -> None:
        """It did not answer: after some of that nobody knocks for a while."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._failures = 0
                self._shut(REST_SECONDS, Code(trouble.code))

    @contextmanager
    def seat(self, leash: Leash) -> Iterator[None]:
        """One of the connections that this door allows at once. Raises Interrupted while waiting for it."""
        while not self._seats.acquire(timeout=_TURN_SECONDS):
            leash.check()
        try:
            yield
        finally:
            self._seats.release()

    def _shut(self, seconds: float, code: Code) -> None:
        until = self._clock.steady().seconds + seconds
        if until > self._closed_until:
            self._closed_until, self._code = until, code


class Doors:
    """All doors that were knocked at, made when first needed."""

    def __init__(self, clock: Clock, connections: int) -> None:
        self._clock = clock
        self._connections = connections
        self._lock = threading.Lock()
        self._known: dict[tuple[str, bool], Door] = {}

    def of(self, url: str) -> Door:
        try:
            parts = urlsplit(url)
            key = (parts.netloc.rpartition("@")[2].lower(), parts.path.startswith("/api/"))
        except ValueError:
            key = ("", False)  # the web will say what is wrong with such a URL
        with self._lock:
            if key not in self._known:
                self._known[key] = Door(key[0].partition(":")[0] or "the host", self._clock, self._connections)
            return self._known[key]
