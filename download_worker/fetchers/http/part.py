"""The part file while one attempt writes to it: bytes from any number of lanes, each written and digested once.

What the journal calls durable was flushed before. Checkpoints come every so many bytes or seconds, and whenever the
attempt ends, so that the next one goes on with what was received. The first bytes of the file are shown to `inspect`
before anything beyond them is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic

from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES, Inspect
from download_worker.fetchers.http.buffers import Account, Buffer, Pool
from download_worker.fetchers.http.hashing import PIECE_DIGEST_BYTES
from download_worker.fetchers.http.part_file import PartFile
from download_worker.fetchers.http.sink import Sink
from download_worker.fetchers.http.spans import SpanMap, coarse
from download_worker.leash import Leash
from download_worker.room import (
    MAX_STRETCHES,
    MAX_VERSIONS,
    Fetched,
    Identity,
    Journal,
    Room,
    Span,
    Stretch,
    Version,
    storage_errors,
)

SMALL_BYTES = 8 * 1024 * 1024
"""For a file up to this size no blocks are taken beforehand, and nothing is noted if it goes straight to its place."""

FreeBytes = Callable[[], int]
"""How many bytes this user may still write to the room's volume."""


class Part:
    """An open part file; make one with `opened`. `journal` says what of it is durable, and is for others to read only.

    `buffer` and `put` are for the lanes, each in its own thread. All others may be called while lanes are at work,
    except `clear`, `begin` and `resume`.
    """

    def __init__(
        self,
        room: Room,
        file: PartFile,
        account: Account,
        inspect: Inspect,
        free_bytes: FreeBytes,
        *,
        checkpoint_bytes: int,
        reserve_bytes: int,
        file_mode: int | None = None,
        leash: Leash | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._room = room
        self._file_mode = file_mode
        self._file = file
        self._account = account
        self._inspect = inspect
        self._free_bytes = free_bytes
        self._reserve_bytes = reserve_bytes
        self._leash = leash
        self._noting = threading.Lock()  # over `journal` and its file
        self._head = bytearray()
        self._inspected = False
        self.journal = Journal()
        self.emptied = False
        self.resumed_bytes = 0
        self._sink = Sink(
            *(file, room.part, account, self._note_durable, self._check_reserve),
            window_bytes=checkpoint_bytes // 2,
            now=now,
        )

    # what is there

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, if anybody said so."""
        return self.journal.total

    @property
    def lead(self) -> Version | None:
        """The representation that this file was begun with."""
        return self.journal.lead

    @property
    def at(self) -> int:
        """Bytes received so far, wherever they belong."""
        return self._sink.received_bytes

    def have(self) -> tuple[Span, ...]:
        """What was received."""
        return self._sink.received().spans()

    def stretches(self) -> tuple[Stretch, ...]:
        """What was received, and who gave it."""
        return self._sink.received().stretches()

    @property
    def pressed_seconds(self) -> float:
        """How long lanes waited for buffers, summed: the disk or the digest is slower than the network."""
        return self._account.pressed_seconds

    # the lanes

    def buffer(self, leash: Leash) -> Buffer:
        """A buffer to fill, at least a third of a connection's second: `put` it when it is full or time is up.

        Raises Interrupted, and whatever went wrong with this part in another thread.
        """
        return self._sink.buffer(leash)

    def put(self, buffer: Buffer, at: int, length: int, giver: int) -> None:
        """The first `length` bytes of the buffer belong at byte `at`. It is not the lane's any more; 0 gives it back.

        Raises what `inspect` raises, and then the room is empty; TryLater, GiveUp for the disk.
        """
        if not self._inspected and at < HEAD_BYTES and not self._sink.is_over:
            self._take_head(at, buffer.view[:length])
        self._sink.put(buffer, at, length, giver)

    # the attempt

    def clear(self) -> None:
        """Nothing of what was here remains. A journal that speaks of more than there is counts for nothing."""
        with self._sink.quiet(), storage_errors(self._room.part):
            self._start_over(Journal())

    def begin(self, version: Version, total: int | None) -> None:
        """From byte 0, for this representation; the journal knows no other before the first byte is written.

        Raises TryLater, GiveUp for the disk.
        """
        with self._sink.quiet(), storage_errors(self._room.part):
            self._start_over(Journal(total, (version,)))
            if not self._room.fresh:
                self._room.note(self.journal)
        self._sink.expect(total)

    def resume(self, journal: Journal) -> None:
        """Take up what is durable, look at its head again, and cut off what lies beyond (D17, D18).

        It is digested anew, in the background where there is much of it. Raises what `inspect` raises, and then the
        room is empty; TryLater, GiveUp for the disk.
        """
        durable = SpanMap(journal.durable)
        with self._sink.quiet(), storage_errors(self._room.part):
            self._file.truncate(durable.end)
            self._read_head(durable.reach(0, HEAD_BYTES))
            self.journal = replace(journal, sha256=None, identity=None, pieces=None)
            self._sink.set_to(journal.durable)
        self.resumed_bytes = durable.bytes
        if len(self._head) == HEAD_BYTES:
            self._look()
        self._sink.expect(max(durable.bytes, journal.total or 0))

    def join(self, version: Version) -> int:
        """One more source may add bytes: its giver index. Raises TryLater where there were too many already."""
        with self._noting:
            versions = self.journal.versions
            if version in versions:
                return versions.index(version)
            if len(versions) == MAX_VERSIONS:
                raise TryLater(Code.LYING_SERVER, f"{self._room.part} was described in {MAX_VERSIONS} ways already")
            self.journal = replace(self.journal, versions=(*versions, version))
            return len(versions)

    def learn_total(self, total: int) -> None:
        """The host said only now how long the file is, in bytes."""
        with self._noting:
            self.journal = replace(self.journal, total=total)
        self._sink.expect(total)

    def make_room_for(self, total: int | None) -> None:
        """Before the first byte: is there space for what is still to come, beside the reserve? (D1) Then take it.

        Raises TryLater(disk_full), GiveUp for the disk.
        """
        with storage_errors(self._room.part):
            needed = 0 if total is None else total - self._allocated_bytes()
            if total is not None and needed <= 0:
                return  # it was taken before
            free, reserve = self._free_bytes(), self._reserve_bytes
            if free < needed + reserve:
                message = f"{needed} more bytes are needed beside a reserve of {reserve}, and {free} are free"
                raise TryLater(Code.DISK_FULL, f"no space on the volume of {self._room.part}: {message}")
            if total is not None and total > SMALL_BYTES:
                self._file.allocate(total)

    def forget(self, spans: Iterable[Span]) -> None:
        """These bytes were wrong. The journal does not call them durable any more before others can take their place.

        Raises Interrupted; TryLater, GiveUp for the disk.
        """
        wrong = tuple(spans)
        self._sink.settle(self._leash)
        with self._sink.quiet(), storage_errors(self._room.part), self._noting:
            durable = SpanMap(self.journal.durable)
            for start, end in wrong:
                durable.cut(start, end)
            rest = durable.stretches()
            journal = replace(self.journal, durable=rest, sha256=None, identity=None, pieces=None)
            self._room.note(journal)
            self.journal = journal
            self._sink.cut(wrong, durable.bytes)
            first = min((start for start, _ in wrong), default=HEAD_BYTES)
            if first < HEAD_BYTES:
                self._head, self._inspected = self._head[:first], False

    def checkpoint(self) -> None:
        """All that was put is durable, and the journal says so."""
        self._sink.checkpoint(self._leash)

    def digest(self) -> str | None:
        """SHA-256 in lower-case hex of all that was put; waits for it. None where there are gaps.

        Raises Interrupted, and whatever went wrong in another thread.
        """
        digested = self._sink.digest(self._leash)
        return None if digested is None else digested[0]

    def finish(self, origin: str | None) -> Fetched:
        """The file is whole: flush and digest the rest of it side by side, see that it is what was written, and say so.

        Raises what `inspect` raises, and then the room is empty; Interrupted; TryLater, GiveUp for the disk.
        """
        self._sink.settle(self._leash, last=True)
        if not self._inspected:
            with storage_errors(self._room.part):
                self._read_head(min(HEAD_BYTES, self.at))
            self._look()
        if self._file_mode is not None:
            with suppress(OSError):  # then whoever puts it in place sees to that, or says why not
                self._room.part.chmod(self._file_mode)
        self._sink.sync()
        digested = self._sink.digest(self._leash)
        with storage_errors(self._room.part), self._noting:
            identity = Identity.of(self._file.stat())
            if digested is None or identity.size != self.at:
                raise GiveUp(Code.STORAGE, f"{self._room.part} has {identity.size} bytes, but {self.at} were written")
            sha256, pieces = digested
            journal = replace(
                self.journal,
                total=self.at,
                durable=coarse(self.stretches(), MAX_STRETCHES),
                sha256=sha256,
                identity=identity,
                pieces=pieces.hex(),
            )
            if self.at > SMALL_BYTES:
                self._room.note(journal)
            else:
                self._room.bear_in_mind(journal)
            self.journal = journal
        return fetched(self._room, self.journal, self.resumed_bytes, origin)

    def leave(self) -> None:
        """The threads end, and what was put is durable and noted, unless the room was emptied.

        Raises what went wrong in any thread; TryLater, GiveUp for the disk.
        """
        self._sink.stop()
        try:
            if not self.emptied and not self.journal.whole:  # a whole file's times must not change any more
                try:
                    self._sink.last_checkpoint()
                finally:
                    with suppress(OSError):  # blocks that were taken beforehand are for others until we come back
                        self._file.truncate(self._file.stat().st_size)
        finally:
            self._account.close()
            with storage_errors(self._room.part):  # some network volumes say only now what they could not keep
                self._file.close()
        if self._sink.trouble is not None:
            raise self._sink.trouble

    # how

    def _start_over(self, journal: Journal) -> None:
        self._file.truncate(0)
        self._head, self._inspected = bytearray(), False
        self.resumed_bytes = 0
        self.journal = journal
        self._sink.set_to(())

    def _take_head(self, at: int, data: memoryview) -> None:
        known = len(self._head)
        if at <= known < at + len(data):
            self._head += data[known - at : HEAD_BYTES - at]
            if len(self._head) == HEAD_BYTES:
                self._look()

    def _read_head(self, count: int) -> None:
        head = memoryview(bytearray(count))
        got = self._file.read_at(0, head) if count else 0
        self._head, self._inspected = bytearray(head[:got]), False

    def _look(self) -> None:
        try:
            self._inspect(bytes(self._head))
        except TryLater as trouble:  # nobody could look: that says nothing of the bytes
            self._sink.fail(trouble)
            raise
        except Trouble as trouble:
            self.emptied = True
            self._sink.fail(trouble)
            self._sink.stop()
            self._room.empty()
            raise
        self._inspected = True

    def _allocated_bytes(self) -> int:
        """What need not be found on the volume any more."""
        blocks = getattr(self._file.stat(), "st_blocks", None)  # of 512 bytes everywhere; Windows does not tell
        return self.at if blocks is None else blocks * 512

    def _note_durable(self, durable: tuple[Stretch, ...]) -> None:
        with self._noting:
            journal = replace(self.journal, durable=coarse(durable, MAX_STRETCHES))
            self._room.note(journal)
            self.journal = journal

    def _check_reserve(self) -> None:
        if self.total is None or self._allocated_bytes() < self.total:
            self.make_room_for(None)


@contextmanager
def opened(
    room: Room,
    pool: Pool,
    inspect: Inspect,
    free_bytes: FreeBytes,
    *,
    checkpoint_bytes: int,
    reserve_bytes: int,
    file_mode: int | None = None,
    leash: Leash | None = None,
    now: Callable[[], float] = monotonic,
) -> Iterator[Part]:
    """The room's part file, there from now on, readable by nobody else. When it is left, what was put is durable.

    A whole file gets `file_mode` before its last flush, so that whoever puts it in place need not flush it once more.
    A pulled `leash` also ends the waiting in `digest`, `finish`, `checkpoint` and `forget`. Raises TryLater, GiveUp for
    the disk.
    """
    with storage_errors(room.part):
        file = PartFile(room.part)
    part = Part(
        *(room, file, pool.open(checkpoint_bytes), inspect, free_bytes),
        checkpoint_bytes=checkpoint_bytes,
        reserve_bytes=reserve_bytes,
        file_mode=file_mode,
        leash=leash,
        now=now,
    )
    try:
        yield part
    except BaseException:
        with suppress(Trouble):  # what ended the attempt is what counts
            part.leave()
        raise
    part.leave()


def fetched(room: Room, journal: Journal, resumed_bytes: int, origin: str | None = None) -> Fetched:
    """The whole file of which this journal speaks."""
    assert journal.sha256 is not None and journal.identity is not None, "only a whole file was fetched"  # noqa: S101 - for mypy
    lead = journal.lead or Version("")
    pieces = bytes.fromhex(journal.pieces or "")
    givers = {journal.versions[stretch.giver].origin or "" for stretch in journal.durable}
    return Fetched(
        path=room.part,
        sha256=journal.sha256,
        size=journal.durable_bytes,
        identity=journal.identity,
        origin=origin or lead.origin or "",
        content_type=lead.content_type,
        resumed_bytes=resumed_bytes,
        pieces=pieces if len(pieces) > PIECE_DIGEST_BYTES else b"",
        givers=tuple(sorted(givers - {""})),
    )
