"""The bell between processes: persist-queue 1.1.0, and the only module that opens it.

Its queue is durable, and everything else about it was measured to be weak (FAULTS.md section 3): two processes can take
one ring, opening wants the write lock, one bad row stops the line, finished rows stay, a file that was replaced
swallows what is put into it. None of that may matter here, because the queue holds nothing but hints: whatever is
unclear is heard again, set aside, or begun anew, and the sweep finds the job of a ring that was lost on the way.
"""

from __future__ import annotations

import errno
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from filelock import Timeout
from loguru import logger
from persistqueue.exceptions import Empty
from persistqueue.serializers import json as json_text
from persistqueue.sqlackqueue import SQLiteAckQueue
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay

from download_worker.clock import Clock, SystemClock, iso
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.jobs.bell import MAX_RINGS_PER_HEARING, Alarm, ForeignRing, Ring, RingId, job_id_in, payload_of
from download_worker.jobs.job import Job, JobId
from download_worker.jobs.queue_folder import QueueFolder

if TYPE_CHECKING:
    from download_worker.jobs.queue_watch import Watch

T = TypeVar("T")

OPEN_BUDGET_SECONDS = 30.0
CALL_BUDGET_SECONDS = 5.0
LOCK_WAIT_SECONDS = 1.0
# A commit shows only after its bytes are flushed, and nobody tells us of that: so look again a little after each write.
LOOK_AGAIN_SECONDS = (0.02, 0.1, 0.4, 1.5)

TIDY_AFTER_RINGS = 256
CLEARED_ROWS_AT_ONCE = 10_000
MAX_ROWS_ASIDE = 1_000

# Primary result codes, https://www.sqlite.org/rescode.html. ERROR here is "no such table" or "no such column": the file
# is a database, but nobody's queue.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
_FORBIDDEN = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
_NO_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})  # Windows has no quota error


class PersistQueueBell:
    """One queue folder. Making the bell touches nothing: the queue is opened by the first ring or hearing.

    So whoever hands in a job never fails for the queue's sake. `lock_seconds` bounds one wait for a lock,
    `call_seconds` one ring or hearing with its retries, `open_seconds` an explicit `open`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        open_seconds: float = OPEN_BUDGET_SECONDS,
        call_seconds: float = CALL_BUDGET_SECONDS,
        lock_seconds: float = LOCK_WAIT_SECONDS,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = QueueFolder(folder)
        self._open_seconds = open_seconds
        self._call_seconds = call_seconds
        self._lock_seconds = lock_seconds
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._lock = threading.RLock()
        self._queue: _RingQueue | None = None
        self._identity: tuple[int, ...] | None = None
        self._version: int | None = None
        self._is_drained = False  # at this version all was heard, and nobody of this process rang since
        self._is_deaf = False  # the last hearing failed
        self._rings_until_tidy = 0
        self._watch: Watch | None = None
        self._alarm = Alarm()
        self._called = self._closed = False

    def open(self) -> None:
        """Open the queue now. Raises TryLater(queue_busy, disk_full) or GiveUp(permission, storage)."""
        self._do(lambda queue: None, self._open_seconds)

    def ring(self, job: Job) -> bool:
        payload = payload_of(job)
        try:
            self._do(lambda queue: self._put(queue, payload), self._call_seconds)
        except Trouble as trouble:
            _tell(f"could not ring for job {job.job_id}", trouble)
            return False
        self._folder.touch()
        self.wake()
        return True

    def heard(self, *, limit: int = MAX_RINGS_PER_HEARING) -> tuple[Ring, ...]:
        rings: list[Ring] = []
        if not self._closed:
            try:
                self._do(lambda queue: self._drain(queue, rings, limit), self._call_seconds)
                self._is_deaf = False
            except Trouble as trouble:
                self._is_deaf = True
                _tell("could not hear what rang", trouble)
        return tuple(rings)

    def set_aside(self, ring: Ring, reason: str) -> None:
        try:
            self._do(lambda queue: self._put_aside(queue, ring.ring_id, reason, ring.job_id), self._call_seconds)
        except Trouble as trouble:
            _tell(f"could not set aside ring {ring.ring_id} for job {ring.job_id}", trouble)

    def aside_count(self) -> int:
        return self._do(lambda queue: int(queue.ack_failed_count()), self._call_seconds)

    def wait(self, seconds: float) -> bool:
        if self._closed or self._watch_begins():
            return True
        deadline = time.monotonic() + seconds
        looks = iter(LOOK_AGAIN_SECONDS)
        while (left := deadline - time.monotonic()) > 0:
            if self._alarm.wait(min(left, next(looks, left))):
                looks = iter(LOOK_AGAIN_SECONDS)
            if self._called or self._others_wrote():
                self._called = False
                return True
        return False

    def wake(self) -> None:
        self._called = True
        self._alarm.go_off()

    def close(self) -> None:
        self._closed = True
        self.wake()
        with self._lock:
            self._let_go()
            self._stop_watching()

    def _put(self, queue: _RingQueue, payload: dict[str, Any]) -> None:
        self._is_drained = False  # our own writes do not change the version
        queue.put(payload)

    # Hearing

    def _drain(self, queue: _RingQueue, rings: list[Ring], limit: int) -> None:
        if self._rings_until_tidy <= 0:
            self._tidy(queue)
        # Noted before the first row is read: what others write from here on ends the next wait.
        former, self._version = self._version, queue.version()
        if self._is_drained and former == self._version:
            return
        self._is_drained = False
        after: dict[str, Any] = {}
        with queue.unflushed():
            for _ in range(limit):
                try:
                    # A blocking get would notice other processes every ten seconds only, and by the wall clock.
                    row = queue.get(block=False, raw=True, **after)
                except Empty:
                    self._is_drained = True
                    return
                after = {"id": row["pqid"], "next_in_order": True}
                self._take(queue, RingId(row["pqid"]), row["data"], rings)
        self.wake()

    def _take(self, queue: _RingQueue, ring_id: RingId, data: object, rings: list[Ring]) -> None:
        self._rings_until_tidy -= 1
        try:
            job_id = _believed(data)
        except ForeignRing as why:
            self._put_aside(queue, ring_id, str(why), data)
            return
        # Before the ack: if that fails, the ring was heard all the same.
        rings.append(Ring(ring_id, job_id))
        queue.ack(id=ring_id)

    def _put_aside(self, queue: _RingQueue, ring_id: RingId, reason: str, data: object) -> None:
        """The row stays where it is, marked, for whoever wants to look; its line in the folder says why."""
        queue.ack_failed(id=ring_id)
        self._folder.note_aside(iso(self._clock.now()), ring_id, reason, data)

    def _tidy(self, queue: _RingQueue) -> None:
        """Hear again what somebody took and never acknowledged, and forget what was acknowledged.

        A ring that another worker holds in this very moment is heard twice for it, which is harmless.
        """
        if queue.unack_count():
            self._is_drained = False  # this write is our own, too
            queue.resume_unack_tasks()
        for _ in range(0, queue.acked_count(), CLEARED_ROWS_AT_ONCE):
            queue.clear_acked_data(max_delete=CLEARED_ROWS_AT_ONCE, keep_latest=0)
        surplus = queue.ack_failed_count() - MAX_ROWS_ASIDE
        if surplus > 0:
            queue.clear_acked_data(max_delete=surplus, keep_latest=MAX_ROWS_ASIDE, clear_ack_failed=True)
        self._rings_until_tidy = TIDY_AFTER_RINGS

    # Waiting

    def _watch_begins(self) -> bool:
        """Whether only now a watch began: then nobody saw what rang before, and it must be heard first."""
        with self._lock:
            try:
                if self._watch is not None and self._watch.alive():
                    return False
                from download_worker.jobs.queue_watch import Watch  # noqa: PLC0415 - watchdog: only who waits needs it

                self._stop_watching()
                self._folder.make()
                self._watch = Watch(self._folder.path, self._alarm.go_off)
            except (OSError, RuntimeError) as error:  # the latter where the system gives no more threads
                logger.warning("cannot watch {}: {}; meanwhile the sweep finds new jobs", self._folder.path, error)
                return False
            return True

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    def _others_wrote(self) -> bool:
        """Whether anybody else wrote since the last hearing began: our own acks are no reason to wake up. Where nobody
        can say, and that hearing failed, the next one can wait, too: it would be tried, and told, every 20 ms."""
        with self._lock, suppress(sqlite3.Error, OSError):
            if self._queue is not None:
                return self._identity != self._folder.identity() or self._queue.version() != self._version
        return not self._is_deaf

    # One call to the queue

    def _do(self, action: Callable[[_RingQueue], T], budget_seconds: float) -> T:
        """Run the action on the open queue; what is busy is tried again, with jitter, until the budget is spent."""
        attempts = Retrying(
            retry=retry_if_exception(_is_busy),
            stop=stop_after_delay(budget_seconds),
            wait=_jitter_seconds,
            sleep=self._sleep,
            reraise=True,
        )
        with self._lock:
            try:
                answer: T = attempts(self._attempt, action)
            except (sqlite3.Error, OSError) as error:
                raise _translated(error, self._folder.path, budget_seconds) from error
        return answer

    def _attempt(self, action: Callable[[_RingQueue], T]) -> T:
        queue = self._ready()
        try:
            return action(queue)
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            self._begin_anew(error)
        return action(self._ready())

    def _ready(self) -> _RingQueue:
        if self._closed:
            raise TryLater(Code.QUEUE_BUSY, f"the queue in {self._folder.path} was closed")
        if self._queue is not None and self._identity != self._folder.identity():
            logger.warning(
                "the queue in {} was emptied, removed or replaced; it is opened anew, the sweep finds what was lost",
                self._folder.path,
            )
            self._let_go()
        if self._queue is None:
            with self._folder.opening(self._lock_seconds):
                self._queue = self._opened()
                self._identity = self._folder.identity()
            self._version, self._rings_until_tidy = None, 0
        return self._queue

    def _opened(self) -> _RingQueue:
        self._folder.make_private()
        try:
            return _RingQueue(self._folder.path, self._lock_seconds)
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            self._folder.move_away(error)
        self._folder.make_private()
        return _RingQueue(self._folder.path, self._lock_seconds)

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        """The open queue is damaged: let it go and, unless somebody was faster, move it away."""
        with self._folder.opening(self._lock_seconds):
            ours = self._identity == self._folder.identity()
            self._let_go()
            if ours:
                self._folder.move_away(error)

    def _let_go(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            with suppress(sqlite3.Error):
                queue.close()


class _Text(bytes):
    """A TEXT value, undecoded. persist-queue writes BLOBs, so this is foreign, and it may not even be UTF-8."""


class _Json:
    """persist-queue's JSON on the way in. On the way out the value itself, so that taking a row can never raise."""

    dumps = staticmethod(json_text.dumps)

    @staticmethod
    def loads(value: object) -> object:
        return value


class _RingQueue(SQLiteAckQueue):
    """SQLiteAckQueue as it must be opened. `_init` and the connections are private: hence the pin on 1.1.0."""

    def __init__(self, folder: Path, lock_seconds: float) -> None:
        super().__init__(str(folder), auto_resume=False, multithreading=True, timeout=lock_seconds, serializer=_Json)

    def _init(self) -> None:
        """The last moment before a row is read, and after persist-queue has set a text_factory of its own."""
        super()._init()
        for connection in self._connections:
            connection.execute("PRAGMA synchronous=FULL")
            connection.text_factory = _Text

    @contextmanager
    def unflushed(self) -> Iterator[None]:
        """Inside, what is written may be lost in a power cut: a ring that was heard is then heard again."""
        _, putter = self._connections
        with self.tran_lock:
            putter.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            with self.tran_lock:
                putter.execute("PRAGMA synchronous=FULL")

    @property
    def _connections(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        return cast(tuple[sqlite3.Connection, sqlite3.Connection], (self._getter, self._putter))

    def version(self) -> int:
        """Changes when any other connection commits; we write through the putter only, so our writes never show.

        Source: https://www.sqlite.org/pragma.html#pragma_data_version
        """
        with self.tran_lock:
            return int(self._connections[1].execute("PRAGMA data_version").fetchone()[0])


def _believed(data: object) -> JobId:
    """Raises ForeignRing."""
    if isinstance(data, _Text):
        raise ForeignRing("TEXT, where persist-queue writes a BLOB")
    if not isinstance(data, bytes):
        raise ForeignRing("NULL or a number, where persist-queue writes a BLOB")
    return job_id_in(data)


def _jitter_seconds(state: RetryCallState) -> float:
    return random.uniform(0.01, min(0.5, 0.02 * 2**state.attempt_number))  # noqa: S311 - no secret


def _code(error: BaseException) -> int:
    """SQLite's primary result code; 0 where Python's own sqlite3 module speaks."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, Timeout) or _code(error) in _BUSY


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    return _code(error) in _DAMAGED


def _translated(error: sqlite3.Error | OSError, folder: Path, budget_seconds: float) -> Trouble:
    if _is_busy(error):
        return TryLater(Code.QUEUE_BUSY, f"the queue in {folder} stayed locked for {budget_seconds:g} s")
    if _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in _NO_SPACE:
        return TryLater(Code.DISK_FULL, f"no space left for the queue in {folder}")
    if _code(error) in _FORBIDDEN or isinstance(error, PermissionError):
        return GiveUp(Code.PERMISSION, f"not allowed to use the queue in {folder}")
    return GiveUp(Code.STORAGE, f"the queue in {folder} cannot be used: {error}")


def _tell(what: str, trouble: Trouble) -> None:
    """Either way no job is lost; whether a person should look is what the two kinds of trouble say."""
    log = logger.warning if isinstance(trouble, TryLater) else logger.error
    log("{}: {}; no job is lost, the next sweep finds it", what, trouble.message)
