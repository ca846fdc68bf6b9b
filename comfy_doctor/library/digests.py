"""SHA-256 of files on this disk, each read once as long as it stays what it was.

A digest is remembered under what the file system says of the file: device, inode, size, time of change and time of its
entry's change (FAULTS R5), never under its name. One SQLite file holds them; it may be deleted at any time, is begun
anew when it is damaged, and several processes may use it at once. A cache that fails costs reading time, nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from loguru import logger

from comfy_doctor.comfyui.plain_files import opened
from download_worker.digests import feed
from download_worker.errors import Code, GiveUp, TryLater
from download_worker.leash import Leash
from download_worker.sqlite_files import make_private

BUSY_SECONDS = 2.0
SETTLED_SECONDS = 2.0
"""A file that changed later than this may change again within one tick of its file system's clock, unseen."""
_TABLE = "CREATE TABLE IF NOT EXISTS digests (file TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)"
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


class _Identity(NamedTuple):
    """`file` is one row per inode, so that the cache never outgrows the disk; numbers as text: inodes have 64 bits."""

    file: str
    state: str

    @staticmethod
    def of(found: os.stat_result) -> _Identity:
        return _Identity(f"{found.st_dev}:{found.st_ino}", f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}")


class Digests:
    """`now` is the wall clock of the file system's times, in seconds since 1970. Safe to share between threads."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now

    def digest_of(self, path: Path, leash: Leash) -> str:
        """Lower-case hex. What is not remembered is read at the speed of the disk, one MiB at a time.

        Raises:
            GiveUp: storage or permission, it is no regular file or cannot be read. TryLater(storage): it changes while
            it is read. Interrupted.
        """
        with _opened(path) as file:
            before = os.fstat(file.fileno())
            identity = _Identity.of(before)
            known = self._recall(identity)
            if known is not None:
                return known
            digest = hashlib.sha256()
            with _reading_errors(path):
                feed(digest, file, before.st_size + 1, check=leash.check)
            if _Identity.of(os.fstat(file.fileno())) != identity:
                hint = "look again when whoever writes it is done"
                raise TryLater(Code.STORAGE, f"{path} changed while it was read", hint=hint)
        if self._now() - max(before.st_mtime, before.st_ctime) > SETTLED_SECONDS:
            self._remember(identity, digest.hexdigest())
        return digest.hexdigest()

    def remembered(self, path: Path) -> str | None:
        """The digest if it is known without reading the file. Never raises."""
        try:
            return self._recall(_Identity.of(path.stat()))
        except OSError:
            return None

    def _recall(self, identity: _Identity) -> str | None:
        row = self._ask("SELECT sha256 FROM digests WHERE file = ? AND state = ?", identity)
        return row[0] if row is not None and isinstance(row[0], str) and len(row[0]) == 64 else None

    def _remember(self, identity: _Identity, sha256: str) -> None:
        self._ask("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (*identity, sha256))

    def _ask(self, statement: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
        """The first row, None also when the cache fails; a damaged file is removed."""
        try:
            make_private(self._path)
            with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as database, database:
                database.execute(_TABLE)
                row: tuple[Any, ...] | None = database.execute(statement, values).fetchone()
                return row
        except sqlite3.Error as error:
            logger.debug("the cache of digests {} fails: {}", self._path, error)
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("the cache of digests {} cannot be opened: {}", self._path, error)
        return None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading; a fifo or a device is not waited for (FAULTS R5)."""
    with _reading_errors(path), opened(path) as file:
        yield file


@contextmanager
def _reading_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise GiveUp(Code.PERMISSION, f"not allowed to read {path}") from error
    except OSError as error:
        raise GiveUp(Code.STORAGE, f"cannot read {path}: {error.strerror or error}") from error
