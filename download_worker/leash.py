"""The leash on which one job's work runs: the engine pulls it, the rooms feel it.

Reasons and remedies stay with the engine; a room only asks `check()` between two pieces of work, and hands over what
must be cut loose (a socket that may block for a minute) with `cutting`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from download_worker.errors import Interrupted
from download_worker.jobs.job import Progress

SPEED_WINDOW_SECONDS = 3.0
NOTHING_YET = Progress()
MARK_SECONDS = 0.1


class Leash:
    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []
        self._meter = Meter()

    def pull(self) -> None:
        """From any thread, any number of times: the work ends with Interrupted at its next check."""
        self._pulled.set()
        with self._lock:
            cuts = tuple(self._cuts)
        for cut in cuts:
            cut()

    @property
    def pulled(self) -> bool:
        return self._pulled.is_set()

    def check(self) -> None:
        if self._pulled.is_set():
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """A pause that ends early, with Interrupted, when the leash is pulled."""
        if self._pulled.wait(seconds):
            raise Interrupted

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """While inside, a pull also calls `cut`, which must not raise and may come from another thread."""
        with self._lock:
            self._cuts.append(cut)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._cuts.remove(cut)

    def progress(self, done: int, total: int | None, *, connections: int = 0, source: str | None = None) -> None:
        """Told by the fetcher several times a second; read by the heartbeat. `source` is the host that is asked."""
        self._meter.note(done, total, connections, source)

    def setback(self, why: str) -> None:
        """A connection ended badly and another one will be tried. `why` is free of secrets."""
        self._meter.setback(why)

    def read(self, before: Progress = NOTHING_YET) -> Progress:
        """What was told last; `before` where nothing was told yet."""
        return self._meter.read() if self._meter.begun else before


class Meter:
    """Bytes over a sliding window of a few seconds. Thread-safe by replacing one tuple, never mutating it."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._marks: tuple[tuple[float, int], ...] = ()
        self._total: int | None = None
        self._connections = 0
        self._source: str | None = None
        self._setbacks: tuple[int, str | None] = (0, None)

    @property
    def begun(self) -> bool:
        return bool(self._marks)

    def setback(self, why: str) -> None:
        self._setbacks = (self._setbacks[0] + 1, why)

    def note(self, done: int, total: int | None, connections: int, source: str | None = None) -> None:
        now = self._now()
        marks = self._marks
        if marks and done < marks[-1][1]:
            marks = ()  # a restart from zero begins a new window
        elif len(marks) > 1 and now - marks[-2][0] < MARK_SECONDS:
            marks = marks[:-1]
        young = tuple(mark for mark in marks if now - mark[0] <= SPEED_WINDOW_SECONDS)
        self._marks = (*young, (now, done))
        self._total, self._connections, self._source = total, connections, source

    def read(self) -> Progress:
        marks = self._marks
        if not marks:
            return Progress()
        (first_at, first), (last_at, last) = marks[0], marks[-1]
        now = self._now()
        fresh = self._connections > 0 and now - last_at <= SPEED_WINDOW_SECONDS
        speed = (last - first) / max(now - first_at, 0.001) if fresh and len(marks) > 1 else None
        left = None if self._total is None or not speed else max(0, self._total - last) / speed
        return Progress(
            bytes=last,
            total=self._total,
            bytes_per_second=speed,
            eta_seconds=left,
            connections=self._connections,
            source=self._source,
            retries=self._setbacks[0],
            trouble=self._setbacks[1],
        )
