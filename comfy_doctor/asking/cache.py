"""What was answered, with its age: one SQLite file that may be deleted at any time, and is begun anew when damaged.

Every call opens the file and closes it again, so that threads and processes may share it and nobody is hurt when it
vanishes. A cache never fails: what cannot be read was not there, what cannot be written is forgotten.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from loguru import logger

from download_worker.clock import Clock, SystemClock
from download_worker.sqlite_files import make_private

MAX_ROWS = 20_000
MAX_BYTES = 256 * 1024 * 1024
MAX_VALUE_BYTES = 64 * 1024 * 1024
PRUNE_EVERY_WRITES = 64
BUSY_SECONDS = 2.0
LEFT_ALONE_SECONDS = 60.0
"""After a process that did not let go of the file for that long."""
FUTURE_SECONDS = 60.0
"""A row that was written later than this from now was written under a wrong clock."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB NOT NULL, written REAL NOT NULL)
"""
_PRUNE = """
DELETE FROM answers WHERE key IN (
  SELECT key FROM (
    SELECT key, row_number() OVER newest AS rows, sum(length(value)) OVER newest AS bytes
    FROM answers WINDOW newest AS (ORDER BY written DESC, key)
  ) WHERE rows > ? OR bytes > ?
)
"""

T = TypeVar("T")


class Kept(NamedTuple):
    """`written` is in seconds since 1970, UTC."""

    value: Any
    written: float


class AnswerCache:
    """Rows (key, JSON value, when written). Keys must be free of secrets already; the file is for its owner only."""

    def __init__(
        self, path: Path, clock: Clock | None = None, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._bounds = (max_rows, max_bytes)
        self._one_at_a_time = threading.Lock()
        self._left_alone_until = float("-inf")
        self._writes = 0
        self._prune_every = max(1, min(PRUNE_EVERY_WRITES, max_rows // 16))

    def read(self, key: str, max_age_seconds: float | None) -> Any:
        """The value, or None when there is none that is young enough (None: of any age). Never raises."""
        kept = self._kept(key)
        if kept is None:
            return None
        age = self._clock.now().timestamp() - kept.written
        too_old = max_age_seconds is not None and age > max_age_seconds
        return None if too_old or age < -FUTURE_SECONDS else kept.value

    def write(self, key: str, value: Any) -> None:
        """Keep a JSON value; the oldest rows make room for it. Never raises for the disk's sake."""
        packed = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), level=1)
        row = (key, packed, self._clock.now().timestamp())

        def insert(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
            if self._writes % self._prune_every == 0:
                database.execute(_PRUNE, self._bounds)
            self._writes += 1
            database.commit()

        if len(packed) <= self._bounds[1]:
            self._with_file(insert)

    def _kept(self, key: str) -> Kept | None:
        def select(database: sqlite3.Connection) -> Any:
            return database.execute("SELECT value, written FROM answers WHERE key = ?", (key,)).fetchone()

        row = self._with_file(select)
        if row is None:
            return None
        try:
            text = zlib.decompressobj().decompress(row[0], MAX_VALUE_BYTES)
            return Kept(json.loads(text), float(row[1]))
        except (zlib.error, ValueError, TypeError, RecursionError):
            logger.debug("{}: one row cannot be read and is asked for again", self._path)
            return None

    def _with_file(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` answers; None where there is no usable file."""
        with self._one_at_a_time:
            if self._clock.steady().seconds < self._left_alone_until:
                return None
            try:
                make_private(self._path)
                with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as database:
                    database.execute("PRAGMA synchronous=OFF")  # a crash may damage it: then it is begun anew
                    database.execute(_TABLE)
                    return work(database)
            except sqlite3.Error as error:
                self._met(error)
            except OSError as error:
                logger.debug("{}: answers cannot be kept: {}", self._path, error.strerror)
            return None

    def _met(self, error: sqlite3.Error) -> None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code, sqlite.org/rescode
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            # Whoever holds it may have been stopped: two hundred questions must not wait for it one after another.
            self._left_alone_until = self._clock.steady().seconds + LEFT_ALONE_SECONDS
        if code not in _DAMAGED:
            logger.debug("{}: answers are not at hand: {}", self._path, error)
            return
        logger.warning("{} is damaged ({}) and is begun anew; answers are asked for again", self._path, error)
        # The journal first: left alone, it would be played into the new file.
        for path in (self._path.with_name(self._path.name + "-journal"), self._path):
            try:
                path.unlink(missing_ok=True)
            except OSError as reason:
                logger.warning("{} cannot be removed: {}; delete it by hand", path, reason.strerror)
