"""How fast bytes come: of late, and over a long window whether it is worth the wait. Pure: all time is told."""

from __future__ import annotations

import math
from collections import deque

MEMORY_SECONDS = 1.0
EXPECTED_SECONDS = 0.25
"""What is expected of a new line counts as much as so many seconds of what it does."""
FIRST_MOMENT_SECONDS = 0.001
"""The first bytes of all are no miracle, even where no time has passed."""
MARKS_PER_WINDOW = 60


class Rate:
    """Bytes per second of late: what came counts the less the longer ago it came, and silence counts as well."""

    def __init__(self, at_seconds: float, expected_bytes_per_second: float = 0.0) -> None:
        self._at = at_seconds
        self._seconds = EXPECTED_SECONDS if expected_bytes_per_second else FIRST_MOMENT_SECONDS
        self._bytes = self._seconds * expected_bytes_per_second

    def resume(self, at_seconds: float) -> None:
        """Nothing was to come until now: that silence does not count."""
        self._at = at_seconds

    def add(self, n_bytes: int, at_seconds: float) -> None:
        passed = max(0.0, at_seconds - self._at)
        faded = math.exp(-passed / MEMORY_SECONDS)
        self._bytes = self._bytes * faded + n_bytes
        self._seconds = self._seconds * faded + passed
        self._at = max(self._at, at_seconds)

    def bytes_per_second(self, at_seconds: float) -> float:
        passed = max(0.0, at_seconds - self._at)
        faded = math.exp(-passed / MEMORY_SECONDS)
        return self._bytes * faded / (self._seconds * faded + passed)


class SpeedFloor:
    """Tells when a download has been too slow for a whole window (FAULTS.md N8: one byte a second, for ever).

    Time that the lanes waited for ourselves, for the bandwidth limit or a free buffer, does not count: the window is
    one of seconds in which the host could have sent.
    """

    def __init__(self, min_bytes_per_second: float = 10_000.0, window_seconds: float = 300.0) -> None:
        self._floor_bytes = min_bytes_per_second * window_seconds
        self._window_seconds = window_seconds
        self._marks: deque[tuple[float, int]] = deque()
        self._told: tuple[float, float] | None = None
        self._host_seconds = 0.0
        self._own_seconds = 0.0

    def is_below(self, at_seconds: float, received_bytes: int, own_wait_seconds: float = 0.0, lanes: int = 1) -> bool:
        """Whether less than the floor came in the window that ends now; False until a whole window has been seen.

        `received_bytes` and `own_wait_seconds` are totals since the beginning, the waits summed over all lanes; `lanes`
        is how many there are now. It keeps at most about `MARKS_PER_WINDOW` marks, however often it is told.
        """
        now = self._told_now(at_seconds, own_wait_seconds, max(1, lanes))
        marks = self._marks
        if not marks or now - marks[-1][0] >= self._window_seconds / MARKS_PER_WINDOW:
            marks.append((now, received_bytes))
        while len(marks) > 1 and now - marks[1][0] >= self._window_seconds:
            marks.popleft()
        began, before = marks[0]
        return now - began >= self._window_seconds and received_bytes - before < self._floor_bytes

    def _told_now(self, at_seconds: float, own_wait_seconds: float, lanes: int) -> float:
        """Seconds so far in which the host could have sent. A wait may be told at once that is yet to be waited."""
        last_at, last_waited = self._told or (at_seconds, own_wait_seconds)
        self._told = at_seconds, own_wait_seconds
        passed = max(0.0, at_seconds - last_at)
        self._own_seconds += max(0.0, own_wait_seconds - last_waited) / lanes
        ours = min(self._own_seconds, passed)
        self._own_seconds -= ours
        self._host_seconds += passed - ours
        return self._host_seconds
