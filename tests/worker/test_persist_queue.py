"""The bell between processes: none of what was measured about persist-queue may reach anybody (FAULTS.md 1.6 and 3)."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as some
from loguru import logger
from persistqueue import SQLiteAckQueue
from persistqueue.serializers import json as json_text
from watchdog.observers.polling import PollingObserver

from download_worker.clock import FakeClock
from download_worker.errors import Code, GiveUp, TryLater
from download_worker.jobs import bell as bell_module
from download_worker.jobs import persist_queue, queue_folder, queue_watch
from download_worker.jobs.bell import ForeignRing, Ring, RingId, job_id_in
from download_worker.jobs.job import JobId
from download_worker.jobs.persist_queue import PersistQueueBell
from tests import canaries
from tests.jobs import make_info, make_job

LONG_SECONDS = 20.0
TABLE = "ack_queue_default"
posix_only = pytest.mark.skipif(os.name == "nt", reason="modes and unlinking of open files are POSIX")

MakeBell = Callable[..., PersistQueueBell]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "queue"


@pytest.fixture
def make_bell(folder: Path) -> Iterator[MakeBell]:
    """Bells that lose patience at once, and whose pauses take no time."""
    made: list[PersistQueueBell] = []

    def make(where: Path = folder, **options: Any) -> PersistQueueBell:
        quick: dict[str, Any] = {
            "open_seconds": 0.05,
            "call_seconds": 0.05,
            "lock_seconds": 0.01,
            "sleep": lambda _: None,
        }
        made.append(PersistQueueBell(where, **(quick | {"clock": FakeClock()} | options)))
        return made[-1]

    yield make
    for bell in made:
        bell.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level}: {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


def heard_ids(bell: PersistQueueBell) -> list[JobId]:
    return [ring.job_id for ring in bell.heard()]


def database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "data.db", isolation_level=None)


def put_row(folder: Path, data: str, *, status: int = 0) -> None:
    """`data` is an SQL expression, so that a value can have any type and any bytes."""
    with closing(database(folder)) as connection:
        connection.execute(f"INSERT INTO {TABLE} (data, timestamp, status) VALUES ({data}, 0, {status})")


def rows(folder: Path, status: int) -> int:
    with closing(database(folder)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {TABLE} WHERE status = {status}").fetchone()[0])


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "set_aside.jsonl").read_text(encoding="utf-8").splitlines()]


def in_process(code: str, folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# What is written


def test_a_ring_is_the_public_json_of_its_job_as_persist_queue_writes_it(make_bell: MakeBell, folder: Path) -> None:
    job = make_job(info=make_info(download_url=f"https://models.example/a.safetensors?token={canaries.IN_URL}"))
    assert make_bell().ring(job)
    with closing(database(folder)) as connection:
        ((kind, data),) = connection.execute(f"SELECT typeof(data), data FROM {TABLE}").fetchall()
    assert kind == "blob"
    assert json.loads(data) == job.public()
    assert canaries.found_in(data) == []


def test_every_commit_is_flushed(make_bell: MakeBell) -> None:
    bell = make_bell()
    bell.open()
    assert bell._queue is not None
    assert [c.execute("PRAGMA synchronous").fetchone() for c in bell._queue._connections] == [(2,), (2,)]


def test_what_is_heard_is_not_flushed_and_what_rings_after_it_is(
    make_bell: MakeBell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring that a power cut rings again is harmless; one that it swallowed would cost a sweep."""
    bell = make_bell()
    levels: list[int] = []

    def level() -> int:
        assert bell._queue is not None
        return int(bell._queue._connections[1].execute("PRAGMA synchronous").fetchone()[0])

    bell.ring(make_job())
    assert bell._queue is not None
    ack = bell._queue.ack

    def noting(**given: int) -> object:
        levels.append(level())
        return ack(**given)

    monkeypatch.setattr(bell._queue, "ack", noting)
    assert len(bell.heard()) == 1
    assert (levels, level()) == ([1], 2), "NORMAL while hearing, FULL again afterwards"


def test_making_a_bell_touches_nothing(make_bell: MakeBell, folder: Path) -> None:
    make_bell()
    assert not folder.exists()


@posix_only
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_t26_only_the_owner_can_read_the_queue_whatever_the_umask(
    make_bell: MakeBell, folder: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        bell = make_bell()
        bell.ring(make_job())
        put_row(folder, "'poison'")
        bell.heard()
        bell.aside_count()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.name != "opening.lock"}
    assert modes == dict.fromkeys(("data.db", "data.db-wal", "data.db-shm", "set_aside.jsonl"), 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix_only
def test_t26_a_queue_that_others_could_read_is_closed_to_them(make_bell: MakeBell, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    foreign = SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True, serializer=json_text)
    make_bell().open()
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.glob("data.db*")} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    foreign.close()


# Q1, Q2: others at the same queue

DRAIN = """
import sys, pathlib
from download_worker.jobs.persist_queue import PersistQueueBell
bell = PersistQueueBell(pathlib.Path(sys.argv[1]))
bell.open()
print("ready", flush=True)
sys.stdin.readline()
silent = 0
while silent < 3:
    rings = bell.heard(limit=7)
    for ring in rings:
        print(ring.job_id)
    silent = 0 if rings else silent + 1
bell.close()
"""


@pytest.mark.slow
def test_q1_processes_that_drain_one_queue_hear_every_job_and_nothing_raises(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell()
    jobs = {bell_job.job_id for bell_job in (make_job() for _ in range(120)) if bell.ring(bell_job)}
    drains = [in_process(DRAIN, folder) for _ in range(3)]
    for drain in drains:
        assert drain.stdout is not None
        assert drain.stdout.readline() == "ready\n"
    for drain in drains:
        assert drain.stdin is not None
        drain.stdin.write("go\n")
        drain.stdin.flush()
    heard = [line for drain in drains for line in drain.communicate(timeout=LONG_SECONDS * 3)[0].split()]
    assert [drain.returncode for drain in drains] == [0, 0, 0]
    assert len(jobs) == 120
    assert jobs == set(heard)
    assert bell.aside_count() == 0


def test_q2_an_opener_with_auto_resume_in_a_loop_harms_nothing(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell(call_seconds=LONG_SECONDS, lock_seconds=5.0)
    bell.open()
    stop = threading.Event()

    def open_and_close() -> None:
        while not stop.is_set():
            SQLiteAckQueue(str(folder), auto_resume=True, multithreading=True, serializer=json_text).close()

    opener = threading.Thread(target=open_and_close)
    opener.start()
    jobs = [make_job() for _ in range(30)]
    heard: set[JobId] = set()
    try:
        for job in jobs:
            assert bell.ring(job)
            heard.update(heard_ids(bell))
    finally:
        stop.set()
        opener.join()
    heard.update(heard_ids(bell))
    assert heard == {job.job_id for job in jobs}
    assert bell.heard() == ()


def test_q2_what_a_crashed_worker_had_taken_is_heard_again_and_does_not_pile_up(
    make_bell: MakeBell, folder: Path
) -> None:
    job = make_job()
    make_bell().ring(job)
    crashed = SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True, serializer=json_text)
    assert crashed.get(block=False)["job_id"] == job.job_id
    crashed.close()
    assert rows(folder, status=2) == 1
    fresh = make_bell()
    assert heard_ids(fresh) == [job.job_id]
    assert rows(folder, status=2) == 0
    assert fresh.heard() == ()


# Q4: other processes are noticed

RING = """
import sys, pathlib
from download_worker.jobs.persist_queue import PersistQueueBell
from tests.jobs import make_job
bell = PersistQueueBell(pathlib.Path(sys.argv[1]))
job = make_job()
print(bell.ring(job), job.job_id)
bell.close()
"""

PLAIN_PUT = """
import sys
from persistqueue import SQLiteAckQueue
from persistqueue.serializers import json
SQLiteAckQueue(sys.argv[1], auto_resume=False, multithreading=True, serializer=json).put({"job_id": "by-hand"})
print(True, "by-hand")
"""


@pytest.mark.parametrize("code", [RING, PLAIN_PUT], ids=["a bell of ours", "a plain persist-queue"])
@pytest.mark.parametrize("watching", ["native", "polling"])
def test_q4_a_ring_from_another_process_ends_the_wait(
    make_bell: MakeBell, folder: Path, monkeypatch: pytest.MonkeyPatch, log: list[str], code: str, watching: str
) -> None:
    if watching == "polling":
        monkeypatch.setattr(queue_watch, "Observer", out_of_inotify)
        monkeypatch.setattr(queue_watch, "POLL_SECONDS", 0.05)
    if code == RING:  # it touches the file after the commit, so the event alone must do
        monkeypatch.setattr(persist_queue, "LOOK_AGAIN_SECONDS", ())
    bell = make_bell()
    bell.wait(LONG_SECONDS)
    assert bell.heard() == ()
    other = in_process(code, folder)
    heard: list[JobId] = []
    waits = 0
    began = time.monotonic()
    while not heard and time.monotonic() - began < LONG_SECONDS:
        bell.wait(LONG_SECONDS)
        waits += 1
        heard = heard_ids(bell)
    assert other.communicate(timeout=LONG_SECONDS)[0].split() == ["True", *heard]
    assert time.monotonic() - began < LONG_SECONDS / 2
    assert waits <= 10
    assert (watching == "polling") == any("not told of changes" in line for line in log)


def test_what_a_hearing_left_over_is_heard_by_the_next_one(make_bell: MakeBell) -> None:
    """Also where all was silent before, and whoever rang: others change what SQLite calls the version, we do not."""
    bell, other = make_bell(), make_bell()
    for ringer in (other, bell):
        assert bell.heard() == () and bell.heard() == ()
        jobs = [make_job() for _ in range(3)]
        for job in jobs:
            ringer.ring(job)
        heard = [ring.job_id for _ in range(3) for ring in bell.heard(limit=2)]
        assert heard == [job.job_id for job in jobs]


def test_q2_a_ring_that_another_worker_died_with_is_heard_again_though_nobody_wrote_since(
    make_bell: MakeBell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persist_queue, "TIDY_AFTER_RINGS", 1)
    bell, other = make_bell(), make_bell()
    assert bell.heard() == ()
    left, later = make_job(), make_job()
    other.ring(left)
    with closing(SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True, serializer=json_text)) as dying:
        dying.get(block=False)
    other.ring(later)
    assert heard_ids(bell) == [later.job_id]
    assert heard_ids(bell) == [left.job_id]


def out_of_inotify() -> Any:
    observer = PollingObserver()

    def start() -> None:
        raise OSError(24, "inotify instance limit reached")

    observer.start = start  # type: ignore[method-assign]
    return observer


def test_q4_a_commit_that_shows_only_after_its_event_is_noticed_all_the_same(make_bell: MakeBell, folder: Path) -> None:
    """SQLite writes the bytes (which is an event), flushes them, and only then lets them show (which is none)."""
    bell = make_bell()
    bell.wait(LONG_SECONDS)
    bell.heard()
    assert bell._watch is not None
    bell._watch._stir = lambda: None
    threading.Timer(0.05, bell._alarm.go_off).start()
    threading.Timer(0.2, put_row, [folder, blob(b'{"job_id": "late"}')]).start()
    began = time.monotonic()
    bell.wait(LONG_SECONDS)
    assert time.monotonic() - began < LONG_SECONDS / 2
    assert heard_ids(bell) == ["late"]


@pytest.mark.slow
def test_q4_waiting_costs_no_processor_time(make_bell: MakeBell) -> None:
    bell = make_bell()
    bell.wait(LONG_SECONDS)
    bell.heard()
    bell.wait(0.1)
    before = time.process_time()
    bell.wait(1.0)
    assert time.process_time() - before < 0.05


def test_q4_a_queue_that_cannot_be_opened_is_no_reason_to_try_again_at_once(make_bell: MakeBell, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    bell = make_bell()
    assert bell.heard() == ()
    assert not bell.wait(0.2)
    folder.unlink()
    assert bell.wait(LONG_SECONDS), "now it can be watched: hear first"
    assert bell.heard() == ()
    make_bell().ring(make_job())
    assert bell.wait(LONG_SECONDS) and len(bell.heard()) == 1


@pytest.mark.slow
def test_q4_a_worker_that_only_acknowledges_does_not_keep_another_one_awake(make_bell: MakeBell) -> None:
    """Both hear, in turns, until nobody is stirred any more: it must come to rest."""
    first, second = make_bell(), make_bell()
    for bell in (first, second):
        bell.wait(LONG_SECONDS)
        bell.heard()
    first.ring(make_job())
    for _ in range(5):
        for bell in (first, second):
            bell.wait(0.05)
            bell.heard()
    began = time.monotonic()
    first.wait(0.3)
    second.wait(0.3)
    assert time.monotonic() - began >= 0.6


# Q5: busy


def test_q5_a_queue_that_stays_locked_is_a_clear_error_within_the_budget(make_bell: MakeBell, folder: Path) -> None:
    folder.mkdir(parents=True)
    with closing(database(folder)) as holder:
        holder.execute("CREATE TABLE unrelated (x)")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TryLater, match="queue") as caught:
            make_bell().open()
        assert caught.value.code is Code.QUEUE_BUSY


def test_q5_opening_is_tried_again_until_the_lock_is_free(make_bell: MakeBell, folder: Path) -> None:
    folder.mkdir(parents=True)
    pauses: list[float] = []
    with closing(database(folder)) as holder:
        holder.execute("CREATE TABLE unrelated (x)")
        holder.execute("BEGIN EXCLUSIVE")

        def let_go_at_the_third(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                holder.execute("ROLLBACK")

        bell = make_bell(call_seconds=LONG_SECONDS, sleep=let_go_at_the_third)
        job = make_job()
        assert bell.ring(job)
        assert heard_ids(bell) == [job.job_id]
    assert len(pauses) == 3
    assert len(set(pauses)) == 3, "pauses need jitter"
    assert all(0 < pause <= 0.5 for pause in pauses)


def test_q5_another_process_in_the_middle_of_opening_is_waited_for(make_bell: MakeBell, folder: Path) -> None:
    folder.mkdir(parents=True)
    with FileLock(folder / "opening.lock", thread_local=False), pytest.raises(TryLater) as caught:
        make_bell().open()
    assert caught.value.code is Code.QUEUE_BUSY
    make_bell().open()


def test_q5_a_busy_queue_never_raises_and_nothing_is_half_done(
    make_bell: MakeBell, folder: Path, log: list[str]
) -> None:
    bell = make_bell()
    early, late = make_job(), make_job()
    bell.ring(early)
    with closing(database(folder)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert bell.ring(late) is False
        assert bell.heard() == ()
        bell.set_aside(Ring(RingId(1), early.job_id), "unknown")
        holder.execute("ROLLBACK")
    assert heard_ids(bell) == [early.job_id]
    warnings = [line for line in log if line.startswith("WARNING") and "stayed locked" in line]
    assert len(warnings) == 3
    assert all("sweep" in line for line in warnings)


def test_q5_a_ring_whose_ack_was_refused_was_heard_all_the_same(
    make_bell: MakeBell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = make_bell()
    jobs = [make_job(), make_job()]
    for job in jobs:
        bell.ring(job)
    assert bell._queue is not None
    ack = bell._queue.ack
    refusals = iter([True])

    def refuse_once(**options: Any) -> Any:
        if next(refusals, False):
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return ack(**options)

    monkeypatch.setattr(bell._queue, "ack", refuse_once)
    assert set(heard_ids(bell)) == {job.job_id for job in jobs}
    assert rows(folder, status=2) == 1
    make_bell().heard()
    assert rows(folder, status=2) == 0


# Q6: poison


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def blob(data: bytes) -> str:
    return f"x'{data.hex()}'"


POISON = {
    "not JSON": (blob(b"hello"), "not JSON"),
    "empty": (blob(b""), "not JSON"),
    "NUL": (blob(b'{"job_id": "a\0b"}'), "not JSON"),
    "NUL after JSON": (blob(b'{"job_id": "a"}\0'), "not JSON"),
    "escaped NUL": (blob(b'{"job_id": "a\\u0000b"}'), "no proper job_id"),
    "invalid UTF-8": (blob(b'{"job_id": "\xff\xfe"}'), "not UTF-8"),
    "invalid UTF-8 as TEXT": ("CAST(x'7b22ff227d' AS TEXT)", "TEXT"),
    "good JSON as TEXT": ("""'{"job_id": "text"}'""", "TEXT"),
    "NULL": ("NULL", "NULL"),
    "a number": ("42", "a number"),
    "a fraction": ("4.5", "a number"),
    "JSON null": (blob(b"null"), "no proper job_id"),
    "a list": (blob(b'["job_id"]'), "no proper job_id"),
    "another schema": (blob(b'{"id": "x", "url": "https://example.org"}'), "no proper job_id"),
    "a job_id that is a number": (blob(b'{"job_id": 7}'), "no proper job_id"),
    "a job_id that is a path": (blob(b'{"job_id": "../../etc/passwd"}'), "no proper job_id"),
    "a job_id with a newline": (blob(b'{"job_id": "a\\n"}'), "no proper job_id"),
    "an endless job_id": (blob(b'{"job_id": "' + b"a" * 65 + b'"}'), "no proper job_id"),
    "2 MB": (blob(b'{"job_id": "a", "x": "' + b"x" * 2_000_000 + b'"}'), "longer than 65536 bytes"),
    "pickle": (blob(pickle.dumps({"job_id": "a"})), "not UTF-8"),
    "old pickle": (blob(pickle.dumps({"job_id": "a"}, protocol=0)), "not JSON"),
    "the same key twice": (blob(b'{"job_id": "a", "job_id": "b"}'), "the same key twice"),
    "the same key twice, deeper": (blob(b'{"job_id": "a", "x": [{"k": 1, "k": 2}]}'), "the same key twice"),
    "NaN": (blob(b'{"job_id": "a", "x": NaN}'), "NaN"),
    "Infinity": (blob(b'{"job_id": "a", "x": -Infinity}'), "Infinity"),
    "nested deeply": (blob(b'{"job_id": "a", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "nested too deep"),
    "a number without end": (blob(b'{"job_id": "a", "x": ' + b"9" * 10_000 + b"}"), "not JSON"),
}


@pytest.mark.parametrize(("data", "reason"), POISON.values(), ids=POISON.keys())
def test_q6_poison_is_set_aside_with_a_reason_and_the_line_goes_on(
    make_bell: MakeBell, folder: Path, data: str, reason: str
) -> None:
    bell = make_bell()
    before, after = make_job(), make_job()
    bell.ring(before)
    put_row(folder, data)
    bell.ring(after)
    assert heard_ids(bell) == [before.job_id, after.job_id]
    (note,) = notes(folder)
    assert reason in note["reason"]
    assert note["row"] == 2
    assert note["time"] == "2026-01-01T00:00:00.000Z"
    assert len(note["excerpt"]) <= 200
    assert note["excerpt"].isascii()
    assert bell.aside_count() == rows(folder, status=9) == 1
    assert bell.heard() == ()
    assert make_bell().heard() == ()


def test_q6_what_was_set_aside_stays_as_it_was_for_whoever_wants_to_look(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell()
    bell.open()
    put_row(folder, blob(b"\x80garbage\x1b[31m"))
    bell.heard()
    (note,) = notes(folder)
    assert note["excerpt"] == "\\x80garbage\x1b[31m"
    assert "\x1b" not in (folder / "set_aside.jsonl").read_text(encoding="utf-8")
    assert note["bytes"] == 13
    with closing(database(folder)) as connection:
        assert connection.execute(f"SELECT data FROM {TABLE}").fetchall() == [(b"\x80garbage\x1b[31m",)]


def test_q6_a_timestamp_that_is_no_text_does_not_stop_the_line(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell()
    bell.ring(make_job())
    with closing(database(folder)) as connection:
        connection.execute(f"UPDATE {TABLE} SET timestamp = CAST(x'ff' AS TEXT)")
    assert len(bell.heard()) == 1


def test_t26_pickle_is_never_loaded(make_bell: MakeBell, folder: Path, tmp_path: Path) -> None:
    bell = make_bell()
    bell.open()
    put_row(folder, blob(pickle.dumps(Bomb(tmp_path / "exploded"))))
    bell.heard()
    bell.aside_count()
    assert bell.aside_count() == 1
    assert not (tmp_path / "exploded").exists()


def test_t22_no_secret_is_copied_into_the_note(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell()
    bell.open()
    put_row(folder, blob(b'{"url": "https://civitai.com/api/download/1?token=%s"}' % canaries.IN_URL.encode()))
    canaries.BOOK.hold(*folder.glob("data.db*"))
    bell.heard()
    assert canaries.WORD not in (folder / "set_aside.jsonl").read_text(encoding="utf-8")
    assert "civitai.com" in notes(folder)[0]["excerpt"]


def test_q6_a_ring_for_a_job_that_the_ledger_does_not_know_is_set_aside_by_its_hearer(
    make_bell: MakeBell, folder: Path
) -> None:
    bell = make_bell()
    bell.ring(make_job(job_id=JobId("unknown-1")))
    (ring,) = bell.heard()
    bell.set_aside(ring, "the ledger knows no such job")
    (note,) = notes(folder)
    assert (note["row"], note["reason"], note["excerpt"]) == (ring.ring_id, "the ledger knows no such job", "unknown-1")
    assert rows(folder, status=9) == 1


def test_q6_a_flood_of_poison_does_not_hold_the_hearer_nor_fill_the_disk(
    make_bell: MakeBell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persist_queue, "MAX_ROWS_ASIDE", 5)
    monkeypatch.setattr(persist_queue, "TIDY_AFTER_RINGS", 10)
    monkeypatch.setattr(queue_folder, "MAX_ASIDE_LOG_BYTES", 1000)
    bell = make_bell()
    bell.open()
    for _ in range(40):
        put_row(folder, "'flood'")
    for hearing in range(1, 5):
        assert bell.heard(limit=10) == ()
        assert rows(folder, status=0) == 40 - hearing * 10
    bell.heard()
    assert bell.aside_count() == 5
    logs = sorted(path.name for path in folder.glob("set_aside.jsonl*"))
    assert logs == ["set_aside.jsonl", "set_aside.jsonl.1"]
    assert all((folder / name).stat().st_size < 1500 for name in logs)


@given(
    some.binary(max_size=200)
    | some.recursive(some.none() | some.floats() | some.text(), some.lists).map(repr).map(str.encode)
)
def test_q6_any_bytes_are_a_job_id_or_foreign(payload: bytes) -> None:
    try:
        assert len(job_id_in(payload)) <= 64
    except ForeignRing as why:
        assert str(why).isprintable()


# Q8, Q9: files that are broken, emptied, removed or replaced under us


def garbage_header(data: Path) -> None:
    data.write_bytes(b"this was a database once" + data.read_bytes()[24:])


def cut_short(data: Path) -> None:
    os.truncate(data, 5000)


def garbage_page(data: Path) -> None:
    whole = data.read_bytes()
    data.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))


def not_a_queue(data: Path) -> None:
    data.unlink()
    with closing(sqlite3.connect(data)) as connection:
        connection.execute(f"CREATE TABLE {TABLE} (something, else_entirely)")


DAMAGE = [garbage_header, cut_short, garbage_page, not_a_queue]


@pytest.mark.parametrize("damage", DAMAGE)
def test_q8_a_damaged_queue_is_moved_away_with_an_error_and_a_new_one_begins(
    make_bell: MakeBell, folder: Path, log: list[str], damage: Callable[[Path], None]
) -> None:
    earlier = make_bell()
    for _ in range(20):
        earlier.ring(make_job())
    earlier.close()
    damage(folder / "data.db")
    damaged = (folder / "data.db").read_bytes()

    bell, job = make_bell(), make_job()
    assert bell.ring(job)
    assert job.job_id in heard_ids(bell)
    away = folder / "data.db.corrupt-1"
    assert away.read_bytes()[100:] == damaged[100:], "all but the header, which SQLite may still have touched"
    errors = [line for line in log if line.startswith("ERROR")]
    assert len(errors) == 1
    assert str(away) in errors[0]
    assert "sweep" in errors[0]


def test_q8_a_second_damage_does_not_overwrite_what_the_first_one_left(make_bell: MakeBell, folder: Path) -> None:
    for _ in range(2):
        bell = make_bell()
        bell.ring(make_job())
        bell.close()
        garbage_header(folder / "data.db")
    make_bell().open()
    assert (folder / "data.db.corrupt-1").exists()
    assert (folder / "data.db.corrupt-2").exists()


def test_q8_damage_under_two_open_bells_is_moved_away_once_and_both_go_on(
    make_bell: MakeBell, folder: Path, log: list[str]
) -> None:
    one, other = make_bell(), make_bell()
    one.ring(make_job())
    other.heard()
    with closing(database(folder)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute(f"ALTER TABLE {TABLE} RENAME TO gone")
    job = make_job()
    assert one.ring(job)
    assert heard_ids(other) == [job.job_id]
    assert one.ring(make_job())
    assert len(other.heard()) == 1
    assert sorted(path.name for path in folder.glob("data.db.corrupt-*") if path.suffix[-1].isdigit()) == [
        "data.db.corrupt-1"
    ]
    assert sum(line.startswith("ERROR") for line in log) == 1


def test_q8_what_another_process_has_begun_anew_meanwhile_is_not_moved_away(
    make_bell: MakeBell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = make_bell(), make_bell()
    slow.open()

    def damaged_and_mended_meanwhile(_item: object) -> None:
        for path in folder.glob("data.db*"):
            path.rename(path.with_name(path.name.replace("data.db", "data.db.corrupt-1")))
        quick.open()
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    monkeypatch.setattr(slow._queue, "put", damaged_and_mended_meanwhile)
    job = make_job()
    assert slow.ring(job)
    assert heard_ids(quick) == [job.job_id]
    assert not (folder / "data.db.corrupt-2").exists()


def unlinked(folder: Path) -> None:
    for path in folder.glob("data.db*"):
        path.unlink()


def only_the_database_unlinked(folder: Path) -> None:
    (folder / "data.db").unlink()


def only_the_wal_unlinked(folder: Path) -> None:
    (folder / "data.db-wal").unlink()


def only_the_wal_replaced(folder: Path) -> None:
    only_the_wal_unlinked(folder)
    (folder / "data.db-wal").touch()


def emptied(folder: Path) -> None:
    os.truncate(folder / "data.db", 0)


def replaced(folder: Path) -> None:
    unlinked(folder)
    SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True, serializer=json_text).close()


def folder_gone(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


LOSSES = [
    unlinked,
    only_the_database_unlinked,
    only_the_wal_unlinked,
    only_the_wal_replaced,
    emptied,
    replaced,
    folder_gone,
]


@posix_only
@pytest.mark.parametrize("loss", LOSSES)
def test_q9_a_ring_never_goes_into_a_file_that_is_gone(
    make_bell: MakeBell, folder: Path, log: list[str], loss: Callable[[Path], None]
) -> None:
    bell = make_bell()
    bell.ring(make_job())
    bell.heard()
    loss(folder)
    job = make_job()
    assert bell.ring(job)
    assert heard_ids(make_bell()) == [job.job_id]
    assert any(line.startswith("WARNING") and "replaced" in line for line in log)


@posix_only
@pytest.mark.parametrize("loss", LOSSES)
def test_q9_a_hearer_whose_file_was_lost_hears_the_new_one_and_is_woken_by_it(
    make_bell: MakeBell, folder: Path, loss: Callable[[Path], None]
) -> None:
    hearer = make_bell()
    hearer.wait(0.0)
    hearer.ring(make_job())
    hearer.heard()
    loss(folder)
    for _ in range(2):
        hearer.wait(0.05)
        hearer.heard()
    job = make_job()
    began = time.monotonic()
    assert make_bell().ring(job)
    heard: list[JobId] = []
    while not heard and time.monotonic() - began < LONG_SECONDS:
        hearer.wait(LONG_SECONDS)
        heard = heard_ids(hearer)
    assert heard == [job.job_id]
    assert time.monotonic() - began < LONG_SECONDS / 2


@posix_only
def test_q9_a_folder_that_was_replaced_is_watched_anew(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell()
    bell.wait(LONG_SECONDS)
    first = bell._watch
    bell.wait(0.0)
    assert bell._watch is first
    folder_gone(folder)
    bell.wait(LONG_SECONDS)
    assert bell._watch is not first
    assert folder.is_dir()


def test_q9_an_empty_file_found_at_opening_is_told(make_bell: MakeBell, folder: Path, log: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "data.db").touch()
    make_bell().open()
    assert any("found empty" in line for line in log)


def test_q9_a_fresh_queue_is_begun_without_a_warning(make_bell: MakeBell, log: list[str]) -> None:
    bell = make_bell()
    bell.ring(make_job())
    bell.heard()
    assert [line for line in log if line.startswith(("WARNING", "ERROR"))] == []


# Q11, D2 and the rest of this machine


def test_q11_a_hundred_thousand_finished_rings_are_cleared_and_not_read_again(
    make_bell: MakeBell, folder: Path
) -> None:
    bell = make_bell(call_seconds=LONG_SECONDS)
    bell.open()
    with closing(database(folder)) as connection:
        connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            f"INSERT INTO {TABLE} (data, timestamp, status) SELECT x'7b7d', 0, 5 FROM n"
        )
    job = make_job()
    bell.ring(job)
    assert heard_ids(bell) == [job.job_id]
    assert rows(folder, status=5) == 1


def test_q11_finished_rings_are_cleared_from_time_to_time(
    make_bell: MakeBell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persist_queue, "TIDY_AFTER_RINGS", 8)
    bell = make_bell()
    kept = []
    for _ in range(40):
        bell.ring(make_job())
        assert len(bell.heard()) == 1
        kept.append(rows(folder, status=5))
    assert max(kept) == 8
    assert kept.count(1) == 5, "not at every ring"


def test_q11_a_long_line_is_read_row_after_row_and_not_from_its_beginning_each_time(
    make_bell: MakeBell, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = make_bell(call_seconds=LONG_SECONDS)
    for _ in range(30):
        bell.ring(make_job())
    assert bell._queue is not None
    starts: list[int] = []
    select = bell._queue._sql_select

    def noted(rowid: int) -> str:
        starts.append(rowid)
        return str(select(rowid))

    monkeypatch.setattr(bell._queue, "_sql_select", noted)
    assert len(bell.heard()) == 30
    assert starts.count(0) == 2, "at the beginning, and once more at the end for what came behind us"


def test_d2_a_full_disk_costs_the_ring_and_nothing_else(make_bell: MakeBell, log: list[str]) -> None:
    bell = make_bell()
    bell.ring(make_job())
    assert bell._queue is not None
    _, putter = bell._queue._connections
    putter.execute("PRAGMA max_page_count = 1")
    big = make_job(info=make_info(mirrors=("https://mirror.example/" + "x" * 40_000,)))
    assert bell.ring(big) is False
    assert any("no space left" in line and "sweep" in line for line in log)
    putter.execute("PRAGMA max_page_count = 1000000")
    assert bell.ring(big)
    assert len(bell.heard()) == 2


def test_a_folder_that_cannot_be_made_silences_the_bell_and_is_told(
    make_bell: MakeBell, tmp_path: Path, log: list[str]
) -> None:
    (tmp_path / "file").touch()
    bell = make_bell(tmp_path / "file" / "queue")
    assert bell.ring(make_job()) is False
    assert bell.heard() == ()
    bell.wait(0.01)
    with pytest.raises(GiveUp) as caught:
        bell.aside_count()
    assert caught.value.code is Code.STORAGE
    assert sum(line.startswith("ERROR") and "sweep" in line for line in log) == 2


@posix_only
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_named(make_bell: MakeBell, folder: Path) -> None:
    folder.parent.mkdir(parents=True, mode=0o500)
    with pytest.raises(GiveUp) as caught:
        make_bell().open()
    assert caught.value.code is Code.PERMISSION


def test_a_read_only_queue_is_named_and_not_moved_away(make_bell: MakeBell, folder: Path) -> None:
    bell = make_bell()
    bell.open()
    assert bell._queue is not None
    for connection in bell._queue._connections:
        connection.execute("PRAGMA query_only = ON")
    assert bell.ring(make_job()) is False
    assert not list(folder.glob("*.corrupt-*"))


def test_who_only_rings_in_memory_never_loads_persist_queue() -> None:
    code = f"import sys, {bell_module.__name__}; print([m for m in ('persistqueue', 'watchdog') if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LONG_SECONDS
    )
    assert answer.stdout.strip() == "[]"
