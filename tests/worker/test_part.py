"""The part file: what is durable, digested and told, whatever the lanes bring, the disk does, or the leash ends."""

from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import xxhash

from download_worker.errors import Code, GiveUp, Interrupted, Trouble, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES
from download_worker.fetchers.http import buffers, duties, hashing, part, part_file, sink
from download_worker.fetchers.http.buffers import Buffer, Pool
from download_worker.fetchers.http.part import Part, fetched, opened
from download_worker.fetchers.http.part_file import PartFile
from download_worker.fetchers.http.spans import SpanMap
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
)

KIB = 1024
SIZE = 300 * KIB + 7
DATA = Random(4).randbytes(SIZE)
SHA = hashlib.sha256(DATA).hexdigest()
CHECKPOINT_BYTES = 64 * KIB
A = Version("a", etag='"a"', content_type="x/y", origin="https://a.example/m")
B = Version("b", etag='"b"', origin="https://b.example/m")
PATIENCE_SECONDS = 20.0
MODES = ["by the lanes", "by threads"]
EVERYTHING = (Span(0, SIZE),)
UNORDERLY = (Span(100 * KIB, 180 * KIB), Span(0, 100 * KIB), Span(250 * KIB, SIZE), Span(180 * KIB, 250 * KIB))


class Rig:
    """A room, and one attempt after the other at it. A leash that is pulled in the end turns a hang into a failure."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.room = Room(folder, fresh=True)
        self.pool = Pool()
        self.leash = Leash()
        self.heads: list[bytes] = []
        self.free_bytes = 1 << 50
        self.now = 0.0
        self.checkpoint_bytes = CHECKPOINT_BYTES
        self.refusal: Trouble | None = None

    def inspect(self, head: bytes) -> None:
        self.heads.append(head)
        if self.refusal is not None:
            raise self.refusal

    def opened(self, checkpoint_bytes: int | None = None) -> AbstractContextManager[Part]:
        return opened(
            *(self.room, self.pool, self.inspect, lambda: self.free_bytes),
            checkpoint_bytes=checkpoint_bytes or self.checkpoint_bytes,
            reserve_bytes=1000,
            leash=self.leash,
            now=lambda: self.now,
        )

    def pour(self, part: Part, spans: Iterable[Span] = EVERYTHING, giver: int = 0, data: bytes = DATA) -> None:
        for start, end in spans:
            at = start
            while at < end:
                buffer = part.buffer(self.leash)
                length = min(len(buffer.view), end - at)
                buffer.view[:length] = data[at : at + length]
                part.put(buffer, at, length, giver)
                at += length

    def attempt(self, spans: Sequence[Span] = EVERYTHING) -> Fetched:
        """Goes on with what is there, and brings what is missing, these first."""
        journal = self.room.journal()
        with self.opened() as part:
            if journal is not None and journal.durable:
                part.resume(journal)
            else:
                part.begin(A, SIZE)
            part.make_room_for(SIZE)
            missing = SpanMap(part.stretches())
            self.pour(part, [gap for span in spans for gap in missing.gaps(*span)])
            return part.finish(A.origin)

    @property
    def noted(self) -> Journal:
        journal = self.room.journal()
        assert journal is not None
        return journal

    def is_right(self, file: Fetched) -> bool:
        pieces = b"".join(xxhash.xxh3_128(DATA[at : at + KIB]).digest() for at in range(0, SIZE, KIB))
        return (
            (file.sha256, file.size, file.pieces) == (SHA, SIZE, pieces)
            and file.path.read_bytes() == DATA
            and self.room.whole_file() == self.room.journal() is not None
            and file.identity == Identity.of(file.path.stat())
        )


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(hashing, "PIECE_BYTES", KIB)
    rig = Rig(tmp_path / "1")
    watchdog = threading.Timer(PATIENCE_SECONDS, rig.leash.pull)
    before = threading.active_count()
    watchdog.start()
    yield rig
    watchdog.cancel()
    watchdog.join()
    assert threading.active_count() == before, "no thread is left behind"
    assert rig.pool.allocated_bytes == 0


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test that asks for it runs without threads, as for a small file, and with them."""
    monkeypatch.setattr(sink, "INLINE_BYTES", 0 if request.param == "by threads" else 1 << 40)
    monkeypatch.setattr(part, "SMALL_BYTES", 0)
    return str(request.param)


with_and_without_threads = pytest.mark.usefixtures("mode")


# Bytes in, a whole file out


@with_and_without_threads
@pytest.mark.parametrize("spans", [EVERYTHING, UNORDERLY], ids=["in order", "in no order"])
def test_what_was_put_is_written_digested_durable_and_told(rig: Rig, spans: Sequence[Span]) -> None:
    file = rig.attempt(spans)
    assert rig.is_right(file)
    assert (file.origin, file.content_type, file.givers) == (A.origin, "x/y", (A.origin,))
    assert rig.heads == [DATA[:HEAD_BYTES]]
    assert fetched(rig.room, rig.noted, 0) == file


@with_and_without_threads
@pytest.mark.parametrize("size", [1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1])
def test_a_small_file_is_looked_at_once_and_flushed_once(
    rig: Rig, size: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fsync of the file, one of the journal, one of its folder: there is no journal before that could come back."""
    flushes: list[int] = []
    fsync = os.fsync

    def watched(number: int) -> None:
        flushes.append(number)
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(part_file, "_flush_data", watched)
    with rig.opened(1 << 24) as part:
        part.begin(A, size)
        rig.pour(part, [Span(0, size)])
        file = part.finish(None)
    assert file.sha256 == hashlib.sha256(DATA[:size]).hexdigest()
    assert rig.heads == [DATA[: min(size, HEAD_BYTES)]]
    assert len(flushes) == 3


@with_and_without_threads
def test_many_lanes_put_at_once(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        assert part.join(B) == 1
        spans = [Span(at, min(SIZE, at + 16 * KIB)) for at in range(0, SIZE, 16 * KIB)]
        rig.pour(part, spans[:4])
        with ThreadPoolExecutor(8) as lanes:
            work = [lanes.submit(rig.pour, part, spans[4 + number :: 8], number % 2) for number in range(8)]
            for lane in work:
                lane.result(PATIENCE_SECONDS)
        assert part.at == SIZE
        assert part.have() == EVERYTHING
        file = part.finish(A.origin)
    assert rig.is_right(file)
    assert file.givers == (A.origin, B.origin)
    assert {stretch.giver for stretch in rig.noted.durable} == {0, 1}


def test_from_so_many_bytes_on_threads_do_it_also_where_nobody_knew_the_size(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 100 * KIB)
    with rig.opened() as part:
        part.begin(A, None)
        rig.pour(part, [Span(0, 100 * KIB)])
        assert not part._sink._duties.have_threads
        rig.pour(part, [Span(100 * KIB, SIZE)])
        assert part._sink._duties.have_threads
        part.learn_total(SIZE)
        assert rig.is_right(part.finish(None))


@with_and_without_threads
def test_what_comes_in_order_is_digested_from_memory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: PartFile, at: int, into: memoryview) -> int:
        raise AssertionError("nothing needs to be read back")

    monkeypatch.setattr(PartFile, "read_at", refuse)
    assert rig.is_right(rig.attempt())


@with_and_without_threads
def test_of_bytes_that_came_twice_the_first_ones_count(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 50_000), Span(60_000, 70_000)])
        rig.pour(part, [Span(40_000, 65_000)], data=DATA[:50_000] + DATA[50_000:60_000] + bytes(SIZE))
        rig.pour(part, [Span(0, 70_000)], data=bytes(SIZE))
        assert part.at == 70_000
        rig.pour(part, [Span(70_000, SIZE)])
        assert rig.is_right(part.finish(None))


@with_and_without_threads
def test_a_buffer_with_nothing_in_it_comes_back(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        for _ in range(2000):
            part.put(part.buffer(rig.leash), 0, 0, 0)
        assert part.at == 0
        assert part.pressed_seconds == 0
        assert rig.pool.allocated_bytes <= 256 * KIB


def test_where_the_system_has_no_pwrite_no_pread_and_no_fdatasync_it_works_as_well(
    rig: Rig, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pwrite", "preadv", "fdatasync"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(part_file, "_flush_data", os.fsync)
    monkeypatch.setattr(part_file, "_LIBC", {})
    assert rig.is_right(rig.attempt(UNORDERLY))


@with_and_without_threads
def test_a_system_that_takes_less_at_once_gets_the_rest_as_well(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda number, data, at: pwrite(number, data[:1000], at))
    monkeypatch.setattr(os, "preadv", lambda number, views, at: preadv(number, [views[0][:1000]], at))
    assert rig.is_right(rig.attempt(UNORDERLY))


NEEDS_DIRECT = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="only Linux writes past the page cache")


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """Where writes past the page cache went, or were tried."""
    seen: list[Span] = []
    write = PartFile.write_direct

    def watched(file: PartFile, at: int, pieces: Sequence[memoryview]) -> int:
        seen.append(Span(at, at + sum(map(len, pieces))))
        return write(file, at, pieces)

    monkeypatch.setattr(PartFile, "write_direct", watched)
    return seen


@NEEDS_DIRECT
def test_what_comes_fast_and_in_order_goes_past_the_page_cache(rig: Rig, direct: list[Span]) -> None:
    assert rig.is_right(rig.attempt())
    assert direct and all(start % 4096 == end % 4096 == 0 for start, end in direct)


@NEEDS_DIRECT
def test_what_is_read_back_for_the_digest_does_not(rig: Rig, direct: list[Span]) -> None:
    assert rig.is_right(rig.attempt([Span(100 * KIB, 200 * KIB), Span(0, 100 * KIB), Span(200 * KIB, SIZE)]))
    assert not any(start < 200 * KIB and end > 100 * KIB for start, end in direct)


@NEEDS_DIRECT
def test_what_comes_slowly_stays_in_the_page_cache(
    rig: Rig, direct: list[Span], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "FAST_BYTES_PER_SECOND", math.inf)
    rig.now = 1.0
    with rig.opened() as part:
        part.begin(A, SIZE)
        for start in range(0, SIZE, 32 * KIB):
            rig.now += 1.0
            rig.pour(part, [Span(start, min(SIZE, start + 32 * KIB))])
        assert rig.is_right(part.finish(A.origin))
    assert direct == []


@NEEDS_DIRECT
@pytest.mark.parametrize(("seconds", "is_fast"), [(0.0001, True), (1.0, False)])
def test_a_small_file_is_judged_before_its_only_flush(
    rig: Rig, direct: list[Span], seconds: float, is_fast: bool
) -> None:
    """And of its end, which is no whole block, what is."""
    data = DATA[: 96 * KIB + 5000]
    with rig.opened(checkpoint_bytes=16 * 1024 * KIB) as part:
        part.begin(A, len(data))
        for start in range(0, len(data), 32 * KIB):
            rig.now += seconds
            rig.pour(part, [Span(start, min(len(data), start + 32 * KIB))])
        assert part.finish(A.origin).sha256 == hashlib.sha256(data).hexdigest()
    assert rig.room.part.read_bytes() == data
    assert direct == (
        [Span(start * KIB, (start + 32) * KIB) for start in (32, 64)] + [Span(96 * KIB, 100 * KIB)] if is_fast else []
    )


@NEEDS_DIRECT
def test_a_volume_that_cannot_do_it_is_asked_once(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(PartFile(tmp_path / "probe")) as probe:
        if probe._direct is None:
            pytest.skip("the volume of the tests lets nobody past its page cache")
    asked: list[int] = []

    def refuse(number: int, pieces: Sequence[memoryview], at: int) -> int:
        asked.append(at)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "pwritev", refuse)
    assert rig.is_right(rig.attempt())
    assert len(asked) == 1


@NEEDS_DIRECT
def test_what_a_short_write_left_over_is_written_as_usual(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda number, pieces, at: pwritev(number, [pieces[0][:512]], at))
    assert rig.is_right(rig.attempt())


def test_a_file_that_was_closed_is_nobody_elses(tmp_path: Path) -> None:
    """Its number may be that of another file by now."""
    file = PartFile(tmp_path / "part")
    file.close()
    with (tmp_path / "innocent").open("wb"), pytest.raises(OSError):
        file.write_at(0, memoryview(b"x"))
    assert (tmp_path / "innocent").read_bytes() == b""


@with_and_without_threads
def test_the_end_is_flushed_and_digested_side_by_side(rig: Rig, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """After a resume: the digest of what was here goes on while the last flush waits for the disk."""
    if mode == "by the lanes":
        pytest.skip("a small file is digested before it is flushed")
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part)
    flushing, digested = threading.Event(), threading.Event()
    real_sync, real_update = PartFile.sync, hashing.Hasher.update

    def slow_sync(self: PartFile) -> None:
        flushing.set()
        assert digested.wait(PATIENCE_SECONDS), "the digest waits for the flush"
        real_sync(self)

    def slow_update(self: hashing.Hasher, data: memoryview) -> None:
        assert flushing.wait(PATIENCE_SECONDS), "the flush waits for the digest"
        real_update(self, data)
        if self.at == SIZE:
            digested.set()

    monkeypatch.setattr(PartFile, "sync", slow_sync)
    monkeypatch.setattr(hashing.Hasher, "update", slow_update)
    with rig.opened() as part:
        part.resume(rig.noted)
        assert rig.is_right(part.finish(None))


# What is durable, and what the journal says of it


class Disk:
    """What a power cut would leave: `image` is the file as of the last good flush. After a bad one it stays so."""

    def __init__(self, rig: Rig, patch: pytest.MonkeyPatch) -> None:
        self.image = b""
        self.is_good = True
        self._rig = rig
        note = Room.note

        def watched(room: Room, journal: Journal) -> None:
            self.must_have(journal)
            note(room, journal)

        patch.setattr(Room, "note", watched)
        patch.setattr(PartFile, "flush", self._watched(PartFile.flush))
        patch.setattr(PartFile, "sync", self._watched(PartFile.sync))

    def _watched(self, flush: Callable[[PartFile], None]) -> Callable[[PartFile], None]:
        def watched(file: PartFile) -> None:
            image = self._rig.room.part.read_bytes()
            try:
                flush(file)
            except OSError:
                self.is_good = False
                raise
            if self.is_good:
                self.image = image

        return watched

    def must_have(self, journal: Journal) -> None:
        for start, end, _ in journal.durable:
            assert self.image[start:end] == DATA[start:end], "the journal speaks of bytes that are not durable"


@with_and_without_threads
def test_d13_the_journal_never_speaks_of_bytes_that_are_not_flushed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    Disk(rig, monkeypatch)
    assert rig.is_right(rig.attempt(UNORDERLY))


@with_and_without_threads
def test_a_crash_costs_no_more_than_was_allowed(rig: Rig) -> None:
    """Whenever a lane gets a buffer: what it may fill, what others fill, and what is received and not noted."""
    with rig.opened() as part:
        part.begin(A, SIZE)
        for at in range(0, SIZE, 4096):
            buffer = part.buffer(rig.leash)
            durable = (rig.room.journal() or Journal()).durable_bytes
            assert part.at + len(buffer.view) - durable <= CHECKPOINT_BYTES
            length = min(len(buffer.view), SIZE - at)
            buffer.view[:length] = DATA[at : at + length]
            part.put(buffer, at, length, 0)
        assert rig.is_right(part.finish(None))


@with_and_without_threads
def test_however_it_is_left_what_was_put_is_durable(rig: Rig) -> None:
    spans = (Span(0, 70_000), Span(100_000, 100_001))
    for number, trouble in enumerate((TryLater(Code.CUT_SHORT, "cut"), Interrupted(), KeyboardInterrupt())):
        with pytest.raises(type(trouble)), rig.opened(1 << 24) as part:
            part.begin(A, SIZE)
            rig.pour(part, spans)
            raise trouble
        assert rig.noted.durable == tuple(Stretch(*span, 0) for span in spans), number
    with rig.opened(1 << 24) as part:
        part.begin(A, SIZE)
        rig.pour(part, spans)
    assert rig.noted == Journal(SIZE, (A,), tuple(Stretch(*span, 0) for span in spans))


def test_a_slow_file_is_noted_every_few_seconds(rig: Rig) -> None:
    with rig.opened(1 << 24) as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 10)])
        assert rig.room.journal() is None
        rig.now = 5.1
        rig.pour(part, [Span(10, 20)])
        assert rig.noted.durable_bytes == 20
        rig.pour(part, [Span(20, 30)])
        assert rig.noted.durable_bytes == 20
        part.checkpoint()
        assert rig.noted.durable_bytes == 30


@with_and_without_threads
def test_h4_another_representation_is_in_the_journal_before_its_first_byte_is_in_the_file(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 200_000)], data=bytes(SIZE))
    write = PartFile.write_at

    def watched(file: PartFile, at: int, data: memoryview) -> None:
        assert rig.noted.lead == B
        write(file, at, data)

    monkeypatch.setattr(PartFile, "write_at", watched)
    with rig.opened() as part:
        part.begin(B, SIZE)
        assert rig.noted == Journal(SIZE, (B,))
        rig.pour(part)
        assert rig.is_right(part.finish(None))


def test_what_is_cleared_is_gone_and_an_old_journal_counts_for_nothing(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 100_000)])
    with rig.opened() as part:
        part.clear()
        assert (part.at, part.have(), part.lead, part.total) == (0, (), None, None)
        assert rig.room.journal() is None


# Going on with what is there


@with_and_without_threads
@pytest.mark.parametrize(
    "here", [(Span(0, 3000),), (Span(0, 100_000), Span(150_000, 250_000)), (Span(70_000, 70_001),), EVERYTHING]
)
def test_d18_a_resume_goes_on_with_what_is_durable_and_with_nothing_else(rig: Rig, here: Sequence[Span]) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, here)
    with rig.room.part.open("r+b") as file:
        for gap in SpanMap(rig.noted.durable).gaps(0, SIZE + 100):
            file.seek(gap.start)
            file.write(b"x" * (gap.end - gap.start))
    rig.heads.clear()
    file_again = rig.attempt()
    assert rig.is_right(file_again)
    assert file_again.resumed_bytes == sum(end - start for start, end in here)
    assert rig.heads == [DATA[:HEAD_BYTES]]


def test_what_was_resumed_is_digested_while_new_bytes_come(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 200_000)])
    with rig.opened() as part:
        part.resume(rig.noted)
        part._sink._duties.wait_for(lambda: part._sink._hashed == 200_000, rig.leash)
        rig.pour(part, [Span(200_000, SIZE)])
        assert part.digest() == SHA


def test_d17_room_that_was_taken_beforehand_is_no_file(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "SMALL_BYTES", 0)
    with pytest.raises(Interrupted), rig.opened() as opened_part:
        opened_part.begin(A, 1 << 24)
        opened_part.make_room_for(1 << 24)
        if "fallocate" in part_file._LIBC and rig.room.part.stat().st_blocks:
            assert rig.room.part.stat().st_blocks * 512 >= 1 << 24
        assert rig.room.part.stat().st_size == 0
        rig.pour(opened_part, [Span(0, 100_000)])
        raise Interrupted
    assert rig.noted.durable_bytes == 100_000
    assert rig.room.whole_file() is None
    assert rig.room.part.stat().st_blocks * 512 < 1 << 20, "nobody else is kept from it while the job waits"


def test_an_unknown_total_is_learned_and_noted(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, None)
        assert part.total is None
        part.learn_total(SIZE)
        assert part.total == SIZE
        rig.pour(part, [Span(0, 70_000)])
    assert rig.noted.total == SIZE


def test_a_source_joins_once_and_there_is_a_bound_to_them(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        assert [part.join(A), part.join(B), part.join(B)] == [0, 1, 1]
        for number in range(2, MAX_VERSIONS):
            assert part.join(Version(str(number))) == number
        with pytest.raises(TryLater):
            part.join(Version("one more"))
        assert part.journal.versions[:2] == (A, B)


def test_a_journal_stays_bounded_however_the_givers_alternate(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "MAX_STRETCHES", 10)
    with rig.opened() as opened_part:
        opened_part.begin(A, SIZE)
        opened_part.join(B)
        for number in range(40):
            rig.pour(opened_part, [Span(number * 100, number * 100 + 100)], number % 2)
    assert MAX_STRETCHES > 10 >= len(rig.noted.durable)
    assert rig.noted.durable_bytes == 4000


# The digest, and bytes that were wrong


@with_and_without_threads
def test_a_digest_is_of_all_that_was_put_or_of_nothing(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 90_000)])
        assert part.digest() == hashlib.sha256(DATA[:90_000]).hexdigest()
        rig.pour(part, [Span(100_000, 110_000)])
        assert part.digest() is None
        rig.pour(part, [Span(90_000, 100_000), Span(110_000, SIZE)])
        assert part.digest() == SHA


@with_and_without_threads
@pytest.mark.parametrize("wrong", [Span(0, 10), Span(5000, 90_000), Span(250_000, SIZE)])
def test_wrong_bytes_are_forgotten_before_others_take_their_place(
    rig: Rig, wrong: Span, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = DATA[: wrong.start] + bytes(wrong.end - wrong.start) + DATA[wrong.end :]
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, wrong.start), Span(wrong.end, SIZE)])
        rig.pour(part, [wrong], part.join(B), lie)
        assert part.digest() == hashlib.sha256(lie).hexdigest()
        part.forget([Span(start, end) for start, end, giver in part.stretches() if giver == 1])
        assert SpanMap(rig.noted.durable).gaps(0, SIZE) == [wrong] or rig.noted.durable_bytes < SIZE
        assert not SpanMap(rig.noted.durable).reach(wrong.start) > wrong.start
        assert part.at == SIZE - (wrong.end - wrong.start)
        rig.pour(part, [wrong])
        assert rig.is_right(part.finish(None))
    assert rig.noted.durable == (Stretch(0, SIZE, 0),)


def test_only_from_the_wrong_piece_on_it_is_digested_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    read_at = PartFile.read_at

    def watched(file: PartFile, at: int, into: memoryview) -> int:
        read.append(at)
        return read_at(file, at, into)

    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part)
        part.digest()
        part.forget([Span(200 * KIB + 5, 200 * KIB + 6)])
        monkeypatch.setattr(PartFile, "read_at", watched)
        rig.pour(part, [Span(200 * KIB + 5, 200 * KIB + 6)])
        assert part.digest() == SHA
    assert min(read) == 200 * KIB


# The first look


@with_and_without_threads
def test_h9_a_head_that_is_refused_empties_the_room_and_everybody_is_told(rig: Rig) -> None:
    rig.refusal = GiveUp(Code.HTML, "a web page")
    with pytest.raises(GiveUp, match="a web page"), rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(200_000, 210_000)])
        with pytest.raises(GiveUp, match="a web page"):
            rig.pour(part, [Span(0, SIZE)])
        assert part.emptied
        assert not rig.room.part.exists()
        with pytest.raises(GiveUp, match="a web page"):
            part.buffer(rig.leash)
    assert rig.room.journal() is None
    assert not rig.room.part.exists(), "nothing was noted or written afterwards"


def test_a_flush_that_is_on_its_way_brings_no_journal_back_into_an_emptied_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)
    rig.refusal = GiveUp(Code.HTML, "a web page")
    flushing = threading.Event()

    def slow(file: PartFile) -> None:
        flushing.set()
        for _ in range(100):
            if rig.room.part.exists():
                rig.leash.wait(0.001)

    monkeypatch.setattr(PartFile, "flush", slow)
    with pytest.raises(GiveUp), rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(200_000, 240_000)])
        assert flushing.wait(PATIENCE_SECONDS)
        rig.pour(part)
    assert list(rig.room.folder.iterdir()) == []


@with_and_without_threads
def test_the_head_is_seen_before_anything_beyond_it_is_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.refusal = GiveUp(Code.HTML, "a web page")
    sizes: list[int] = []
    inspect = rig.inspect

    def watched(head: bytes) -> None:
        sizes.append(rig.room.part.stat().st_size)
        inspect(head)

    monkeypatch.setattr(rig, "inspect", watched)
    with pytest.raises(GiveUp), rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(at, at + 1000) for at in range(0, SIZE, 1000)])
    assert len(sizes) == 1 and sizes[0] < HEAD_BYTES
    assert rig.heads == [DATA[:HEAD_BYTES]]


def test_a_head_that_was_wrong_is_looked_at_again_when_it_came_anew(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, data=bytes(SIZE))
        part.forget([Span(100, SIZE)])
        part.forget([Span(0, 100)])
        rig.pour(part)
        assert rig.is_right(part.finish(None))
    assert rig.heads == [bytes(HEAD_BYTES), DATA[:HEAD_BYTES]]


def test_a_head_that_was_here_before_is_looked_at_again(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, HEAD_BYTES)])
    rig.refusal = GiveUp(Code.HTML, "a web page")
    with pytest.raises(GiveUp), rig.opened() as part:
        part.resume(rig.noted)
    assert rig.room.journal() is None


@with_and_without_threads
def test_d8_a_head_that_nobody_can_look_at_now_costs_no_byte(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 200_000)])
    rig.refusal = TryLater(Code.STORAGE, "too many files are open")
    with pytest.raises(TryLater), rig.opened() as part:
        part.resume(rig.noted)
    assert rig.noted.durable_bytes == 200_000
    with pytest.raises(TryLater), rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(100_000, SIZE), Span(0, 100_000)])
    assert rig.noted.durable_bytes >= SIZE - 100_000
    rig.refusal = None
    assert rig.is_right(rig.attempt())


# Disks


def test_d1_without_space_for_the_rest_and_the_reserve_nothing_is_begun(rig: Rig) -> None:
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.free_bytes = SIZE + 1000
        part.make_room_for(SIZE)
        rig.free_bytes -= 1
        with pytest.raises(TryLater) as full:
            part.make_room_for(SIZE)
        assert full.value.code is Code.DISK_FULL


@with_and_without_threads
def test_d1_a_reserve_that_others_use_up_stops_the_file(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_file, "_LIBC", {})
    with pytest.raises(TryLater) as full, rig.opened() as part:
        part.begin(A, SIZE)
        part.make_room_for(SIZE)
        rig.free_bytes = 999
        for at in count(0, 10_000):
            rig.pour(part, [Span(at, min(SIZE, at + 10_000))])
            if at > SIZE:
                part.finish(None)
    assert full.value.code is Code.DISK_FULL
    assert rig.noted.durable_bytes > 0


class Faults:
    """The n-th call that the system is asked for fails."""

    def __init__(self, patch: pytest.MonkeyPatch, step: int, number: int) -> None:
        self.seen: list[str] = []
        self._step = step
        self._number = number
        self._lock = threading.Lock()
        self.failed: str | None = None
        for owner, name in (
            *((os, name) for name in ("pwrite", "pwritev", "preadv", "fsync", "ftruncate", "open", "fstat")),
            (part_file, "_flush_data"),
            *((Path, name) for name in ("open", "replace")),
        ):
            if hasattr(owner, name):
                patch.setattr(owner, name, self._faulty(name, getattr(owner, name)))
        calls = {name: self._faulty(name, call, tells=True) for name, call in part_file._LIBC.items()}
        patch.setattr(part_file, "_LIBC", calls)

    def _faulty(self, name: str, function: Callable[..., Any], *, tells: bool = False) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **more: Any) -> Any:
            with self._lock:
                if arguments and str(arguments[0]).endswith("/journal.json"):
                    return function(*arguments, **more)
                self.seen.append(name)
                fails = len(self.seen) == self._step + 1
            if not fails:
                return function(*arguments, **more)
            self.failed = name
            if not tells:
                raise OSError(self._number, os.strerror(self._number))
            ctypes.set_errno(self._number)
            return -1

        return wrapper


VIEW_BYTES = 64 * KIB

CODES: dict[int, tuple[type[Trouble], Code]] = {
    errno.ENOSPC: (TryLater, Code.DISK_FULL),
    errno.EDQUOT: (TryLater, Code.DISK_FULL),
    errno.EIO: (GiveUp, Code.STORAGE),
    errno.EROFS: (GiveUp, Code.STORAGE),
    errno.EMFILE: (TryLater, Code.STORAGE),
}


def sweep(rig: Rig, numbers: Sequence[int], before: Callable[[], None]) -> set[str]:
    """One attempt for each call that can fail, and one more on a disk that is well again.

    Threads do not make as many calls every time: it ends when several attempts in a row made fewer.
    """
    seen: set[str] = set()
    gc.collect()  # what other tests left open may be closed at any time
    descriptors = open_descriptors()
    rig.checkpoint_bytes = 4 * VIEW_BYTES
    unharmed, step = 0, -1
    while unharmed < 3:
        step += 1
        number = numbers[step % len(numbers)]
        rig.room.empty()
        before()
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(rig, patch)
            disk.image = rig.room.part.read_bytes() if rig.room.part.exists() else b""
            faults = Faults(patch, step, number)
            try:
                rig.attempt(UNORDERLY)
            except Trouble as trouble:
                assert (type(trouble), trouble.code) == CODES[number], faults.failed
                assert faults.failed is not None
        if faults.failed is None:
            assert rig.room.whole_file() is not None
            unharmed += 1
            continue
        unharmed = 0
        seen.add(faults.failed)
        disk.must_have(rig.room.journal() or Journal())
        assert rig.is_right(rig.attempt()), f"{faults.failed} failed as call {step}"
        assert open_descriptors() == descriptors
    return seen


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208 - a number is wanted


CALLS = {"pwrite", "open", "fstat"}
"""What is met in every sweep. Threads make the last calls of an attempt, the flushes, now earlier and now later."""
EVERY_CALL = CALLS | {"fsync", "_flush_data", "replace"}


@pytest.fixture
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep takes as many attempts as an attempt makes calls."""
    monkeypatch.setattr(buffers, "VIEWS_AT_RISK", 4)


@pytest.mark.slow
@pytest.mark.usefixtures("few_calls")
@with_and_without_threads
def test_d1_d4_d5_d7_d8_d9_whatever_call_fails_nothing_wrong_is_durable_and_the_next_attempt_ends_well(
    rig: Rig, mode: str
) -> None:
    assert sweep(rig, list(CODES), lambda: None) >= (EVERY_CALL if mode == "by the lanes" else CALLS)


@pytest.mark.slow
@pytest.mark.usefixtures("few_calls")
@with_and_without_threads
def test_d4_d8_a_disk_that_fails_in_a_resume(rig: Rig, mode: str) -> None:
    def leave_something() -> None:
        with rig.opened() as part:
            part.begin(A, SIZE)
            rig.pour(part, [Span(0, 100_000), Span(200_000, 250_000)])

    seen = sweep(rig, [errno.EIO, errno.ENOSPC, errno.EMFILE], leave_something)
    assert seen >= (EVERY_CALL | {"preadv", "ftruncate"} if mode == "by the lanes" else CALLS)


@pytest.mark.slow
@pytest.mark.usefixtures("few_calls")
@with_and_without_threads
@pytest.mark.parametrize("number", CODES, ids=errno.errorcode.get)
def test_d1_d4_d5_d7_d8_d9_every_fault_at_every_call(rig: Rig, number: int) -> None:
    assert sweep(rig, [number], lambda: None) >= CALLS


@with_and_without_threads
def test_d4_after_a_flush_that_failed_there_is_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []

    def broken(number: int) -> None:
        flushes.append(number)
        if len(flushes) == 2:
            raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(part_file, "_flush_data", broken)
    with pytest.raises(GiveUp) as failed, rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part)
        part.finish(None)
    assert failed.value.code is Code.STORAGE
    assert len(flushes) == 2, "to flush again would only seem to work"
    assert 0 < rig.noted.durable_bytes < SIZE


@with_and_without_threads
def test_d4_what_fails_for_one_lane_is_told_to_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: PartFile, at: int, data: object) -> int:
        raise OSError(errno.EIO, "the disk is gone")

    with pytest.raises(GiveUp), rig.opened() as part:
        part.begin(A, SIZE)
        mine = part.buffer(rig.leash)
        monkeypatch.setattr(PartFile, "write_at", broken)
        monkeypatch.setattr(PartFile, "write_direct", broken)
        with pytest.raises(GiveUp, match="the disk is gone"):
            rig.pour(part)
        monkeypatch.undo()
        with pytest.raises(GiveUp, match="the disk is gone"):
            part.buffer(rig.leash)
        with pytest.raises(GiveUp, match="the disk is gone"):
            part.put(mine, 0, 10, 0)


def test_at_the_end_nothing_is_flushed_twice(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)
    go_on = threading.Event()
    write, flushes = PartFile.write_at, list[PartFile]()

    def slow(file: PartFile, at: int, data: memoryview) -> None:
        assert go_on.wait(PATIENCE_SECONDS)
        write(file, at, data)

    monkeypatch.setattr(PartFile, "write_at", slow)
    monkeypatch.setattr(PartFile, "flush", flushes.append)
    with rig.opened(500 * KIB) as part, ThreadPoolExecutor(1) as threads:
        part.begin(A, SIZE)
        rig.pour(part)
        finished = threads.submit(part.finish, None)
        while not part._sink._finishing:
            rig.leash.wait(0.001)
        go_on.set()
        assert rig.is_right(finished.result(PATIENCE_SECONDS))
    assert flushes == []


# Who waits is served


@with_and_without_threads
def test_where_little_may_be_lost_a_drip_is_flushed_as_often_as_the_next_buffer_needs_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "WATCH_SECONDS", 1000.0)
    with rig.opened(4096) as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(at, at + 1) for at in range(5)])
    assert rig.noted.durable_bytes == 5


@with_and_without_threads
def test_a_lane_in_line_is_served_when_another_hands_its_last_bytes_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "WATCH_SECONDS", 1000.0)
    with rig.opened(4096) as part, ThreadPoolExecutor(1) as lanes:
        part.begin(A, SIZE)
        last = part.buffer(rig.leash)
        waiting = lanes.submit(part.buffer, rig.leash)
        while not rig.pool._waiting:
            rig.leash.wait(0.001)
        last.view[:1] = DATA[:1]
        part.put(last, 0, 1, 0)
        assert waiting.result(PATIENCE_SECONDS)


def test_lanes_in_line_do_not_have_each_buffer_flushed_by_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    flush, flushed = PartFile.flush, list[PartFile]()

    def counted(file: PartFile) -> None:
        flushed.append(file)
        flush(file)

    monkeypatch.setattr(PartFile, "flush", counted)
    with rig.opened() as part, ThreadPoolExecutor(4) as lanes:
        part.begin(A, SIZE)
        view_bytes = CHECKPOINT_BYTES // 16
        held = [part.buffer(rig.leash) for _ in range(16)]
        waiting = [lanes.submit(part.buffer, rig.leash) for _ in range(4)]
        while len(rig.pool._waiting) < 4:
            rig.leash.wait(0.001)
        for number, buffer in enumerate(held[:4]):
            part.put(buffer, number * view_bytes, view_bytes, 0)
        held += [lane.result(PATIENCE_SECONDS) for lane in waiting]
        assert len(flushed) == 1
        for buffer in held[4:]:
            part.put(buffer, SIZE, 0, 0)


def test_what_waits_to_be_digested_when_bytes_are_forgotten_is_digested_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)
    go_on = threading.Event()
    update = hashing.Hasher.update

    def slow(hasher: hashing.Hasher, data: memoryview) -> None:
        assert go_on.wait(PATIENCE_SECONDS)
        update(hasher, data)

    monkeypatch.setattr(hashing.Hasher, "update", slow)
    with rig.opened(1 << 24) as part, ThreadPoolExecutor(1) as threads:
        part.begin(A, SIZE)
        rig.pour(part)
        forgotten = threads.submit(part.forget, [Span(SIZE - 1, SIZE)])
        while not part._sink._duties._paused:
            rig.leash.wait(0.001)
        go_on.set()
        forgotten.result(PATIENCE_SECONDS)
        rig.pour(part, [Span(SIZE - 1, SIZE)])
        assert rig.is_right(part.finish(None))


# Leashes and latecomers


def test_a_pulled_leash_ends_the_wait_for_a_buffer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)
    stuck, go_on = threading.Event(), threading.Event()
    write = PartFile.write_at

    def slow(file: PartFile, at: int, data: memoryview) -> None:
        stuck.set()
        assert go_on.wait(PATIENCE_SECONDS)
        write(file, at, data)

    monkeypatch.setattr(PartFile, "write_at", slow)
    leash = Leash()
    with rig.opened() as part, ThreadPoolExecutor(1) as lanes:
        part.begin(A, SIZE)

        def lane() -> None:
            for number in count():
                part.put(part.buffer(leash), number * 4096, 4096, 0)

        poured = lanes.submit(lane)
        assert stuck.wait(PATIENCE_SECONDS)
        while not rig.pool._waiting:
            stuck.wait(0.001)
        leash.pull()
        with pytest.raises(Interrupted):
            poured.result(PATIENCE_SECONDS)
        assert part.pressed_seconds > 0
        go_on.set()
    assert rig.noted.durable_bytes == part.at, "what was put before is durable nevertheless"


@pytest.mark.parametrize("wait", ["digest", "finish"])
def test_a_pulled_leash_ends_the_wait_for_the_digest(rig: Rig, wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)
    go_on = threading.Event()
    update = hashing.Hasher.update

    def slow(hasher: hashing.Hasher, data: memoryview) -> None:
        if hasher.at == 0:
            rig.leash.pull()
            assert go_on.wait(PATIENCE_SECONDS)
        update(hasher, data)

    monkeypatch.setattr(hashing.Hasher, "update", slow)
    lane = Leash()
    with pytest.raises(Interrupted), rig.opened(1 << 24) as part:
        part.begin(A, 1000)
        buffer = part.buffer(lane)
        buffer.view[:1000] = DATA[:1000]
        part.put(buffer, 0, 1000, 0)
        try:
            part.digest() if wait == "digest" else part.finish(None)
        finally:
            go_on.set()
    assert rig.noted.durable_bytes == 1000


@with_and_without_threads
def test_a_lane_that_comes_too_late_writes_nowhere(rig: Rig, tmp_path: Path) -> None:
    late: list[Buffer] = []
    with rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part, [Span(0, 1000)])
        late += [part.buffer(rig.leash) for _ in range(2)]
    innocent = (tmp_path / "innocent").open("w+b")  # it probably has the number that the part file had
    with innocent:
        innocent.write(b"innocent")
        innocent.flush()
        for attempt in (
            lambda: part.put(late[0], 1000, 1000, 0),
            lambda: part.put(late[1], 0, 0, 0),
            lambda: part.buffer(rig.leash),
            lambda: part.begin(B, SIZE),
            lambda: part.clear(),
            lambda: part.forget([Span(0, 1)]),
        ):
            with pytest.raises(Interrupted):
                attempt()
    assert (tmp_path / "innocent").read_bytes() == b"innocent"
    assert rig.noted == Journal(SIZE, (A,), (Stretch(0, 1000, 0),))


@with_and_without_threads
def test_d18_a_file_that_somebody_cuts_while_it_is_open_is_no_file(rig: Rig) -> None:
    with pytest.raises(GiveUp) as lost, rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part)
        part.checkpoint()
        os.truncate(rig.room.part, 1000)
        part.finish(None)
    assert lost.value.code is Code.STORAGE
    assert rig.room.whole_file() is None


def test_d16_what_is_told_is_the_file_that_was_written(rig: Rig) -> None:
    file = rig.attempt()
    assert rig.room.whole_file() is not None
    rig.room.part.write_bytes(DATA[:-1] + b"x")
    assert rig.room.whole_file() is None
    assert Identity.of(rig.room.part.stat()) != file.identity


def test_a_thread_that_dies_of_a_fault_of_ours_is_told_as_well(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "INLINE_BYTES", 0)

    def broken(hasher: hashing.Hasher, data: memoryview) -> None:
        raise MemoryError

    monkeypatch.setattr(hashing.Hasher, "update", broken)
    with pytest.raises(MemoryError), rig.opened() as part:
        part.begin(A, SIZE)
        rig.pour(part)
        part.finish(None)
