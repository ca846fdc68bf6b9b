"""The ledger on SQL: one transaction for a claim and for every change, one index for every question."""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, TextClause, bindparam, case, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from download_worker.anchor import Anchor
from download_worker.clock import iso
from download_worker.database import file_of, reading, snapshot, writing
from download_worker.errors import BadRequest, Code, LostClaim
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
    order_for,
)
from download_worker.jobs.moves import MAX_WAIT, Move
from download_worker.jobs.rows import JOB_FIELDS, fail_damaged, job_of, read_jobs, row_of, tally, whole_job
from download_worker.jobs.tables import (
    CLAIMABLE,
    ENDED,
    LIVE,
    OWNED,
    QUEUE_PAUSED,
    TIMED,
    WAITING,
    flags,
    jobs,
    tallies,
)
from download_worker.jobs.tables import pieces as pieces_table

VOID = ("", 0.0, 0.0)
"""A lease that nothing holds: the row of an owner that was edited by hand."""


class SqlLedger:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._anchor = Anchor(file_of(engine))

    def add(self, job: Job) -> Added:
        try:
            with self._writing() as connection:
                if (standing := _live_for(connection, job)) is not None:
                    return Added(standing, deduplicated=True)
                connection.execute(jobs.insert().values(row_of(job)))
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
            _wake_the_due(connection, now)
            first = _first(connection, bars, jobs.c.seq).with_for_update(skip_locked=True)
            taken = (
                update(jobs)
                .where(jobs.c.seq == first.scalar_subquery(), jobs.c.worker.is_(None))
                .values(
                    status=case((jobs.c.status == Status.VERIFYING, Status.VERIFYING), else_=Status.DOWNLOADING),
                    worker=worker,
                    lease=lease,
                    attempts=jobs.c.attempts + 1,
                    tries=jobs.c.tries + 1,
                )
                .returning(jobs.c.seq)
            )
            while (seq := connection.execute(taken).scalar_one_or_none()) is not None:
                if (job := whole_job(connection, seq)) is not None:
                    return job
                fail_damaged(connection, seq, iso(now))
        return None

    def next_in_line(self, now: datetime, bars: Bars = NO_BARS) -> Waiting | None:
        with self._writing() as connection:
            _wake_the_due(connection, now)
            row = connection.execute(_first(connection, bars, jobs.c.priority, jobs.c.host)).one_or_none()
        return None if row is None else Waiting(row.priority, row.host.partition(" ")[0])

    def change(self, claim: Claim, move: Move) -> Job:
        with self._writing() as connection:
            job = _find(connection, claim.job_id)
            if job.worker != claim.worker or job.attempts != claim.attempts:
                raise LostClaim(claim)
            return _replace(connection, job, move(job))

    def amend(self, job_id: JobId, move: Move) -> Job:
        try:
            with self._writing() as connection:
                job = _find(connection, job_id)
                return _replace(connection, job, move(job))
        except IntegrityError as error:
            message = f"another job for the same file is live already, so job {job_id} cannot be"
            raise BadRequest(Code.WRONG_MOMENT, message) from error

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
                row = connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.job_id == claim.job_id,
                        jobs.c.worker == claim.worker,
                        jobs.c.attempts == claim.attempts,
                    )
                    .values(lease=lease, progress=progress.model_dump(mode="json"))
                    .returning(jobs.c.cancel_requested, jobs.c.paused)
                ).one_or_none()
                paused = row is not None and (row.paused or _queue_paused(connection))
                orders[claim.job_id] = order_for(row is not None, row is not None and row.cancel_requested, paused)
        return orders

    def holdings(self) -> Sequence[Holding]:
        columns = (jobs.c.job_id, jobs.c.worker, jobs.c.attempts, jobs.c.lease)
        with reading(self._engine) as connection:
            rows = connection.execute(select(*columns).where(OWNED)).all()
        return [
            Holding(Claim(JobId(r.job_id), WorkerId(r.worker), r.attempts), Lease(*(r.lease or VOID))) for r in rows
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
            return connection.execute(select(func.count()).select_from(jobs).where(LIVE, ~jobs.c.paused)).scalar_one()

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
            first = connection.execute(select(func.min(jobs.c.not_before)).where(TIMED, ~jobs.c.paused)).scalar_one()
        return None if first is None else datetime.fromisoformat(first)

    def pause_queue(self, pause: bool) -> None:
        with self._writing() as connection:
            connection.execute(delete(flags).where(flags.c.name == QUEUE_PAUSED))
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
        self._anchor.check()
        with writing(self._engine) as connection:
            yield connection
        self._anchor.check()

    def close(self) -> None:
        self._engine.dispose()


def _first(connection: Connection, bars: Bars, *columns: Any) -> Select[Any]:
    """What `is_barred` lets through, in the order of its turn; all but the shut folders is answered by the index."""
    paused = select(flags.c.name).where(flags.c.name == QUEUE_PAUSED).exists()
    in_line = select(*columns).where(CLAIMABLE, ~paused).order_by(jobs.c.priority.desc(), jobs.c.seq).limit(1)
    for folder in sorted(bars.shut_folders):
        below = f"{folder}{os.sep}"
        in_line = in_line.where(func.substr(jobs.c.target, 1, len(below)) != below)
    # Jobs with mirrors say several hosts; of those combinations there are few, and they are met one after the other.
    barred = bars.full_hosts | bars.resting_hosts
    while (hosts := connection.execute(_past(in_line.with_only_columns(jobs.c.host), barred)).scalar()) is not None:
        if not are_barred(hosts.split(" "), bars):
            break
        barred |= {hosts}
    return _past(in_line, barred)


def _past(in_line: Select[Any], barred: frozenset[str]) -> Select[Any]:
    return in_line.where(jobs.c.host.not_in(sorted(barred))) if barred else in_line


def _wake_the_due(connection: Connection, now: datetime) -> None:
    due = or_(jobs.c.not_before <= iso(now), jobs.c.not_before > iso(now + MAX_WAIT))
    connection.execute(update(jobs).where(TIMED, due).values(not_before=None))


def _queue_paused(connection: Connection) -> bool:
    return connection.execute(select(flags.c.name).where(flags.c.name == QUEUE_PAUSED)).first() is not None


def _same_target(job: Job) -> Any:
    return (jobs.c.target == str(job.target)) & (jobs.c.machine == job.machine)


def _live_for(connection: Connection, job: Job) -> Job | None:
    row = connection.execute(select(*JOB_FIELDS).where(_same_target(job), LIVE)).one_or_none()
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
    row = connection.execute(select(*JOB_FIELDS).where(jobs.c.job_id == job_id).with_for_update()).one_or_none()
    if row is None and len(job_id) >= 4:
        # U+007F sorts behind every sign of an id
        begins = (jobs.c.job_id >= job_id) & (jobs.c.job_id < job_id + "\x7f")
        rows = connection.execute(select(*JOB_FIELDS).where(begins).limit(2).with_for_update()).all()
        row = rows[0] if len(rows) == 1 else None
    if row is None:
        raise BadRequest(Code.UNKNOWN_JOB, f"there is no job {job_id[:40]!a}")
    return job_of(row)


def _replace(connection: Connection, before: Job, after: Job) -> Job:
    if after is not before:
        connection.execute(update(jobs).where(jobs.c.job_id == before.job_id).values(row_of(after)))
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
        values = [{f"new_{name}": value for name, value in row_of(job).items()} for job in amended]
        columns: dict[str, Any] = {name.removeprefix("new_"): bindparam(name) for name in values[0]}
        connection.execute(update(jobs).where(jobs.c.job_id == bindparam("new_job_id")).values(columns), values)
    return amended
