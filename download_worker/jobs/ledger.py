"""The ledger decides: the only place that knows a job's status, and who may change it.

One protocol, two answers: `SqlLedger` (SQLite or PostgreSQL) and `MemoryLedger`, its twin for tests and for trying
things out. Both apply the pure moves of `moves.py` and pass the same contract test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from download_worker.errors import BadRequest, Code, LostClaim
from download_worker.jobs.job import Claim, Job, JobId, Lease, ModelInfo, Progress, Status, WorkerId
from download_worker.jobs.moves import Move


class Order(StrEnum):
    """What an owner hears in answer to its heartbeat."""

    GO_ON = "go on"
    CANCEL = "cancel"
    PAUSE = "pause"
    MAKE_WAY = "make way"
    LOST = "lost"


class Beat(NamedTuple):
    claim: Claim
    progress: Progress


class Holding(NamedTuple):
    """A job that somebody owns, as far as it must be known whether that owner lives, and whether it has to make way."""

    claim: Claim
    lease: Lease
    status: Status
    priority: int


class Added(NamedTuple):
    """The job as it stands, and whether it was there before (a live job for the same target)."""

    job: Job
    deduplicated: bool


class Bars(NamedTuple):
    """What a claim passes over. `full_hosts`: jobs that begin there have all their places. `resting_hosts`: nobody asks
    there now; a job that has another host among its mirrors is not held back. `shut_folders`: nothing can be written
    there or below."""

    full_hosts: frozenset[str] = frozenset()
    resting_hosts: frozenset[str] = frozenset()
    shut_folders: frozenset[str] = frozenset()


NO_BARS = Bars()


class Waiting(NamedTuple):
    """The next job in line, as far as the question needs it whether it may take another one's place."""

    priority: int
    host: str
    job_id: JobId


class Pieces(NamedTuple):
    """The digests of a file's pieces, concatenated, by which a later repair finds the bytes that are damaged."""

    size: int
    digests: bytes
    piece_bytes: int = 16 * 1024 * 1024
    algorithm: str = "xxh3_128"


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

    def claim(self, worker: WorkerId, lease: Lease, now: datetime, bars: Bars = NO_BARS) -> Job | None:
        """Take the most urgent due job: in PENDING, or waiting in VERIFYING, not paused, behind none of the bars.

        One transaction; attempts + 1 is durable before the caller sees the job. None while the queue is paused.
        """
        ...

    def next_in_line(self, now: datetime, bars: Bars = NO_BARS, *, above: int | None = None) -> Waiting | None:
        """The job that `claim` would take; only if its priority is `above` that."""
        ...

    def change(self, claim: Claim, move: Move) -> Job:
        """Apply a move as the owner. Raises LostClaim when the claim is not the latest, IllegalMove, BadRequest."""
        ...

    def amend(self, job_id: JobId, move: Move) -> Job:
        """Apply a move as the counter does, whoever owns the job. Raises BadRequest(unknown_job), IllegalMove."""
        ...

    def amend_all(self, job_ids: Sequence[JobId], move: Move) -> Sequence[Job]:
        """As `amend`, in one transaction; jobs that cannot be moved so (BadRequest) are left out and as they were."""
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

    def keep_pieces(self, sha256: str, size: int, pieces: bytes, now: datetime) -> None:
        """Remember the digests of a file's pieces: xxh3-128 (16 bytes) of every 16 MiB, in order. Twice is once."""
        ...

    def pieces_of(self, sha256: str) -> Pieces | None:
        """What is remembered of a file with this digest."""
        ...

    def close(self) -> None: ...


def order_for(owned: bool, cancel: bool, paused: bool) -> Order:
    """The rule behind every answer to a heartbeat: a lost claim before all, a cancel before a pause."""
    if not owned:
        return Order.LOST
    if cancel:
        return Order.CANCEL
    return Order.PAUSE if paused else Order.GO_ON


def check_owner(job: Job, claim: Claim) -> None:
    """Raises LostClaim when the claim is not the latest."""
    if (job.worker, job.attempts) != (claim.worker, claim.attempts):
        raise LostClaim(claim)


def unknown_job(job_id: str) -> BadRequest:
    return BadRequest(Code.UNKNOWN_JOB, f"there is no job {job_id[:40]!a}")


def target_taken(job_id: str) -> BadRequest:
    """Of two jobs with one target only one may be live."""
    return BadRequest(Code.WRONG_MOMENT, f"another job for the same file is live already, so job {job_id} cannot be")


def hosts_of(info: ModelInfo) -> tuple[str, ...]:
    """The hosts of a job's sources, each once, the first source's first."""
    return tuple(dict.fromkeys([info.host, *filter(None, map(_host_of, info.mirrors))]))


def hosts_asked_by(job: Job) -> tuple[str, ...]:
    """Nobody is asked for a file that is whole in its room: its host is a name that none has."""
    return ("",) if job.status is Status.VERIFYING else hosts_of(job.model_info)


def is_barred(job: Job, bars: Bars) -> bool:
    """The rule that every claim follows."""
    if bars.shut_folders and str(job.target).startswith(tuple(folder + os.sep for folder in bars.shut_folders)):
        return True
    return bool(bars.full_hosts or bars.resting_hosts) and are_barred(hosts_asked_by(job), bars)


def are_barred(hosts: Sequence[str], bars: Bars) -> bool:
    """Of jobs with these hosts, the first source's first."""
    return hosts[0] in bars.full_hosts or bars.resting_hosts.issuperset(hosts)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # a job that was never handed in over the counter
        return ""
