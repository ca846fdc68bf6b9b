"""The ledger's engine: private, durable, at the right version, and honest when it cannot be used."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from download_worker import database
from download_worker.clock import FakeClock
from download_worker.database import HEAD, MIGRATIONS, _switch_to_wal, open_engine, reading, snapshot, writing
from download_worker.errors import BadRequest, Code, GiveUp, TryLater
from download_worker.jobs import moves
from download_worker.jobs.job import Lease, Progress, Status, WorkerId
from download_worker.jobs.ledger import Bars, Beat
from download_worker.jobs.sql_ledger import SqlLedger
from download_worker.jobs.tables import metadata
from tests.jobs import make_job

SHORT_SECONDS = 0.2
OPEN = """
import sys
from download_worker.database import open_engine
from download_worker.jobs.sql_ledger import SqlLedger
from tests.jobs import make_info, make_job
print("ready", flush=True)
sys.stdin.readline()
ledger = SqlLedger(open_engine(sys.argv[1]))
ledger.add(make_job(info=make_info(sys.argv[2]), job_id=sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "doctor.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{path}", busy_timeout_seconds=SHORT_SECONDS)
    yield engine
    engine.dispose()


def refused(path: Path) -> GiveUp:
    with pytest.raises(GiveUp) as error:
        open_engine(f"sqlite:///{path}")
    assert error.value.code is Code.DATABASE_UNUSABLE
    assert str(path) in error.value.message
    return error.value


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX idea")
def test_t26_the_ledger_and_its_companions_are_for_its_user_alone(path: Path) -> None:
    former = os.umask(0o022)
    try:
        engine = open_engine(f"sqlite:///{path}")
        with writing(engine) as connection:
            connection.execute(text("INSERT INTO flags VALUES ('x')"))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(former)
    engine.dispose()
    names = ("doctor.db", "doctor.db-wal", "doctor.db-shm", "doctor.db.was-here")
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_t26_a_ledger_that_others_could_read_is_made_private(path: Path, engine: Engine) -> None:
    path.chmod(0o644)
    open_engine(f"sqlite:///{path}").dispose()
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_d13_every_commit_is_on_disk_when_it_returns(engine: Engine) -> None:
    for ask in (reading, writing, reading):
        with ask(engine) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA journal_size_limit").scalar() == 64 * 1024 * 1024


def test_p14_the_head_that_is_known_here_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_p14_the_migrations_make_exactly_the_tables_that_are_asked(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
        migrated = _indexes(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert differences == []
        assert _indexes(connection) == migrated, "conditions of partial indexes, which alembic does not compare"


def _indexes(connection: Any) -> dict[str, str]:
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type='index' AND sql IS NOT NULL")
    return {name: " ".join(sql.split()) for name, sql in rows}


def test_p14_an_opened_ledger_is_at_the_newest_version_and_opens_again(path: Path, engine: Engine) -> None:
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == HEAD
        assert set(inspect(connection).get_table_names()) == {"jobs", "tallies", "flags", "pieces", "alembic_version"}
    open_engine(f"sqlite:///{path}").dispose()


def test_p14_a_ledger_of_a_newer_version_is_refused_and_stays_as_it_is(path: Path, engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "9999" in refused(path).message
    assert "newer" in refused(path).hint
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"


def old_ledger(path: Path) -> None:
    """As the first release left it, with a job that waits, one that ended, and a paused queue."""
    path.parent.mkdir()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with sqlite3.connect(path) as rows:
        rows.executescript((Path(__file__).parent / "ledger_0001.sql").read_text(encoding="utf-8"))
    rows.close()


def test_p14_a_ledger_of_the_first_release_is_brought_up_with_its_jobs(path: Path) -> None:
    old_ledger(path)
    ledger = SqlLedger(open_engine(f"sqlite:///{path}"))
    waiting, ended = ledger.jobs()
    assert (waiting.status, waiting.model_info.mirrors, waiting.tries) == (Status.PENDING, ("https://b.example/f",), 2)
    assert (ended.status, ended.result.code) == (Status.FAILED, "not_found")
    assert ledger.counts()[Status.FAILED] == 1
    ledger.keep_pieces("a" * 64, 1, b"digests", FakeClock().now())
    clock = FakeClock()
    clock.advance(1)
    resting = Bars(resting_hosts=frozenset({"a.example"}))
    taken = ledger.claim(WorkerId("worker-1-a"), Lease.starting(clock.steady(), 60), clock.now(), resting)
    assert taken is not None, "its mirror rests not, and 0001 did not write it down"
    ledger.close()
    again = SqlLedger(open_engine(f"sqlite:///{path}"))
    assert again.pieces_of("a" * 64) is not None
    again.close()


def test_p14_a_worker_of_the_first_release_can_read_what_one_of_this_release_writes(path: Path) -> None:
    old_ledger(path)
    ledger = SqlLedger(open_engine(f"sqlite:///{path}"))
    clock = FakeClock()
    clock.advance(1)
    lease = Lease.starting(clock.steady(), 60)
    job = ledger.claim(WorkerId("worker-1-a"), lease, clock.now())
    assert job is not None
    progress = Progress(bytes=1, total=5, connections=2, source="b.example", retries=3, trouble="cut short")
    ledger.beat([Beat(job.claim, progress)], lease)
    assert ledger.get(job.job_id).progress == progress
    ledger.change(job.claim, moves.given_back("t", "Given back"))
    assert ledger.get(job.job_id).progress == progress
    ledger.close()
    with sqlite3.connect(path) as rows:
        (written,) = rows.execute("SELECT progress FROM jobs WHERE job_id = ?", (job.job_id,)).fetchone()
        rows.execute("UPDATE jobs SET progress = '{\"bytes\": 2}', asking = NULL")  # as such a worker may write
    rows.close()
    assert set(json.loads(written)) == {"bytes", "total", "bytes_per_second", "eta_seconds", "connections"}
    again = SqlLedger(open_engine(f"sqlite:///{path}"))
    assert again.get(job.job_id).progress == Progress(bytes=2)
    again.close()


def test_p14_a_migration_that_fails_halfway_leaves_nothing_behind(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE flags (mine TEXT)")
    connection.close()
    refused(path)
    with sqlite3.connect(path) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")] == ["flags"]
    connection.close()


@pytest.mark.parametrize("damage", ["header", "text", "truncated", "page"])
def test_q8_a_damaged_file_is_refused_by_name_and_never_made_anew(path: Path, damage: str) -> None:
    engine = open_engine(f"sqlite:///{path}")
    SqlLedger(engine).add(make_job())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    whole = path.read_bytes()
    damaged = {
        "header": os.urandom(100) + whole[100:],
        "text": b"this is no database\n" * 500,
        "truncated": whole[: len(whole) // 2 + 100],
        "page": whole[:100] + bytes(4096 - 100) + whole[4096:],
    }[damage]
    path.write_bytes(damaged)
    refused(path)
    assert path.read_bytes() == damaged, "what can still be rescued is not touched"


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite:/x", "mysql+nothing://h/db", "postgresql+psycopg9://user:s3cr3t@h/db", "foo://u:s3cr3t@h"],
)
def test_g1_a_database_that_this_installation_cannot_open_is_a_bad_setting(url: str) -> None:
    with pytest.raises(BadRequest) as error:
        open_engine(url)
    assert error.value.code is Code.BAD_SETTING
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_d6_a_place_where_no_ledger_can_be_is_named(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "doctor.db" if obstacle == "file" else tmp_path
    with pytest.raises(GiveUp) as error:
        open_engine(f"sqlite:///{path}")
    assert error.value.code is Code.PERMISSION
    assert str(path) in error.value.message


@pytest.mark.slow
def test_p9_processes_that_open_a_fresh_home_at_once_all_succeed(path: Path) -> None:
    names = [f"racer-{number}.pt" for number in range(3)]
    command = [sys.executable, "-c", OPEN, f"sqlite:///{path}"]
    racers = [
        subprocess.Popen(
            [*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        _, complaint = racer.communicate(timeout=30)
        assert (racer.returncode, complaint) == (0, "")
    ledger = SqlLedger(open_engine(f"sqlite:///{path}"))
    assert {job.job_id for job in ledger.jobs()} == set(names)
    ledger.close()


def test_p9_threads_that_open_a_fresh_home_at_once_all_succeed(tmp_path: Path) -> None:
    for attempt in range(5):
        troubles: list[BaseException] = []
        start = threading.Barrier(4)

        def work(url: str, start: threading.Barrier = start, troubles: list[BaseException] = troubles) -> None:
            start.wait()
            try:
                open_engine(url).dispose()
            except BaseException as error:  # noqa: BLE001 - told by the assertion below
                troubles.append(error)

        threads = [threading.Thread(target=work, args=(f"sqlite:///{tmp_path}/{attempt}.db",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert troubles == []


class SwitchedBySomebody:
    """A cursor that is told `locked` at once while somebody else switches the file to WAL."""

    def __init__(self, *complaints: str) -> None:
        self._complaints = list(complaints)

    def execute(self, _: str) -> None:
        if self._complaints:
            raise sqlite3.OperationalError(self._complaints.pop(0))


def test_p9_switching_to_wal_is_patient_only_with_a_lock() -> None:
    locked = "database is locked"
    _switch_to_wal(cast(sqlite3.Cursor, SwitchedBySomebody(locked, locked)), patience_seconds=5)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        _switch_to_wal(cast(sqlite3.Cursor, SwitchedBySomebody(*[locked] * 9)), patience_seconds=0.01)
    with pytest.raises(sqlite3.OperationalError, match="unable"):
        _switch_to_wal(cast(sqlite3.Cursor, SwitchedBySomebody("unable to open database file")), patience_seconds=5)


def _writers(ledger: SqlLedger) -> dict[str, Callable[[], object]]:
    clock = FakeClock()
    lease = Lease.starting(clock.steady(), 60)
    claim = ledger.holdings()[0].claim
    return {
        "add": lambda: ledger.add(make_job()),
        "claim": lambda: ledger.claim(WorkerId("worker-2-bbbbbbbbbbbb"), lease, clock.now()),
        "change": lambda: ledger.change(claim, moves.given_back("t", "back")),
        "amend": lambda: ledger.amend(claim.job_id, moves.prioritised(9, "t")),
        "beat": lambda: ledger.beat([], lease),
        "pause": lambda: ledger.pause_queue(True),
        "prune": lambda: ledger.prune(clock.now()),
    }


@pytest.mark.parametrize("name", ["add", "claim", "change", "amend", "beat", "pause", "prune"])
def test_p5_q5_while_somebody_holds_the_write_lock_writers_wait_then_say_busy_and_readers_read(
    path: Path, engine: Engine, name: str
) -> None:
    clock = FakeClock()
    ledger = SqlLedger(engine)
    ledger.add(make_job())
    ledger.claim(WorkerId("worker-1-aaaaaaaaaaaa"), Lease.starting(clock.steady(), 60), clock.now())
    ledger.add(make_job())
    before = ledger.jobs()
    stopped = sqlite3.connect(path, isolation_level=None)
    stopped.execute("BEGIN IMMEDIATE")
    stopped.execute("UPDATE jobs SET priority = 5")
    with pytest.raises(TryLater) as busy:
        _writers(ledger)[name]()
    assert busy.value.code is Code.DATABASE_BUSY
    assert ledger.jobs() == before, "readers never wait, and nothing is half done"
    open_engine(f"sqlite:///{path}", busy_timeout_seconds=SHORT_SECONDS).dispose()
    stopped.execute("ROLLBACK")
    stopped.close()
    assert ledger.jobs() == before
    _writers(ledger)[name]()


def test_q5_a_writer_that_waits_gets_its_turn(path: Path) -> None:
    engine = open_engine(f"sqlite:///{path}")
    ledger = SqlLedger(engine)
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.1, lambda: holder.execute("COMMIT")).start()
    ledger.add(make_job())
    assert len(ledger.jobs()) == 1
    holder.close()
    ledger.close()


def test_q5_a_fresh_ledger_that_stays_locked_is_busy(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "new.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TryLater) as busy:
        open_engine(f"sqlite:///{tmp_path}/new.db", busy_timeout_seconds=SHORT_SECONDS)
    assert busy.value.code is Code.DATABASE_BUSY
    holder.close()


def test_d2_a_ledger_without_space_says_so_and_keeps_what_it_has(path: Path, engine: Engine) -> None:
    ledger = SqlLedger(engine)
    ledger.add(make_job())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 20")
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(TryLater) as full:
        for _ in range(100):
            ledger.add(make_job())
    assert full.value.code is Code.DISK_FULL
    assert len(ledger.jobs()) >= 1


def test_d2_a_ledger_that_a_full_disk_keeps_from_opening_is_not_called_broken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the index of its log does not fit, SQLite says no more than this."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    open_engine(f"sqlite:///{path}").dispose()
    monkeypatch.setattr(database, "_switch_to_wal", fail)
    assert "disk I/O error" in refused(path).message
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(TryLater) as full:
        open_engine(f"sqlite:///{path}")
    assert full.value.code is Code.DISK_FULL


def test_d5_a_read_only_ledger_can_be_read(path: Path, engine: Engine) -> None:
    ledger = SqlLedger(engine)
    ledger.add(make_job())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(GiveUp) as refused_to_write:
        ledger.add(make_job())
    assert refused_to_write.value.code is Code.DATABASE_UNUSABLE
    assert len(ledger.jobs()) == 1


def test_q14_a_snapshot_is_of_one_moment_and_reading_is_of_the_newest(path: Path, engine: Engine) -> None:
    ledger, other = SqlLedger(engine), SqlLedger(open_engine(f"sqlite:///{path}"))
    count = text("SELECT count(*) FROM jobs")
    with snapshot(engine) as frozen:
        assert frozen.execute(count).scalar_one() == 0
        other.add(make_job())
        assert frozen.execute(count).scalar_one() == 0
    with reading(engine) as live:
        assert live.execute(count).scalar_one() == 1
        other.add(make_job())
        assert live.execute(count).scalar_one() == 2
    ledger.add(make_job())
    other.close()


def test_threads_that_open_fresh_ledgers_at_once_do_not_migrate_on_each_others_connection(tmp_path: Path) -> None:
    start = threading.Barrier(4)
    troubles: list[Exception] = []

    def open_one(number: int) -> None:
        start.wait()
        try:
            open_engine(f"sqlite:///{tmp_path}/{number}.db").dispose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            troubles.append(error)

    threads = [threading.Thread(target=open_one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
