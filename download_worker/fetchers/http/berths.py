"""How many connections a host bears from this worker, all jobs together, and how many the worker's buffers bear."""

from __future__ import annotations

import threading
from collections import Counter


class Berths:
    """The first connection of a file is always had (the engine says how many files there are at once); a further one
    while its host has fewer than `most_per_host`, and all hosts together fewer than `most_in_all`."""

    def __init__(self, most_per_host: int, most_in_all: int) -> None:
        self._most_per_host = most_per_host
        self._most_in_all = most_in_all
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, host: str, *, must: bool) -> bool:
        with self._lock:
            full = self._taken[host] >= self._most_per_host or self._taken.total() >= self._most_in_all
            if full and not must:
                return False
            self._taken[host] += 1
            return True

    def leave(self, host: str) -> None:
        with self._lock:
            self._taken[host] -= 1
            if self._taken[host] <= 0:
                del self._taken[host]
