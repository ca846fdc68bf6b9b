"""What lies on the disk around the queue: private files, the lock for opening, what was set or moved aside.

Nothing in here knows persist-queue; it knows the three files that SQLite makes of one database in WAL mode.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock
from loguru import logger

from download_worker.text import Redactor

DATA = "data.db"
SET_ASIDE = "set_aside.jsonl"
FILES = (DATA, f"{DATA}-wal", f"{DATA}-shm")

MAX_ASIDE_LOG_BYTES = 1024 * 1024
_REDACTED_BYTES = 4096
_EXCERPT_CHARS = 200


class QueueFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / DATA

    def make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def opening(self, timeout_seconds: float) -> Iterator[None]:
        """One process at a time opens, so that a damaged queue is moved away once, and not its fresh successor too.

        Raises filelock.Timeout, OSError.
        """
        self.make()
        with FileLock(self.path / "opening.lock", timeout=timeout_seconds, mode=0o600, thread_local=False):
            yield

    def make_private(self) -> None:
        """Folder 0700 and files 0600, whatever the umask: SQLite gives -wal and -shm the mode of the database."""
        _chmod(self.path, 0o700)
        try:
            # Never open a database that is there: closing it again would drop SQLite's locks on it in this process.
            os.close(os.open(self.data, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            if self.data.stat().st_size == 0:
                logger.warning("{} was found empty; if rings were in it, the next sweep finds their jobs", self.data)
        for name in FILES:
            with suppress(FileNotFoundError):
                _chmod(self.path / name, 0o600)

    def identity(self) -> tuple[int, ...] | None:
        """Which files these are, so that replaced ones show; None while one is missing or the database is empty.

        Nobody removes the -wal of a queue that somebody has open, so it belongs to the answer.
        """
        try:
            data, wal = self.data.stat(), self.data.with_name(f"{DATA}-wal").stat()
        except FileNotFoundError:
            return None
        return (data.st_dev, data.st_ino, wal.st_ino) if data.st_size else None

    def touch(self) -> None:
        """Make a commit known at once. The event of its bytes comes before it shows, which only the next flush allows;
        and macOS and Windows tell of a write when the file is closed, but of new times right away."""
        with suppress(OSError):
            os.utime(self.data)

    def move_away(self, why: Exception) -> None:
        """Keep a damaged queue under another name, with its -wal, so that an empty one can begin."""
        # Beginning anew is safe here, and only here: the queue holds hints, and the ledger holds the jobs. SQLite sees
        # that its file was moved, so another process that still has it open leaves the new one alone.
        number = next(n for n in count(1) if not self.path.joinpath(f"{DATA}.corrupt-{n}").exists())
        away = self.path / f"{DATA}.corrupt-{number}"
        for name in reversed(FILES):
            with suppress(FileNotFoundError):
                (self.path / name).rename(self.path / name.replace(DATA, away.name))
        logger.error(
            "the queue {} is damaged ({}) and was moved to {}; a new one begins, and the sweep finds every job",
            self.data,
            why,
            away,
        )

    def note_aside(self, at: str, ring_id: int, reason: str, data: object) -> None:
        """One JSON line about a row that was set aside: its first bytes escaped and without secrets, and its size."""
        logger.warning("set aside ring {} of the queue in {}: {}", ring_id, self.path, reason)
        raw = data if isinstance(data, bytes) else b"" if data is None else str(data).encode()
        excerpt = Redactor()(raw[:_REDACTED_BYTES].decode("ascii", "backslashreplace"))[:_EXCERPT_CHARS]
        note = {"time": at, "row": ring_id, "reason": reason, "excerpt": excerpt, "bytes": len(raw)}
        try:
            _append(self.path / SET_ASIDE, json.dumps(note) + "\n")
        except OSError as error:
            logger.warning("could not note that in {}: {}; the row itself is kept", SET_ASIDE, error)


def _chmod(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def _append(path: Path, line: str) -> None:
    """One write, so that lines of two processes do not mix; one older file is kept."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > MAX_ASIDE_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
