"""The part file while one attempt writes to it: every byte goes to the disk and into the digest, in order, once.

What the journal calls durable was flushed before. Checkpoints come every so many bytes or seconds, and whenever the
attempt ends, so that the next one goes on at the last byte that was written. The first bytes of the file are shown to
`inspect` before anything beyond them is written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO
from time import monotonic

from download_worker.digests import feed
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES, Inspect
from download_worker.leash import Leash
from download_worker.room import Fetched, Identity, Journal, Room, storage_errors

CHECKPOINT_SECONDS = 5.0

FreeBytes = Callable[[], int]
"""How many bytes this user may still write to the room's volume."""

# macOS and Windows have no fdatasync; the size of the file is part of what it flushes.
_flush_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Part:
    """An open part file. `at` bytes of it are written and digested; `journal` says how many of them are durable."""

    def __init__(
        self,
        room: Room,
        file: FileIO,
        inspect: Inspect,
        free_bytes: FreeBytes,
        *,
        checkpoint_bytes: int,
        reserve_bytes: int,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._room = room
        self._file = file
        self._inspect = inspect
        self._free_bytes = free_bytes
        self._checkpoint_bytes = checkpoint_bytes
        self._reserve_bytes = reserve_bytes
        self._now = now
        self._digest = hashlib.sha256()
        self._head = b""
        self._inspected = False
        self._checked_at = now()
        self.journal = Journal(source="")
        self.at = 0
        self.resumed_bytes = 0

    def resume(self, journal: Journal, leash: Leash) -> None:
        """Take up what is durable: digest it anew, look at its head again, and cut off what lies beyond (D17, D18).

        Raises what `inspect` raises, and then the room is empty; TryLater, GiveUp for the disk; Interrupted.
        """
        with storage_errors(self._room.part):
            self._file.seek(0)
            self.at = feed(self._digest, self._file, journal.durable_bytes, check=leash.check)
            self._file.seek(0)
            self._head = self._file.read(min(HEAD_BYTES, self.at)) or b""
            self._file.truncate(self.at)
            self._file.seek(self.at)
        self.journal = replace(journal, durable_bytes=self.at, sha256=None, identity=None)
        self.resumed_bytes = self.at
        if len(self._head) == HEAD_BYTES:
            self._look()

    def clear(self, source: str) -> None:
        """Nothing of what was here remains. A journal that speaks of more than there is counts for nothing."""
        with storage_errors(self._room.part):
            self._file.truncate(0)
            self._file.seek(0)
        self._digest = hashlib.sha256()
        self._head, self._inspected = b"", False
        self.at = self.resumed_bytes = 0
        self.journal = Journal(source)

    def begin(self, journal: Journal) -> None:
        """From byte 0, for the representation that this journal describes; it is noted before the first byte."""
        self.clear(journal.source)
        self.journal = journal
        with storage_errors(self._room.part):
            self._room.note(journal)

    def learn_total(self, total: int) -> None:
        """The host said only now how long the file is, in bytes."""
        self.journal = replace(self.journal, total=total)

    def make_room_for(self, total: int | None) -> None:
        """Before the first byte: is there space for what is still to come, beside the reserve? (D1)

        Raises TryLater(disk_full).
        """
        needed = 0 if total is None else total - self.at
        with storage_errors(self._room.part):
            free = self._free_bytes()
        if free < needed + self._reserve_bytes:
            message = f"{needed} more bytes are needed beside a reserve of {self._reserve_bytes}, and {free} are free"
            raise TryLater(Code.DISK_FULL, f"no space on the volume of {self._room.part}: {message}")

    def write(self, piece: bytes) -> None:
        """Raises what `inspect` raises, and then the room is empty; TryLater(disk_full); GiveUp for the disk."""
        if not self._inspected:
            self._head += piece[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES:
                self._look()
        with storage_errors(self._room.part):
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        self._digest.update(piece)
        self.at += len(piece)
        if (
            self.at - self.journal.durable_bytes >= self._checkpoint_bytes
            or self._now() - self._checked_at >= CHECKPOINT_SECONDS
        ):
            self.checkpoint()
            self.make_room_for(None)

    def checkpoint(self) -> None:
        """Make what is written durable, then say so."""
        self._checked_at = self._now()
        if self.at == self.journal.durable_bytes or self._file.closed:
            return
        with storage_errors(self._room.part):
            _flush_data(self._file.fileno())
            self.journal = replace(self.journal, durable_bytes=self.at)
            self._room.note(self.journal)

    @property
    def sha256(self) -> str:
        """The digest of the bytes so far, in lower-case hex."""
        return self._digest.hexdigest()

    def finish(self, origin: str | None) -> Fetched:
        """The file is whole: flush it, see that it is what was written, and say so in the journal.

        Raises what `inspect` raises, and then the room is empty; TryLater, GiveUp for the disk.
        """
        if not self._inspected:
            self._look()
        with storage_errors(self._room.part):
            self._file.flush()
            os.fsync(self._file.fileno())
            identity = Identity.of(os.fstat(self._file.fileno()))
            if identity.size != self.at:
                raise GiveUp(Code.STORAGE, f"{self._room.part} has {identity.size} bytes, but {self.at} were written")
            self.journal = replace(
                self.journal, total=self.at, durable_bytes=self.at, sha256=self.sha256, identity=identity, origin=origin
            )
            self._room.note(self.journal)
        return fetched(self._room, self.journal, self.resumed_bytes)

    def _look(self) -> None:
        try:
            self._inspect(self._head)
        except Trouble:
            self._file.close()
            self._room.empty()
            raise
        self._inspected = True


@contextmanager
def opened(
    room: Room, inspect: Inspect, free_bytes: FreeBytes, *, checkpoint_bytes: int, reserve_bytes: int
) -> Iterator[Part]:
    """The room's part file, there from now on, readable by nobody else. Raises TryLater, GiveUp for the disk."""
    with storage_errors(room.part):
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        file = FileIO(os.open(room.part, flags, 0o600), "r+")
    with file:
        yield Part(room, file, inspect, free_bytes, checkpoint_bytes=checkpoint_bytes, reserve_bytes=reserve_bytes)


def fetched(room: Room, journal: Journal, resumed_bytes: int) -> Fetched:
    """The whole file of which this journal speaks."""
    assert journal.sha256 is not None and journal.identity is not None, "only a whole file was fetched"  # noqa: S101 - for mypy
    return Fetched(
        path=room.part,
        sha256=journal.sha256,
        size=journal.durable_bytes,
        identity=journal.identity,
        origin=journal.origin or "",
        content_type=journal.content_type,
        resumed_bytes=resumed_bytes,
    )
