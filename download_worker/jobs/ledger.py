"""The ledger decides: the only place that knows a job's status, and who may change it.

One protocol, two answers: `SqlLedger` (SQLite or PostgreSQL) and `MemoryLedger`, its twin for tests and for trying
things out. Both apply the pure moves of `moves.py` and pass the same contract test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from download_worker.jobs.job import Claim, Job, JobId, Lease, Progress, Status, WorkerId
from download_worker.jobs.moves import Move


class Order(StrEnum):
    """What an owner hears in answer to its heartbeat."""

    GO_ON = "go on"
    CANCEL = "cancel"
    PAUSE = "pause"
    LOST = "lost"


class Beat(NamedTuple):
    claim: Claim
    progress: Progress


class Holding(NamedTuple):
    """A job that somebody owns, as far as `reclaim` needs to know it."""

    claim: Claim
    lease: Lease


class Added(NamedTuple):
    """The job as it stands, and whether it was there before (a live job for the same target)."""

    job: Job
    deduplicated: bool


class Question(NamedTuple):
    """Which jobs to list: running ones, then waiting ones in the order of their turn, then ended ones from the newest.

    `text` is looked for in file name, folder and host.
    """

    statuses: frozenset[Status] = frozenset()
    text: str = ""
    limit: int = 200
    offset: int = 0


EVERYTHING = Question()


class Ledger(Protocol):
    """Every method raises TryLater(database_busy) when it stays locked, GiveUp(database_unusable) when it is broken."""

    def add(self, job: Job) -> Added:
        """Write the job, unless a live one has its target: then that one is answered. Durable on return."""
        ...

    def claim(
        self, worker: WorkerId, lease: Lease, now: datetime, *, full_hosts: frozenset[str] = frozenset()
    ) -> Job | None:
        """Take the most urgent due job: in PENDING, or waiting in VERIFYING, not paused, its host not in `full_hosts`.

        One statement; attempts + 1 is durable before the caller sees the job. None while the queue is paused.
        """
        ...

    def change(self, claim: Claim, move: Move) -> Job:
        """Apply a move as the owner. Raises LostClaim when the claim is not the latest, IllegalMove, BadRequest."""
        ...

    def amend(self, job_id: JobId, move: Move) -> Job:
        """Apply a move as the counter does, whoever owns the job. Raises BadRequest(unknown_job), IllegalMove."""
        ...

    def beat(self, beats: Sequence[Beat], lease: Lease) -> Mapping[JobId, Order]:
        """Renew the leases, note the progress, and hear what to do. One transaction for all."""
        ...

    def holdings(self) -> Sequence[Holding]:
        """All owned jobs, for `reclaim`."""
        ...

    def get(self, job_id: JobId) -> Job:
        """Raises BadRequest(unknown_job)."""
        ...

    def jobs(self, question: Question = EVERYTHING) -> Sequence[Job]: ...

    def counts(self) -> Mapping[Status, int]:
        """Jobs by status; every status has an entry."""
        ...

    def unfinished(self) -> int:
        """Live jobs that are not paused: what a drain still has to wait for."""
        ...

    def has_live_jobs(self) -> bool:
        """Whether any job is left, paused ones included."""
        ...

    def latest_for(self, job: Job) -> Job | None:
        """The newest SUCCESS for the same target, whatever its URL was."""
        ...

    def next_due(self) -> datetime | None:
        """When the next waiting job becomes due; None when none waits for a time."""
        ...

    def pause_queue(self, pause: bool) -> None: ...

    def queue_paused(self) -> bool: ...

    def prune(self, ended_before: datetime) -> int:
        """Forget jobs that ended before then. Returns how many."""
        ...

    def close(self) -> None: ...


def order_for(owned: bool, cancel: bool, paused: bool) -> Order:
    """The rule behind every answer to a heartbeat: a lost claim before all, a cancel before a pause."""
    if not owned:
        return Order.LOST
    if cancel:
        return Order.CANCEL
    return Order.PAUSE if paused else Order.GO_ON
