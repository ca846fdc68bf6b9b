"""The bandwidth limits of one home, kept by all of its worker processes together.

Time is the steady clock, which is one for all processes of a machine (Linux: CLOCK_BOOTTIME; macOS and Windows: the
monotonic clock, which counts from boot there), so that no step of the wall clock matters; only schedules go by the
wall, in local time. Where nothing is limited, no file is written, and twice a second two are looked at for a change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path

from loguru import logger

from download_worker.clock import Clock, Instant, SystemClock
from download_worker.errors import Trouble, TryLater
from download_worker.limits import InForce, Orders, Scope, in_force
from download_worker.pace.bucket import Bucket
from download_worker.pace.orders import ORDERS_NAME, read_orders
from download_worker.pace.table import Buckets, Table
from download_worker.settings import CONFIG_NAME, Settings, load

LOOK_SECONDS = 0.5
SLICE_SECONDS = 0.01
"""What is less than so much of every limit is written down together with the next."""
MAX_UNWRITTEN = 1_000

Stamp = tuple[int, int, int] | None
_UNREAD: Stamp = (-1, -1, -1)


class Hearing:
    """What limits hold now. A file that has changed is read again; one that is broken changes nothing (G3)."""

    def __init__(self, settings: Settings, *, zone: tzinfo | None = None) -> None:
        self._home = settings.home
        self._state = settings.state
        self._zone = zone
        self._limits = settings.limits
        self._orders = Orders()
        self._file_stamp: Stamp = None  # what changed since the settings were read counts
        self._orders_stamp: Stamp = None

    def in_force(self, now: datetime) -> InForce:
        stamp = _stamp(self._home / CONFIG_NAME)
        if stamp != self._file_stamp:
            self._file_stamp = stamp
            self._hear_file()
        stamp = _stamp(self._state / ORDERS_NAME)
        if stamp != self._orders_stamp:
            self._orders_stamp = stamp
            self._hear_orders()
        return in_force(self._limits, self._orders, now.astimezone(self._zone).time())

    def _hear_file(self) -> None:
        try:
            limits = load(self._home).limits
        except TryLater:
            self._file_stamp = _UNREAD  # without a descriptor; the next look reads it
            return
        except Trouble as trouble:
            logger.warning("{}; the limits stay as they were until the file is right again", trouble.message)
            return
        if limits != self._limits:
            logger.info("{} has changed; its limits hold now", self._home / CONFIG_NAME)
            self._limits = limits

    def _hear_orders(self) -> None:
        try:
            self._orders = read_orders(self._state)
        except TryLater:
            self._orders_stamp = _UNREAD
        except Trouble as trouble:
            logger.warning("{}; what was ordered before stays", trouble)


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class SharedPace:
    """The Pace of a worker process. `zone` is where schedules are at home, by default where the machine is."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, zone: tzinfo | None = None) -> None:
        self._clock = clock or SystemClock()
        self._hearing = Hearing(settings, zone=zone)
        self._table = Table(settings.state)
        self._lock = threading.Lock()
        self._in_force = InForce()
        self._look_at = float("-inf")
        self._unwritten: dict[tuple[str, str], int] = {}

    def spend(self, host: str, job: str, n_bytes: int) -> float:
        now = self._clock.steady()
        with self._lock:
            scopes = self._scopes(host, job, now)
            if not scopes:
                return 0.0
            owed = self._unwritten.pop((host, job), 0) + n_bytes
            if 0 < owed < SLICE_SECONDS * min(scope.rate for scope in scopes):
                self._unwritten[host, job] = owed
                return 0.0
            buckets = self._table.change(now, _charge(scopes, job, owed, now))
            return max(buckets[scope.name].wait_seconds(job, scope.rate) for scope in scopes)

    def _scopes(self, host: str, job: str, now: Instant) -> tuple[Scope, ...]:
        if now.seconds >= self._look_at:
            self._look_at = now.seconds + LOOK_SECONDS
            self._in_force = self._hearing.in_force(self._clock.now())
            if len(self._unwritten) > MAX_UNWRITTEN:
                self._unwritten.clear()  # of jobs that have ended long ago
        return self._in_force.scopes(host, job)


def _charge(scopes: tuple[Scope, ...], job: str, n_bytes: int, now: Instant) -> Callable[[Buckets], Buckets]:
    """Each of these limits is charged with all of the bytes."""

    def rule(buckets: Buckets) -> Buckets:
        changed = dict(buckets)
        for name, rate in scopes:
            bucket = changed.get(name, Bucket(now.seconds)).at(now.seconds, rate)
            changed[name] = bucket.charged(job, n_bytes, rate)
        return changed

    return rule
