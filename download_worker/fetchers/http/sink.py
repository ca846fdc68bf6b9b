"""The one pass that every byte makes: from the connections' buffers to the disk and into the digests, side by side.

Three duties: write, digest, flush (`duties.py` says in which threads). A buffer that is next in order is digested from
memory; everything else (what was here before, what came out of order) is read back as soon as the digest gets there.
Whatever fails ends all: lanes that wait are told, and nothing that was written since the last good flush is ever called
durable (FAULTS.md D4).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from download_worker.errors import Code, GiveUp, Interrupted
from download_worker.fetchers.http.buffers import Account, Buffer
from download_worker.fetchers.http.duties import Deed, Duties
from download_worker.fetchers.http.hashing import Hasher
from download_worker.fetchers.http.part_file import DIRECT_BYTES, PartFile
from download_worker.fetchers.http.spans import SpanMap
from download_worker.leash import Leash
from download_worker.room import Span, Stretch, storage_errors

INLINE_BYTES = 8 * 1024 * 1024
"""A smaller file is written and digested by the lane that brings it: threads would only cost it time."""
CHECKPOINT_SECONDS = 5.0
READ_BACK_BYTES = 256 * 1024
FAST_BYTES_PER_SECOND = 200 * 1024 * 1024
"""What comes faster goes past the page cache: that is a tenth of the CPU (0.1 instead of 0.9 s per GiB), and does not
push out what others keep there. What comes slower costs little anyway, and stays where ComfyUI finds it."""
MOST_AT_ONCE = 8
"""Buffers in one write past the cache, so that a slow disk is not asked for each of them."""


class _Piece(NamedTuple):
    """Bytes of one buffer and their place in the file."""

    at: int
    data: memoryview
    giver: int
    buffer: Buffer
    is_next: bool
    """In order: it is digested from memory, and never read back."""

    @property
    def end(self) -> int:
        return self.at + len(self.data)

    @property
    def direct(self) -> memoryview:
        """What of it may go past the page cache: nothing where its place does not fit, else all whole blocks."""
        fits = self.is_next and self.at % DIRECT_BYTES == 0
        return self.data[: len(self.data) // DIRECT_BYTES * DIRECT_BYTES if fits else 0]


class Sink:
    """`noted` makes the journal say what is durable; `checked` comes after every flush that nobody asked for.

    `window_bytes`: a flush begins when so many bytes are written and not durable.
    """

    def __init__(
        self,
        file: PartFile,
        path: Path,
        account: Account,
        noted: Callable[[tuple[Stretch, ...]], None],
        checked: Deed,
        *,
        window_bytes: int,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._file = file
        self._path = path
        self._account = account
        self._noted = noted
        self._checked = checked
        self._window_bytes = window_bytes
        self._now = now
        self._duties = Duties(path, account.close)
        self._lock = self._duties.lock  # over all that follows; the account's lock is taken inside of it, never around
        self._to_write = self._duties.add(self._next_write)
        self._to_hash = self._duties.add(self._next_hash)
        self._to_flush = self._duties.add(self._next_flush)
        self._flushing = threading.Lock()  # around the lock: one flush at a time
        self._spoiled: OSError | None = None
        self._flush_wanted = False
        self._finishing = False
        self._scratch: memoryview | None = None
        self._durable_bytes, self._flushed_at = 0, now()
        self._write_queue: deque[_Piece] = deque()
        self._hash_queue: deque[_Piece] = deque()
        self._set_to(())

    @property
    def received_bytes(self) -> int:
        return self._received.bytes

    def received(self) -> SpanMap:
        """A copy."""
        with self._lock:
            return SpanMap(self._received.stretches())

    @property
    def is_over(self) -> bool:
        """Nothing that is put now is taken any more."""
        return self._duties.stopping

    @property
    def trouble(self) -> BaseException | None:
        return self._duties.trouble

    # from the lanes

    def buffer(self, leash: Leash) -> Buffer:
        """Waits for one. Raises Interrupted, and what went wrong in any thread."""
        self._duties.raise_trouble()
        if self._account.at_risk:
            with self._lock:
                self._flush_wanted = True
                self._to_flush.notify()
            self._duties.pump()
        buffer = self._account.take(leash)
        if buffer is None:
            self._duties.raise_trouble()
            raise Interrupted  # the part was left while this lane was waiting
        return buffer

    def put(self, buffer: Buffer, at: int, length: int, giver: int) -> None:
        """Of bytes that came twice the first ones count. Raises what went wrong in any thread."""
        with self._lock:
            self._duties.raise_trouble()
            if self._duties.stopping:
                raise Interrupted  # a lane that comes too late
            for start, end in self._received.gaps(at, at + length):
                self._received.add(start, end, giver)
                view = buffer.view[start - at : end - at]
                self._enqueue(_Piece(start, view, giver, buffer, is_next=start == self._hash_end))
            if buffer.users == 0:
                self._account.give_back(buffer)
            self._measure()
            self._flush_wanted |= self._account.filled(self._received.bytes - self._durable_bytes)
            self._to_write.notify()
            self._to_hash.notify()
            if self._is_flush_due():
                self._to_flush.notify()
        self.expect(self._received.bytes)
        self._duties.pump()

    # from the part

    def expect(self, total: int | None) -> None:
        """So many bytes there will be, if anybody knows: for many, threads are worth it."""
        if total is not None and total > INLINE_BYTES:
            self._duties.start()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Inside, nothing is written, digested or flushed. Raises what went wrong before."""
        with self._duties.quiet(), self._flushing:
            yield

    def set_to(self, stretches: Iterable[Stretch]) -> None:
        """Only these bytes are there, written and durable; digesting begins anew. Only inside `quiet`."""
        with self._lock:
            self._drop(self._write_queue)
            self._drop(self._hash_queue)
            self._set_to(stretches)

    def cut(self, spans: Iterable[Span], durable_bytes: int) -> None:
        """These are not there any more, and so many are still durable. Only inside `quiet`, when they are written."""
        with self._lock:
            for start, end in spans:
                self._received.cut(start, end)
                self._written.cut(start, end)
                self._hasher.back_to(start)
            self._drop(self._hash_queue)  # what is behind the cut is read back when its turn comes
            self._hash_end = self._hashed = self._hasher.at
            self._set_durable(durable_bytes)

    def settle(self, leash: Leash | None, *, last: bool = False) -> None:
        """Waits until all that was put is written. Raises Interrupted, and what went wrong in any thread.

        `last`: nothing more will be put, and `sync` follows; there is no other flush before it.
        """
        with self._lock:
            self._finishing = last
        self._duties.wait_for(lambda: self._written.bytes == self._received.bytes, leash)

    def checkpoint(self, leash: Leash | None) -> None:
        """All that was put is durable and noted."""
        self.settle(leash)
        with self._duties.telling():
            self._flush()

    def sync(self) -> None:
        """All that was written is durable, with the file's times, and not noted yet. Digesting goes on meanwhile."""
        with self._duties.telling(), self._flushing:
            self._flush_by(self._file.sync)

    def digest(self, leash: Leash | None) -> tuple[str, bytes] | None:
        """SHA-256 (hex) and the digests of the pieces, once all from byte 0 on is digested; None if there are gaps."""
        self._duties.wait_for(lambda: self._hashed == self._received.reach(0), leash)
        with self._lock:
            whole = self._received.bytes == self._hashed
            return (self._hasher.sha256, self._hasher.pieces) if whole else None

    def fail(self, trouble: BaseException) -> None:
        """Everybody who waits is told."""
        self._duties.fail(trouble)

    def stop(self) -> None:
        """What is queued is still written, unless something went wrong; then the threads end."""
        self._duties.stop()

    def last_checkpoint(self) -> None:
        """After `stop`: what was written before it all ended is durable, and noted; unless a flush has failed."""
        with storage_errors(self._path):
            self._flush()

    # the duties

    def _next_write(self) -> Deed | None:
        if not self._write_queue:
            return None
        pieces = [self._write_queue.popleft()]
        if not (self._is_fast and pieces[0].direct):
            return partial(self._write, pieces)
        while self._write_queue and len(pieces) < MOST_AT_ONCE and len(pieces[-1].direct) == len(pieces[-1].data):
            follower = self._write_queue[0]
            if follower.at != pieces[-1].end or not follower.direct:
                break
            pieces.append(self._write_queue.popleft())
        return partial(self._write_direct, pieces)

    def _write_direct(self, pieces: list[_Piece]) -> None:
        done = pieces[0].at + self._file.write_direct(pieces[0].at, [piece.direct for piece in pieces])
        self._write(pieces, done)

    def _write(self, pieces: list[_Piece], done: int = 0) -> None:
        """What of them lies before `done` is written already."""
        for piece in pieces:
            if piece.end > done:
                rest = piece.data[max(0, done - piece.at) :]
                self._file.write_at(piece.end - len(rest), rest)
                if self._duties.have_threads:
                    self._begin_writeback(piece)
        with self._lock:
            for piece in pieces:
                self._written.add(piece.at, piece.end, piece.giver)
                self._let_go(piece.buffer)
            if not self._hash_queue:
                self._to_hash.notify()
            if self._is_flush_due():
                self._to_flush.notify()

    def _begin_writeback(self, piece: _Piece) -> None:
        try:
            self._file.begin_writeback(piece.at, len(piece.data))
        except OSError as error:
            self._spoiled = error  # the disk refused bytes: which of them, nobody will ever say
            raise

    def _next_hash(self) -> Deed | None:
        if self._duties.stopping:
            return None
        if self._hash_queue:
            return partial(self._hash, self._hash_queue.popleft())
        start, self._hash_end = self._hash_end, self._written.reach(self._hash_end, self._hash_end + READ_BACK_BYTES)
        return partial(self._hash_back, start, self._hash_end) if start < self._hash_end else None

    def _hash(self, piece: _Piece) -> None:
        self._hasher.update(piece.data)
        with self._lock:
            self._hashed = piece.end
            self._let_go(piece.buffer)

    def _hash_back(self, start: int, end: int) -> None:
        self._scratch = self._scratch or memoryview(bytearray(READ_BACK_BYTES))
        at = start
        while at < end:
            got = self._file.read_at(at, self._scratch[: end - at])
            if not got:
                raise GiveUp(Code.STORAGE, f"{self._path} has lost its bytes from {at} on while it was open")
            self._hasher.update(self._scratch[:got])
            at += got
        with self._lock:
            self._hashed = end

    def _next_flush(self) -> Deed | None:
        if self._duties.stopping or self._finishing or not self._is_flush_due():
            return None
        self._flush_wanted = False
        return self._flush_and_check

    def _is_flush_due(self) -> bool:
        waiting = self._written.bytes - self._durable_bytes
        overdue = self._now() - self._flushed_at >= CHECKPOINT_SECONDS
        # Lanes that wait should not get a flush for one buffer's worth, and then the next: more is about to be written.
        worth_it = self._window_bytes // 2 if self._account.filling or self._write_queue else 1
        wanted = self._flush_wanted and waiting >= worth_it
        return waiting > 0 and (wanted or overdue or waiting >= self._window_bytes)

    def _flush_and_check(self) -> None:
        self._flush()
        self._checked()

    def _flush(self) -> None:
        with self._flushing:
            with self._lock:
                written = SpanMap(self._written.stretches())
            if written.bytes != self._durable_bytes:
                self._flush_by(self._file.flush)
                self._noted(written.stretches())
                with self._lock:
                    self._set_durable(written.bytes)

    def _flush_by(self, flush: Deed) -> None:
        """Only under `_flushing`. A flush that failed is never tried again: what it was to write may be gone."""
        if self._spoiled is None:
            try:
                flush()
            except OSError as error:
                self._spoiled = error
        if self._spoiled is not None:
            raise self._spoiled

    # under the lock

    def _enqueue(self, piece: _Piece) -> None:
        self._write_queue.append(piece)
        piece.buffer.users += 1
        if piece.is_next:
            self._hash_queue.append(piece)
            self._hash_end = piece.end
            piece.buffer.users += 1

    def _let_go(self, buffer: Buffer) -> None:
        buffer.users -= 1
        if buffer.users == 0:
            self._account.give_back(buffer)

    def _drop(self, pieces: deque[_Piece]) -> None:
        while pieces:
            self._let_go(pieces.popleft().buffer)

    def _set_to(self, stretches: Iterable[Stretch]) -> None:
        self._received = SpanMap(stretches)
        self._written = SpanMap(self._received.stretches())
        self._hasher = Hasher()
        self._hash_end = self._hashed = 0
        self._set_durable(self._written.bytes)
        self._is_fast = self._has_flushed = False
        self._first_put: tuple[float, int] | None = None

    def _measure(self) -> None:
        """Until the first flush, which a small file does not live to see: how fast are the bytes coming?"""
        if not self._has_flushed:
            now, received = self._now(), self._received.bytes
            self._first_put = since, before = self._first_put or (now, received)
            self._is_fast = now > since and received - before >= FAST_BYTES_PER_SECOND * (now - since)

    def _set_durable(self, count: int) -> None:
        """And from then on, how fast are they going?"""
        now, self._has_flushed = self._now(), True
        self._is_fast = count - self._durable_bytes >= FAST_BYTES_PER_SECOND * (now - self._flushed_at)
        self._durable_bytes, self._flushed_at = count, now
        self._account.durable(self._received.bytes - count)
