"""The buckets that all worker processes of one home share: one small file, changed under a lock.

Why a file of JSON under a filelock, and neither SQLite nor shared memory: the operating system drops the lock when its
holder dies, on every platform; the file is rewritten in place by one call and never flushed, as nothing in it is worth
a disk's time; and what is torn, foreign or of another boot counts as empty, which forgives debts of a second or so.
Who holds the lock, a tenth of a millisecond's work, for longer than `LOCK_SECONDS` is stopped, not busy: then the
process keeps the limits alone for a while, going on from what it saw last, and nobody waits for anybody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from loguru import logger
from pydantic import ConfigDict, TypeAdapter

from download_worker.clock import Instant
from download_worker.pace.bucket import Bucket

MAX_TABLE_BYTES = 1024 * 1024
FORGET_SECONDS = 60.0
"""A bucket that nobody asked about for so long is dropped: who waits for it asks every second."""
LOCK_SECONDS = 0.5
POLL_SECONDS = 0.001
ALONE_SECONDS = 5.0
MAX_AHEAD_SECONDS = 1.0
"""A bucket further in the future was written under another boot, where boots have no names (macOS, Windows)."""

MAX_DEBT_BYTES = 256 * 1024 * 1024
"""Far more than all connections of a job can owe: who owes more was written by somebody else."""

Buckets = Mapping[str, Bucket]
_ROWS = TypeAdapter(
    tuple[str, dict[str, tuple[float, float, dict[str, float]]]], config=ConfigDict(allow_inf_nan=False)
)


class Table:
    """Not thread-safe: its owner has a lock for its threads."""

    def __init__(self, state: Path) -> None:
        self._path = state / "pace.json"
        self._lock = FileLock(
            state / "pace.lock", timeout=LOCK_SECONDS, poll_interval=POLL_SECONDS, mode=0o600, thread_local=False
        )
        self._last: Buckets = {}
        self._alone_until = -ALONE_SECONDS
        self._told = False

    def change(self, now: Instant, rule: Callable[[Buckets], Buckets]) -> Buckets:
        """The buckets after this rule, for all processes; for this one only while the file cannot be had."""
        if now.seconds >= self._alone_until:
            try:
                with self._lock:
                    self._last = _lively(rule(self._read(now)), now)
                    self._write(now)
            except (OSError, Timeout) as error:
                self._alone_until = now.seconds + ALONE_SECONDS
                self._tell(error)
            else:
                return self._last
        self._last = _lively(rule(self._last), now)
        return self._last

    def _read(self, now: Instant) -> Buckets:
        try:
            with self._path.open("rb") as file:
                boot_id, rows = _ROWS.validate_json(file.readline(MAX_TABLE_BYTES))
        except (FileNotFoundError, ValueError):
            return {}
        if boot_id != now.boot_id:
            return {}
        return {name: _believed(*row) for name, row in rows.items() if row[0] <= now.seconds + MAX_AHEAD_SECONDS}

    def _write(self, now: Instant) -> None:
        rows = {name: (bucket.at_seconds, bucket.idle_bytes, dict(bucket.debts)) for name, bucket in self._last.items()}
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            # One line; what a longer one has left behind it does not count.
            os.write(descriptor, json.dumps((now.boot_id, rows)).encode() + b"\n")
        finally:
            os.close(descriptor)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            message = "{} cannot be shared ({}); this process keeps the limits alone, and tries again every {:.0f} s"
            logger.warning(message, self._path, error, ALONE_SECONDS)


def _believed(at_seconds: float, idle_bytes: float, debts: Mapping[str, float]) -> Bucket:
    owed = {job: min(debt, MAX_DEBT_BYTES) for job, debt in debts.items() if debt > 0}
    return Bucket(at_seconds, max(0.0, idle_bytes), owed)


def _lively(buckets: Buckets, now: Instant) -> Buckets:
    return {name: bucket for name, bucket in buckets.items() if now.seconds - bucket.at_seconds < FORGET_SECONDS}
