"""The ledger on SQL: one transaction for a claim and for every change, one index for every question."""

from __future__ import annotations

import os
import threading
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Engine, Row, Select, TextClause, delete, func, select
from sqlalchemy.exc import IntegrityError

from download_worker.anchor import Anchor
from download_worker.clock import iso
from download_worker.database import BUSY_TIMEOUT_SECONDS, file_of, reading, snapshot, writing
from download_worker.errors import BadRequest, Code, TryLater
from download_worker.jobs import moves, statements
from download_worker.jobs.job import LIVE as LIVE_STATUSES
from download_worker.jobs.job import Claim, Job, JobId, Lease, Status, WorkerId
from download_worker.jobs.ledger import (
    EVERYTHING,
    NO_BARS,
    Added,
    Bars,
    Beat,
    Holding,
    Order,
    Pieces,
    Question,
    Waiting,
    are_barred,
    check_owner,
    order_for,
    target_taken,
    unknown_job,
)
from download_worker.jobs.moves import MAX_WAIT, Move
from download_worker.jobs.rows import changes_of, fail_damaged, job_of, progress_of, read_jobs, row_of, tally, whole_job
from download_worker.jobs.tables import (
    ENDED,
    JOB_FIELDS,
    LIVE,
    OWNED,
    QUEUE_PAUSED,
    WAITING,
    flags,
    jobs,
    tallies,
)
from download_worker.jobs.tables import pieces as pieces_table

MOST_WRITERS = 64
"""Of this process at once, where the database has several."""
HOSTS_PER_LOOK = 500
MOST_BARRED = 10_000
"""Combinations of hosts that a claim passes over; SQLite takes three times as many in one question."""
VOID = ("", 0.0, 0.0)
"""A lease that nothing holds: the row of an owner that was edited by hand."""


class SqlLedger:
    def __init__(self, engine: Engine, *, longest_wait: timedelta = MAX_WAIT) -> None:
        """A job that waits for longer than `longest_wait` is due: that was written under another clock (C1, C2)."""
        self._engine = engine
        self._longest_wait = longest_wait
        self._anchor = Anchor(file_of(engine))
        self._writer = threading.Semaphore(1 if file_of(engine) is not None else MOST_WRITERS)

    def add(self, job: Job) -> Added:
        try:
            with self._writing() as connection:
                if (standing := _live_for(connection, job)) is not None:
                    return Added(standing, deduplicated=True)
                connection.execute(statements.ADD, row_of(job))
                tally(connection, job.status, 1)
                return Added(job, deduplicated=False)
        except IntegrityError:  # PostgreSQL: another transaction was quicker; SQLite has one writer
            with reading(self._engine) as connection:
                standing = _live_for(connection, job)
            if standing is None:
                return self.add(job)
            return Added(standing, deduplicated=True)

    def claim(self, worker: WorkerId, lease: Lease, now: datetime, bars: Bars = NO_BARS) -> Job | None:
        with self._writing() as connection:
            connection.execute(statements.WAKE_THE_DUE, self._times(now))
            job = _next(connection, bars, iso(now))
            return None if job is None else _replace(connection, job, moves.claimed(job, worker, lease, iso(now)))

    def next_in_line(self, now: datetime, bars: Bars = NO_BARS, *, above: int | None = None) -> Waiting | None:
        with reading(self._engine) as connection:
            due = connection.execute(statements.ANY_DUE, self._times(now)).first() is not None
        if due:
            with self._writing() as connection:
                connection.execute(statements.WAKE_THE_DUE, self._times(now))
        with reading(self._engine) as connection:
            row = _first(connection, bars, jobs.c.priority, jobs.c.host, jobs.c.job_id, above=above)
        return None if row is None else Waiting(row.priority, row.host.partition(" ")[0], JobId(row.job_id))

    def _times(self, now: datetime) -> dict[str, str]:
        """By these a wait is over."""
        return {"now": iso(now), "too_far": iso(now + self._longest_wait)}

    def change(self, claim: Claim, move: Move) -> Job:
        with self._writing() as connection:
            job = _find(connection, claim.job_id)
            check_owner(job, claim)
            return _replace(connection, job, move(job))

    def amend(self, job_id: JobId, move: Move) -> Job:
        try:
            with self._writing() as connection:
                job = _find(connection, job_id)
                return _replace(connection, job, move(job))
        except IntegrityError as error:
            raise target_taken(job_id) from error

    def amend_all(self, job_ids: Sequence[JobId], move: Move) -> Sequence[Job]:
        try:
            with self._writing() as connection:
                return _amend_all(connection, job_ids, move)
        except IntegrityError:  # PostgreSQL: somebody handed one of the targets in meanwhile
            return [job for job_id in job_ids if (job := self._amended(job_id, move)) is not None]

    def _amended(self, job_id: JobId, move: Move) -> Job | None:
        try:
            return self.amend(job_id, move)
        except BadRequest:
            return None

    def beat(self, beats: Sequence[Beat], lease: Lease) -> Mapping[JobId, Order]:
        orders = {}
        with self._writing() as connection:
            for claim, progress in beats:
                who = {"of": claim.job_id, "by": claim.worker, "fence": claim.attempts}
                told = {"lease": lease, **progress_of(progress)}
                row = connection.execute(statements.BEAT, who | told).one_or_none()
                paused = row is not None and (row.paused or _queue_paused(connection))
                orders[claim.job_id] = order_for(row is not None, row is not None and row.cancel_requested, paused)
        return orders

    def holdings(self) -> Sequence[Holding]:
        with reading(self._engine) as connection:
            rows = connection.execute(statements.HOLDINGS).all()
        return [
            Holding(
                Claim(JobId(r.job_id), WorkerId(r.worker), r.attempts),
                Lease(*(r.lease or VOID)),
                Status(r.status),
                r.priority,
            )
            for r in rows
        ]

    def get(self, job_id: JobId) -> Job:
        with reading(self._engine) as connection:
            return _find(connection, job_id)

    def jobs(self, question: Question = EVERYTHING) -> Sequence[Job]:
        """Running ones, then waiting ones in the order of their turn, then ended ones from the newest."""
        segments = (
            (OWNED, LIVE_STATUSES, (jobs.c.seq,)),
            (WAITING, LIVE_STATUSES, (jobs.c.priority.desc(), jobs.c.seq)),
            (ENDED, frozenset(Status) - LIVE_STATUSES, (jobs.c.seq.desc(),)),
        )
        found: list[Job] = []
        skip = question.offset
        with snapshot(self._engine) as connection:  # a job that moves on meanwhile is listed once
            for where, statuses, order in segments:
                if question.statuses and not question.statuses & statuses:
                    continue
                asked = _asked(select(*JOB_FIELDS), where, question).order_by(*order)
                left = question.limit - len(found)
                if left <= 0:
                    break
                page = read_jobs(connection, asked.limit(left).offset(skip))
                if page:
                    skip = 0
                elif skip:
                    passed = connection.execute(_asked(select(func.count()), where, question)).scalar_one()
                    skip = max(0, skip - passed)
                found += page
        return found

    def counts(self) -> Mapping[Status, int]:
        live = select(jobs.c.status, func.count()).where(LIVE).group_by(jobs.c.status)
        with snapshot(self._engine) as connection:
            rows = [*connection.execute(live), *connection.execute(select(tallies.c.status, tallies.c.number))]
        found = {Status(status): number for status, number in rows}
        return {status: found.get(status, 0) for status in Status}

    def unfinished(self) -> int:
        with reading(self._engine) as connection:
            unfinished: int = connection.execute(statements.UNFINISHED).scalar_one()
        return unfinished

    def has_live_jobs(self) -> bool:
        with reading(self._engine) as connection:
            return connection.execute(select(jobs.c.seq).where(LIVE).limit(1)).first() is not None

    def latest_for(self, job: Job) -> Job | None:
        with reading(self._engine) as connection:
            row = connection.execute(
                select(*JOB_FIELDS)
                .where(_same_target(job), jobs.c.status == Status.SUCCESS)
                .order_by(jobs.c.seq.desc())
                .limit(1)
            ).one_or_none()
        return None if row is None else job_of(row)

    def next_due(self) -> datetime | None:
        with reading(self._engine) as connection:
            first = connection.execute(statements.NEXT_DUE).scalar_one()
        return None if first is None else datetime.fromisoformat(first)

    def pause_queue(self, pause: bool) -> None:
        with self._writing() as connection:
            connection.execute(statements.LET_QUEUE_GO_ON)
            if pause:
                connection.execute(flags.insert().values(name=QUEUE_PAUSED))

    def queue_paused(self) -> bool:
        with reading(self._engine) as connection:
            return _queue_paused(connection)

    def prune(self, ended_before: datetime) -> int:
        forgotten = 0
        with self._writing() as connection:
            for status in (Status.SUCCESS, Status.FAILED):
                old = delete(jobs).where(ENDED, jobs.c.status == status, jobs.c.ended_at < iso(ended_before))
                number = connection.execute(old).rowcount
                tally(connection, status, -number)
                forgotten += number
        return forgotten

    def keep_pieces(self, sha256: str, size: int, pieces: bytes, now: datetime) -> None:
        kept = Pieces(size, pieces)
        row = {"sha256": sha256, "digests": pieces, "noted_at": iso(now)}
        rest = {"size": size, "piece_bytes": kept.piece_bytes, "algorithm": kept.algorithm}
        with self._writing() as connection:
            connection.execute(delete(pieces_table).where(pieces_table.c.sha256 == sha256))
            connection.execute(pieces_table.insert().values(**row, **rest))

    def pieces_of(self, sha256: str) -> Pieces | None:
        table = pieces_table.c
        with reading(self._engine) as connection:
            row = connection.execute(
                select(table.size, table.digests, table.piece_bytes, table.algorithm).where(table.sha256 == sha256)
            ).one_or_none()
        return None if row is None else Pieces(*row)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """As `writing`. Raises LedgerLost also when the file went away only meanwhile."""
        with self._turn():
            self._anchor.check()
            with writing(self._engine) as connection:
                yield connection
            self._anchor.check()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer, and those who find it busy sleep and look again: our own threads stand in line."""
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise TryLater(Code.DATABASE_BUSY, "the ledger stayed locked by this very process")
        try:
            yield
        finally:
            self._writer.release()

    def close(self) -> None:
        self._engine.dispose()


def _next(connection: Connection, bars: Bars, at: str) -> Job | None:
    """The first in line, locked. Damaged rows before it stand in nobody's way: they end as FAILED."""
    while True:
        try:
            row = _first(connection, bars, *JOB_FIELDS, lock=True)
            return None if row is None else job_of(row)
        except ValueError:
            seq = _first(connection, bars, jobs.c.seq, lock=True)
            if seq is not None and (job := whole_job(connection, seq[0])) is not None:
                return job
            if seq is not None:
                fail_damaged(connection, seq[0], at)


def _first(
    connection: Connection, bars: Bars, *columns: Column[Any], above: int | None = None, lock: bool = False
) -> Row[Any] | None:
    """What `is_barred` lets through, in the order of its turn; all but the shut folders is answered by the index."""
    folders = [f"{folder}{os.sep}" for folder in sorted(bars.shut_folders)]
    given: dict[str, Any] = {} if above is None else {"above": above}
    for number, folder in enumerate(folders):
        given |= {f"folder_{number}": folder, f"length_{number}": len(folder)}

    shape = {"folders": len(folders), "above": above is not None}

    def ask(asked: tuple[Column[Any], ...], hosts: frozenset[str], **more: Any) -> Sequence[Row[Any]]:
        statement = statements.in_line(asked, past_hosts=bool(hosts), **shape, **more)
        return connection.execute(statement, given | ({"hosts": sorted(hosts)} if hosts else {})).all()

    # Jobs with mirrors say several hosts: page by page it is seen which of those combinations are barred.
    barred = bars.full_hosts | bars.resting_hosts
    while barred and len(barred) < MOST_BARRED:
        met = {row.host for row in ask((jobs.c.host,), barred, limit=HOSTS_PER_LOOK)}
        shut = {hosts for hosts in met if are_barred(hosts.split(" "), bars)}
        barred |= shut
        if not met or shut < met:
            break
    return next(iter(ask(columns, barred, lock=lock)), None)


def _queue_paused(connection: Connection) -> bool:
    return connection.execute(statements.IS_QUEUE_PAUSED).first() is not None


def _same_target(job: Job) -> Any:
    return (jobs.c.target == str(job.target)) & (jobs.c.machine == job.machine)


def _live_for(connection: Connection, job: Job) -> Job | None:
    place = {"of": str(job.target), "on": job.machine}
    row = connection.execute(statements.LIVE_FOR_TARGET, place).one_or_none()
    return None if row is None else job_of(row)


def _asked(selection: Select[Any], where: TextClause, question: Question) -> Select[Any]:
    asked = selection.select_from(jobs).where(where)
    if question.statuses:
        asked = asked.where(jobs.c.status.in_(sorted(question.statuses)))
    if question.text:
        asked = asked.where(jobs.c.haystack.contains(question.text.lower(), autoescape=True))
    return asked


def _find(connection: Connection, job_id: JobId) -> Job:
    """By its whole id, or by a beginning that only one job has."""
    try:
        return _found(connection, job_id)
    except ValueError as error:
        message = f"the row of job {job_id[:40]!a} in the ledger is damaged"
        raise BadRequest(Code.UNKNOWN_JOB, message, hint="restore the ledger, or hand the job in again") from error


def _found(connection: Connection, job_id: JobId) -> Job:
    row = connection.execute(statements.GET, {"of": job_id}).one_or_none()
    if row is None and len(job_id) >= 4:
        # U+007F sorts behind every sign of an id
        begins = (jobs.c.job_id >= job_id) & (jobs.c.job_id < job_id + "\x7f")
        rows = connection.execute(select(*JOB_FIELDS).where(begins).limit(2).with_for_update()).all()
        row = rows[0] if len(rows) == 1 else None
    if row is None:
        raise unknown_job(job_id)
    return job_of(row)


def _replace(connection: Connection, before: Job, after: Job) -> Job:
    if after is not before:
        connection.execute(statements.CHANGE, {"of": before.job_id, **changes_of(after)})
        if after.status is not before.status:
            tally(connection, before.status, -1)
            tally(connection, after.status, 1)
    return after


def _amend_all(connection: Connection, job_ids: Sequence[JobId], move: Move) -> list[Job]:
    """In few statements: one by one each job would cost a millisecond, and a queue may hold twenty thousand."""
    rows = select(*JOB_FIELDS).where(jobs.c.job_id.in_(job_ids)).with_for_update()
    found = {job.job_id: job for job in read_jobs(connection, rows)}
    moved: list[tuple[Job, Job]] = []
    for job_id in job_ids:
        with suppress(BadRequest):
            if (job := found.get(job_id)) is not None:
                moved.append((job, move(job)))
    revived = [str(after.target) for before, after in moved if after.live and not before.live]
    standing = select(jobs.c.machine, jobs.c.target).where(LIVE, jobs.c.target.in_(revived))
    taken = {(row.machine, row.target) for row in connection.execute(standing)}
    amended: list[Job] = []
    change: Tally[Status] = Tally()
    for before, after in moved:
        if after.live and not before.live:
            place = (after.machine, str(after.target))
            if place in taken:
                continue
            taken.add(place)
        amended.append(after)
        change[before.status] -= 1
        change[after.status] += 1
    for status, number in change.items():
        tally(connection, status, number)
    if amended:
        connection.execute(statements.CHANGE, [{"of": job.job_id, **changes_of(job)} for job in amended])
    return amended
