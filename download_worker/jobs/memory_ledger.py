"""The ledger's twin in memory: the same rules on a dictionary, for tests and for trying things out. Not durable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from download_worker.clock import iso
from download_worker.errors import BadRequest
from download_worker.jobs import moves
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
    check_owner,
    hosts_asked_by,
    is_barred,
    order_for,
    target_taken,
    unknown_job,
)
from download_worker.jobs.moves import MAX_WAIT, Move


class MemoryLedger:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[JobId, Job] = {}  # in the order of arrival
        self._paused = False
        self._pieces: dict[str, Pieces] = {}

    def add(self, job: Job) -> Added:
        with self._lock:
            standing = self._live_for(job)
            if standing is not None:
                return Added(standing, deduplicated=True)
            self._jobs[job.job_id] = job
            return Added(job, deduplicated=False)

    def claim(self, worker: WorkerId, lease: Lease, now: datetime, bars: Bars = NO_BARS) -> Job | None:
        with self._lock:
            first = self._first(now, bars)
            return None if first is None else self._replace(moves.claimed(first, worker, lease, iso(now)))

    def next_in_line(self, now: datetime, bars: Bars = NO_BARS, *, above: int | None = None) -> Waiting | None:
        with self._lock:
            first = self._first(now, bars)
        if first is None or (above is not None and first.priority <= above):
            return None
        return Waiting(first.priority, hosts_asked_by(first)[0], first.job_id)

    def change(self, claim: Claim, move: Move) -> Job:
        with self._lock:
            job = self._find(claim.job_id)
            check_owner(job, claim)
            return self._replace(move(job))

    def amend(self, job_id: JobId, move: Move) -> Job:
        with self._lock:
            return self._amend(job_id, move)

    def amend_all(self, job_ids: Sequence[JobId], move: Move) -> Sequence[Job]:
        amended = []
        with self._lock:
            for job_id in job_ids:
                with suppress(BadRequest):
                    amended.append(self._amend(job_id, move))
        return amended

    def beat(self, beats: Sequence[Beat], lease: Lease) -> Mapping[JobId, Order]:
        orders = {}
        with self._lock:
            for claim, progress in beats:
                job = self._jobs.get(claim.job_id)
                owned = job is not None and (job.worker, job.attempts) == (claim.worker, claim.attempts)
                if job is not None and owned:
                    self._replace(job.model_copy(update={"lease": lease, "progress": progress}))
                cancel = job is not None and job.cancel_requested
                orders[claim.job_id] = order_for(owned, cancel, self._paused or (job is not None and job.paused))
        return orders

    def holdings(self) -> Sequence[Holding]:
        with self._lock:
            owned = [job for job in self._jobs.values() if job.worker and job.lease]
            return [Holding(job.claim, job.lease, job.status, job.priority) for job in owned if job.lease]

    def get(self, job_id: JobId) -> Job:
        with self._lock:
            return self._find(job_id)

    def jobs(self, question: Question = EVERYTHING) -> Sequence[Job]:
        with self._lock:
            arrived = list(self._jobs.values())
        running = [job for job in arrived if job.worker is not None]
        waiting = sorted((job for job in arrived if job.live and job.worker is None), key=lambda job: -job.priority)
        ended = [job for job in reversed(arrived) if not job.live]
        asked = [job for job in (*running, *waiting, *ended) if _answers(job, question)]
        return asked[question.offset : question.offset + question.limit]

    def counts(self) -> Mapping[Status, int]:
        with self._lock:
            statuses = [job.status for job in self._jobs.values()]
        return {status: statuses.count(status) for status in Status}

    def unfinished(self) -> int:
        with self._lock:
            return sum(job.live and not job.paused for job in self._jobs.values())

    def has_live_jobs(self) -> bool:
        with self._lock:
            return any(job.live for job in self._jobs.values())

    def latest_for(self, job: Job) -> Job | None:
        return self._last(lambda other: _same_target(job, other) and other.status is Status.SUCCESS)

    def next_due(self) -> datetime | None:
        with self._lock:
            times = [job.not_before for job in self._jobs.values() if job.not_before and not job.paused]
        return datetime.fromisoformat(min(times)) if times else None

    def pause_queue(self, pause: bool) -> None:
        with self._lock:
            self._paused = pause

    def queue_paused(self) -> bool:
        with self._lock:
            return self._paused

    def prune(self, ended_before: datetime) -> int:
        with self._lock:
            old = [j for j in self._jobs.values() if not j.live and j.history[-1].timestamp < iso(ended_before)]
            for job in old:
                del self._jobs[job.job_id]
            return len(old)

    def keep_pieces(self, sha256: str, size: int, pieces: bytes, now: datetime) -> None:
        with self._lock:
            self._pieces[sha256] = Pieces(size, pieces)

    def pieces_of(self, sha256: str) -> Pieces | None:
        with self._lock:
            return self._pieces.get(sha256)

    def close(self) -> None:
        """Nothing to close: it ends with the process."""

    def _first(self, now: datetime, bars: Bars) -> Job | None:
        due = [
            job
            for job in self._jobs.values()
            if job.live
            and job.worker is None
            and not (job.paused or self._paused)
            and (job.not_before is None or not iso(now) < job.not_before <= iso(now + MAX_WAIT))
            and not is_barred(job, bars)
        ]
        return max(due, key=lambda job: job.priority, default=None)  # max keeps the earliest of equals

    def _amend(self, job_id: JobId, move: Move) -> Job:
        before = self._find(job_id)
        after = move(before)
        if after.live and not before.live and self._live_for(after) is not None:
            raise target_taken(job_id)
        return self._replace(after)

    def _find(self, job_id: JobId) -> Job:
        if job_id in self._jobs:
            return self._jobs[job_id]
        begins = [job for name, job in self._jobs.items() if len(job_id) >= 4 and name.startswith(job_id)]
        if len(begins) != 1:
            raise unknown_job(job_id)
        return begins[0]

    def _replace(self, job: Job) -> Job:
        self._jobs[job.job_id] = job
        return job

    def _live_for(self, job: Job) -> Job | None:
        return next((other for other in self._jobs.values() if other.live and _same_target(job, other)), None)

    def _last(self, fits: Callable[[Job], bool]) -> Job | None:
        with self._lock:
            return next((job for job in reversed(self._jobs.values()) if fits(job)), None)


def _same_target(job: Job, other: Job) -> bool:
    return job.target == other.target and job.machine == other.machine


def _answers(job: Job, question: Question) -> bool:
    info = job.model_info
    haystack = f"{info.expected_filename} {info.model_type} {info.host}".lower()
    return (not question.statuses or job.status in question.statuses) and question.text.lower() in haystack
