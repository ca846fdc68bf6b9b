"""The ring of buffers between the connections and the disk, and its bounds: memory, and what a crash may cost.

One pool serves all jobs of a worker, each through its own account. A buffer is out from `take` until its bytes are
both written and digested. Who finds none waits in line; a buffer that comes back goes to the first in line whose
account allows one more, so that a fast job never starves a slow one. Nobody holds more than one buffer that is not yet
full, and full ones always come back by themselves: so there is no deadlock as long as all lanes of a worker together
are fewer than the buffers. `MOST_LANES` keeps half of them for the bytes that are on their way to the disk.
"""

from __future__ import annotations

import mmap
import sys
import threading
from dataclasses import dataclass, field
from time import monotonic

from download_worker.leash import Leash

MIB = 1024 * 1024
BUFFER_BYTES = 256 * 1024
POOL_BYTES = 64 * MIB
JOB_BYTES = 24 * MIB
MOST_LANES = POOL_BYTES // BUFFER_BYTES // 2
"""Connections at once in one worker process, of all its jobs together."""
MIN_VIEW_BYTES = 4096
VIEWS_AT_RISK = 64
"""A buffer takes at most this share of what a crash may cost: 16 lanes leave three quarters to what is written."""


class Buffer:
    """`view` is to be filled from its beginning; its length never changes while somebody holds it."""

    __slots__ = ("_memory", "users", "view")

    def __init__(self, size: int) -> None:
        self._memory = memoryview(_anonymous(size))
        self.view = self._memory
        self.users = 0

    def cut_to(self, size: int) -> Buffer:
        self.view = self._memory[:size]
        return self


@dataclass
class _Waiter:
    """One lane in line. `event` says: look again."""

    account: Account
    event: threading.Event = field(default_factory=threading.Event)
    buffer: Buffer | None = None


class Pool:
    """`max_bytes` bounds the buffers of all jobs together, `max_job_bytes` those of one."""

    def __init__(
        self, max_bytes: int = POOL_BYTES, *, max_job_bytes: int = JOB_BYTES, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        self.buffer_bytes = buffer_bytes
        self._most = max(1, max_bytes // buffer_bytes)
        self._most_per_job = max(1, min(max_job_bytes, max_bytes) // buffer_bytes)
        self._lock = threading.Lock()
        self._free: list[Buffer] = []
        self._out = 0
        self._waiting: list[_Waiter] = []

    @property
    def allocated_bytes(self) -> int:
        with self._lock:
            return (self._out + len(self._free)) * self.buffer_bytes

    def open(self, max_at_risk_bytes: int) -> Account:
        """An account for one job, which may have so many bytes that are received and not durable yet."""
        return Account(self, self._lock, self._most_per_job, max_at_risk_bytes)

    def _take(self, account: Account) -> Buffer | None:
        if not account.may_take(self._most - self._out):
            return None
        self._out += 1
        account.out += 1
        account.filling += 1
        buffer = self._free.pop() if self._free else Buffer(self.buffer_bytes)
        return buffer.cut_to(account.view_bytes)

    def _give_back(self, account: Account, buffer: Buffer) -> None:
        account.out -= 1
        self._out -= 1
        self._free.append(buffer)
        self._serve()

    def _serve(self) -> None:
        """The first in line whose account allows it gets what is free."""
        for waiter in tuple(self._waiting):
            waiter.buffer = self._take(waiter.account)
            if waiter.buffer is not None:
                self._waiting.remove(waiter)
                waiter.event.set()

    def _close(self, account: Account) -> None:
        self._out -= account.out  # a lane that is still cutting loose keeps its memory alive; nobody else gets it
        account.out = 0
        self._free.clear()
        self._serve()


class Account:
    """The buffers of one job. `pressed_seconds` is how long its lanes waited for them, summed."""

    def __init__(self, pool: Pool, lock: threading.Lock, most: int, max_at_risk_bytes: int) -> None:
        self.view_bytes = max(MIN_VIEW_BYTES, min(pool.buffer_bytes, max_at_risk_bytes // VIEWS_AT_RISK))
        self.out = 0
        self.filling = 0
        self.pressed_seconds = 0.0
        self._pool = pool
        self._lock = lock
        self._most = most
        self._max_at_risk_bytes = max_at_risk_bytes
        self._undurable_bytes = 0
        self._open = True

    def take(self, leash: Leash) -> Buffer | None:
        """Waits for one. None when the account was closed meanwhile. Raises Interrupted."""
        leash.check()
        with self._lock:
            if not self._open:
                return None
            buffer = self._pool._take(self)
            if buffer is not None:
                return buffer
            waiter = _Waiter(self)
            self._pool._waiting.append(waiter)
        return self._wait(waiter, leash)

    def filled(self, undurable_bytes: int) -> bool:
        """A lane handed its buffer over; this many bytes are received now and not durable.

        Returns whether somebody waits for them to become so.
        """
        with self._lock:
            self.filling -= 1
            self._undurable_bytes = undurable_bytes
            return self._is_at_risk() and any(waiter.account is self for waiter in self._pool._waiting)

    def give_back(self, buffer: Buffer) -> None:
        with self._lock:
            if self._open:
                self._pool._give_back(self, buffer)

    def durable(self, undurable_bytes: int) -> None:
        """More bytes are durable (or forgotten): this many are not."""
        with self._lock:
            self._undurable_bytes = undurable_bytes
            self._pool._serve()

    @property
    def at_risk(self) -> bool:
        """Whether only a flush can free the next buffer."""
        with self._lock:
            return self._undurable_bytes > 0 and self._is_at_risk()

    def close(self) -> None:
        """Nobody waits any more, and the memory is given back."""
        with self._lock:
            if self._open:
                self._open = False
                for waiter in [waiter for waiter in self._pool._waiting if waiter.account is self]:
                    self._pool._waiting.remove(waiter)
                    waiter.event.set()
                self._pool._close(self)

    def may_take(self, free: int) -> bool:
        """So many are nobody's now. Who holds more than twice as many takes none: jobs whose disks hang give nothing
        back, and whatever some of them hold, there is something left for the next one (FAULTS.md D10)."""
        fair = free > 0 and self.out <= 2 * free
        return self._open and fair and self.out < self._most and not self._is_at_risk()

    def _is_at_risk(self) -> bool:
        risk = self.filling * self.view_bytes + self._undurable_bytes
        return risk > 0 and risk + self.view_bytes > self._max_at_risk_bytes

    def _wait(self, waiter: _Waiter, leash: Leash) -> Buffer | None:
        began = monotonic()
        try:
            with leash.cutting(waiter.event.set):
                waiter.event.wait()
        finally:
            with self._lock:
                self.pressed_seconds += monotonic() - began
                if waiter in self._pool._waiting:
                    self._pool._waiting.remove(waiter)
                if leash.pulled and waiter.buffer is not None and self._open:
                    self.filling -= 1
                    self._pool._give_back(self, waiter.buffer)
        leash.check()
        return waiter.buffer


def _anonymous(size: int) -> mmap.mmap:
    """Memory that goes back to the system when it is let go, which what malloc gave may not do."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
