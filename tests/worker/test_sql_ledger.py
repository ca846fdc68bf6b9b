"""What only the ledger on SQL must prove: an index for every question, also with a hundred thousand ended jobs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from download_worker.anchor import LedgerLost
from download_worker.clock import FakeClock, iso
from download_worker.database import open_engine, writing
from download_worker.errors import BadRequest, Code, TryLater
from download_worker.jobs import moves, sql_ledger
from download_worker.jobs.job import Job, JobId, Lease, Status, WorkerId
from download_worker.jobs.ledger import Bars, Ledger, Question
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.jobs.moves import MAX_WAIT
from download_worker.jobs.rows import row_of, tally
from download_worker.jobs.sql_ledger import SqlLedger
from download_worker.jobs.tables import jobs as jobs_table
from download_worker.settings import Settings
from download_worker.wiring import ledger_of
from tests.jobs import make_info, make_job

WORKER = WorkerId("worker-1-aaaaaaaaaaaa")
CLOCK = FakeClock()
LEASE = Lease.starting(CLOCK.steady(), 60)
MANY = 100_000
STEPS_PER_TICK = 100


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/l.db")
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: Engine) -> SqlLedger:
    return SqlLedger(engine)


def claim(ledger: Ledger, **bars: frozenset[str]) -> Job | None:
    return ledger.claim(WORKER, LEASE, CLOCK.now(), Bars(**bars))


def plans(engine: Engine, ask: Callable[[], object]) -> str:
    """How SQLite answers every statement of `ask`: the lines of EXPLAIN QUERY PLAN."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    ask()
    event.remove(engine, "before_cursor_execute", note)
    lines = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement, parameters in statements:
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT"):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                lines += [str(row[3]) for row in rows]
    return "\n".join(lines)


@contextmanager
def counted_steps(engine: Engine) -> Iterator[Callable[[], int]]:
    """Steps of SQLite's virtual machine, in ticks: work done, whatever the machine and its load."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    def watch(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(tick, STEPS_PER_TICK)

    event.listen(engine, "checkout", watch)
    yield lambda: ticks
    event.remove(engine, "checkout", watch)


QUESTIONS: dict[str, tuple[Callable[[SqlLedger], object], tuple[str, ...]]] = {
    "claim": (claim, ("jobs_claimable", "jobs_timed")),
    "claim past full hosts": (
        lambda ledger: claim(ledger, full_hosts=frozenset({"a.example", "b.example"})),
        ("jobs_claimable", "jobs_timed"),
    ),
    "claim past resting hosts": (
        lambda ledger: claim(ledger, resting_hosts=frozenset({"a.example", "b.example"})),
        ("jobs_claimable", "jobs_timed"),
    ),
    "claim past shut folders": (
        lambda ledger: claim(ledger, shut_folders=frozenset({"/models/loras"})),
        ("jobs_claimable", "jobs_timed"),
    ),
    "next_in_line": (lambda ledger: ledger.next_in_line(CLOCK.now(), above=0), ("jobs_claimable", "jobs_timed")),
    "pieces_of": (lambda ledger: ledger.pieces_of("a" * 64), ("sqlite_autoindex_pieces_1",)),
    "next_due": (lambda ledger: ledger.next_due(), ("jobs_timed",)),
    "holdings": (lambda ledger: ledger.holdings(), ("jobs_owned",)),
    "jobs": (lambda ledger: ledger.jobs(), ("jobs_owned", "jobs_waiting", "jobs_ended")),
    "get": (lambda ledger: ledger.get(make_job().job_id), ("sqlite_autoindex_jobs_1",)),
    "latest_for": (lambda ledger: ledger.latest_for(make_job()), ("jobs_by_target",)),
    "add": (lambda ledger: ledger.add(make_job()), ("jobs_one_live_per_target",)),
    "jobs of a status": (
        lambda ledger: ledger.jobs(Question(frozenset({Status.FAILED}), "a name", 5, 3)),
        ("jobs_ended",),
    ),
    "counts": (lambda ledger: ledger.counts(), ("jobs_live",)),
    "unfinished": (lambda ledger: ledger.unfinished(), ("jobs_live",)),
    "prune": (lambda ledger: ledger.prune(CLOCK.now()), ("jobs_ended_at",)),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_q11_every_question_is_answered_by_its_index_without_sorting(
    engine: Engine, ledger: SqlLedger, name: str
) -> None:
    ask, indexes = QUESTIONS[name]

    def asked() -> None:
        try:
            ask(ledger)
        except BadRequest:
            assert name == "get"

    plan = plans(engine, asked)
    for index in indexes:
        assert index in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    scans = [line for line in plan.splitlines() if line.startswith("SCAN jobs") and " INDEX " not in line]
    assert scans == [], plan


def fill(engine: Engine, number: int) -> None:
    """Ended jobs, in bulk."""
    ended = moves.failed(Code.NOT_FOUND, "gone", iso(CLOCK.now()))(make_job(status=Status.DOWNLOADING))
    row = row_of(ended)
    values = [
        row | {"job_id": f"{n:08x}-1111-4000-8000-000000000000", "target": f"/models/loras/{n}.pt"}
        for n in range(number)
    ]
    with writing(engine) as connection:
        connection.execute(jobs_table.insert(), values)
        tally(connection, Status.FAILED, number)


def work_of(engine: Engine, ask: Callable[[], object]) -> int:
    with counted_steps(engine) as ticks:
        ask()
        return ticks()


@pytest.mark.slow
def test_q11_a_hundred_thousand_ended_jobs_cost_no_question_more_work(engine: Engine, ledger: SqlLedger) -> None:
    for number in range(300):
        ledger.add(make_job(info=make_info(download_url=f"https://h{number % 3}.example/x")))
    asked = {
        "claim": lambda: claim(ledger),
        "claim past full hosts": lambda: claim(ledger, full_hosts=frozenset({"h1.example"})),
        "next_due": ledger.next_due,
        "holdings": ledger.holdings,
        "jobs": lambda: ledger.jobs(Question(limit=300)),
        "unfinished": ledger.unfinished,
        "counts": ledger.counts,
        "add": lambda: ledger.add(make_job()),
        "latest_for": lambda: ledger.latest_for(make_job()),
    }
    before = {name: work_of(engine, ask) for name, ask in asked.items()}
    fill(engine, MANY)
    after = {name: work_of(engine, ask) for name, ask in asked.items()}
    for name in asked:
        assert after[name] <= 2 * before[name] + 20, (name, before[name], after[name])
    # A page of ended jobs costs its length.
    page = Question(statuses=frozenset({Status.FAILED}), limit=200)
    assert work_of(engine, lambda: ledger.jobs(page)) * STEPS_PER_TICK < 200 * 200
    assert ledger.counts()[Status.FAILED] == MANY


def test_q14_a_job_that_ends_while_it_is_listed_is_listed_once(engine: Engine, ledger: SqlLedger) -> None:
    ledger.add(make_job())
    job = claim(ledger)
    assert job is not None
    ended = False

    def end_it(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal ended
        if not ended and "FROM jobs" in statement:
            ended = True
            ledger.change(job.claim, moves.failed(Code.NOT_FOUND, "gone", "t"))

    event.listen(engine, "after_cursor_execute", end_it)
    assert ledger.jobs() == [job]
    event.remove(engine, "after_cursor_execute", end_it)
    assert [found.status for found in ledger.jobs()] == [Status.FAILED]


@pytest.mark.parametrize("kind", ["sql", "memory"])
def test_c2_a_time_that_a_wrong_clock_wrote_keeps_no_job_waiting(ledger: SqlLedger, kind: str) -> None:
    here: Ledger = ledger if kind == "sql" else MemoryLedger()
    clock = FakeClock()
    here.add(make_job())
    job = here.claim(WORKER, LEASE, clock.now())
    assert job is not None
    here.change(job.claim, moves.put_off(clock.now() + MAX_WAIT, "later", "t"))
    assert here.claim(WORKER, LEASE, clock.now()) is None, "the longest wait is a wait"
    clock.advance(-1)
    assert here.claim(WORKER, LEASE, clock.now()) is not None, "the clock was set back, or the wait is from 2036"


def test_c1_in_a_ledger_that_knows_the_longest_wait_a_step_of_the_clock_costs_no_more_than_that(
    engine: Engine,
) -> None:
    ledger, clock = SqlLedger(engine, longest_wait=timedelta(hours=1)), FakeClock()
    ledger.add(make_job())
    job = ledger.claim(WORKER, LEASE, clock.now())
    assert job is not None
    ledger.change(job.claim, moves.put_off(clock.now() + timedelta(hours=1), "its host is away", "t", refund=True))
    assert ledger.claim(WORKER, LEASE, clock.now()) is None
    clock.wall -= timedelta(hours=20)
    assert ledger.claim(WORKER, LEASE, clock.now()) is not None


def test_c2_the_workers_ledger_knows_the_longest_wait_of_its_settings(tmp_path: Path) -> None:
    settings, clock = Settings(home=tmp_path, backoff_cap_seconds=3600), FakeClock()
    with ledger_of(settings) as ledger:
        ledger.add(make_job())
        job = ledger.claim(WORKER, LEASE, clock.now())
        assert job is not None
        ledger.change(job.claim, moves.put_off(clock.now() + settings.longest_wait, "later", "t"))
        assert ledger.claim(WORKER, LEASE, clock.now()) is None
        clock.advance(-1)
        assert ledger.claim(WORKER, LEASE, clock.now()) is not None


def spoil(engine: Engine, job: Job, column: str, value: str) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET {column} = ? WHERE job_id = ?", (value, job.job_id))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("model_info", "{"),
        ("model_info", '{"x": 1}'),
        ("model_info", "[[["),
        ("history", '"none"'),
        ("progress", '{"bytes": []}'),
        ("kind", "pickle"),
        ("added_at", b"\xff\xfe"),
    ],
)
def test_p11_q6_a_damaged_row_ends_as_failed_and_stands_in_nobodys_way(
    engine: Engine, ledger: SqlLedger, column: str, value: str
) -> None:
    damaged, whole = make_job(priority=9), make_job()
    ledger.add(damaged)
    ledger.add(whole)
    spoil(engine, damaged, column, value)
    assert [job.job_id for job in ledger.jobs()] == [whole.job_id]
    claimed = claim(ledger)
    assert claimed is not None
    assert claimed.job_id == whole.job_id
    assert claim(ledger) is None
    assert ledger.counts()[Status.FAILED] == 1
    assert [holding.claim.job_id for holding in ledger.holdings()] == [whole.job_id]
    assert whole.job_id in {job.job_id for job in ledger.jobs(Question(limit=1))}


def test_p11_a_damaged_row_that_is_asked_for_is_told_and_not_a_traceback(engine: Engine, ledger: SqlLedger) -> None:
    job = make_job()
    ledger.add(job)
    spoil(engine, job, "model_info", "{")
    asked: tuple[Callable[[], Job], ...] = (
        lambda: ledger.get(job.job_id),
        lambda: ledger.amend(job.job_id, moves.prioritised(1, "t")),
    )
    for ask in asked:
        with pytest.raises(BadRequest) as told:
            ask()
        assert "damaged" in told.value.message


def test_q10_a_backup_made_by_sqlite_itself_has_every_job(engine: Engine, ledger: SqlLedger, tmp_path: Path) -> None:
    for _ in range(5):
        ledger.add(make_job())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    backup = SqlLedger(open_engine(f"sqlite:///{tmp_path}/backup.db"))
    assert backup.jobs() == ledger.jobs()
    backup.close()


def test_nothing_but_json_is_in_the_rows(engine: Engine, ledger: SqlLedger) -> None:
    """T26: what carries a job is text that a person can read, never a pickle."""
    ledger.add(make_job())
    claim(ledger)
    with engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT model_info, history, progress, result, lease FROM jobs").one()
    assert all(isinstance(json.loads(value), dict | list) for value in row)


def test_n11_many_sets_of_mirrors_whose_hosts_all_rest_cost_a_claim_few_questions(
    engine: Engine, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_ledger, "HOSTS_PER_LOOK", 40)
    resting = frozenset(f"h{n}.example" for n in range(100))
    for n in range(99):
        urls = (f"https://h{n}.example/f", f"https://h{n + 1}.example/f")
        ledger.add(make_job(info=make_info(download_url=urls[0], mirrors=urls[1:])))
    free = make_job(info=make_info(download_url="https://h1.example/f", mirrors=("https://free.example/f",)))
    asked = len(plans(engine, lambda: claim(ledger, resting_hosts=resting)).splitlines())
    ledger.add(free)
    assert asked < 40, "one by one it would be more than a hundred"
    taken = claim(ledger, resting_hosts=resting)
    assert taken is not None
    assert taken.job_id == free.job_id


def test_a_claim_of_a_due_job_needs_no_sweep(ledger: SqlLedger) -> None:
    clock = FakeClock()
    ledger.add(make_job())
    job = ledger.claim(WORKER, LEASE, clock.now())
    assert job is not None
    ledger.change(job.claim, moves.put_off(clock.now() + timedelta(milliseconds=1), "later", "t"))
    assert ledger.claim(WORKER, LEASE, clock.now()) is None
    clock.advance(0.001)
    due = ledger.claim(WORKER, LEASE, clock.now())
    assert due is not None
    assert due.not_before is None


def test_writers_of_one_process_stand_in_line_and_none_finds_the_ledger_locked(tmp_path: Path) -> None:
    """SQLite's own patience is to sleep and look again; here it has none."""
    ledger = SqlLedger(open_engine(f"sqlite:///{tmp_path}/l.db", busy_timeout_seconds=0.0))
    added = [ledger.add(make_job()).job.job_id for _ in range(8)]

    def write(job_id: JobId) -> None:
        for priority in range(1, 11):
            ledger.amend(job_id, moves.prioritised(priority, "t"))

    with ThreadPoolExecutor(len(added)) as threads:
        list(threads.map(write, added))
    assert {ledger.get(job_id).priority for job_id in added} == {10}
    ledger.close()


# Q9: the file goes away while it is open


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    open_engine(f"sqlite:///{other}").dispose()
    other.replace(path)


def empty(path: Path) -> None:
    os.truncate(path, 0)


WRITES: dict[str, Callable[[SqlLedger, Job], object]] = {
    "add": lambda ledger, job: ledger.add(make_job()),
    "claim": lambda ledger, job: claim(ledger),
    "change": lambda ledger, job: ledger.change(job.claim, moves.given_back("t", "back")),
    "amend": lambda ledger, job: ledger.amend(job.job_id, moves.prioritised(9, "t")),
    "beat": lambda ledger, job: ledger.beat([], LEASE),
    "pause": lambda ledger, job: ledger.pause_queue(True),
    "keep_pieces": lambda ledger, job: ledger.keep_pieces("a" * 64, 1, b"", CLOCK.now()),
}


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps an open file where it is")
@pytest.mark.parametrize("harm", [remove, replace, empty])
@pytest.mark.parametrize("write", WRITES)
def test_q9_nothing_is_written_into_a_ledger_that_is_not_there_any_more(
    ledger: SqlLedger, tmp_path: Path, write: str, harm: Callable[[Path], None]
) -> None:
    ledger.add(make_job())
    job = claim(ledger)
    assert job is not None
    harm(tmp_path / "l.db")
    with pytest.raises(LedgerLost) as lost:
        WRITES[write](ledger, job)
    assert lost.value.code is Code.DATABASE_UNUSABLE
    assert str(tmp_path / "l.db") in lost.value.message


def test_q9_a_ledger_that_cannot_be_looked_at_for_a_moment_is_not_lost(
    ledger: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **_: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch, pytest.raises(TryLater) as later:
        patch.setattr(Path, "stat", broken)
        ledger.add(make_job())
    assert later.value.code is Code.STORAGE
    assert not ledger.add(make_job()).deduplicated


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps an open file where it is")
def test_q9_a_ledger_that_took_the_place_of_ours_is_not_written_to(
    engine: Engine, ledger: SqlLedger, tmp_path: Path
) -> None:
    ledger.add(make_job())
    replace(tmp_path / "l.db")
    engine.dispose()  # so that the next connection would open the new file
    late = make_job()
    with pytest.raises(LedgerLost):
        ledger.add(late)
    other = SqlLedger(open_engine(f"sqlite:///{tmp_path}/l.db"))
    assert late.job_id not in {job.job_id for job in other.jobs()}
    other.close()


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps an open file where it is")
def test_q9_a_ledger_that_is_removed_during_a_write_has_not_taken_it(ledger: SqlLedger, tmp_path: Path) -> None:
    def move(job: Job) -> Job:
        (tmp_path / "l.db").unlink()
        return moves.prioritised(9, "t")(job)

    ledger.add(job := make_job())
    with pytest.raises(LedgerLost):
        ledger.amend(job.job_id, move)


@pytest.mark.parametrize("left", [None, b""])
def test_q9_a_ledger_that_is_missing_or_empty_at_the_next_start_is_not_begun_anew(
    tmp_path: Path, left: bytes | None
) -> None:
    path = tmp_path / "l.db"
    open_engine(f"sqlite:///{path}").dispose()
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    for _ in range(2):
        with pytest.raises(LedgerLost) as lost:
            open_engine(f"sqlite:///{path}")
    note = tmp_path / "l.db.was-here"
    assert str(note) in lost.value.hint
    note.unlink()
    open_engine(f"sqlite:///{path}").dispose()
