"""Every way in which a job can change, as pure functions from job to job.

Both ledgers apply these inside their own transaction, so the rules stand here once. `at` is wall time as ISO text.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from download_worker.clock import iso
from download_worker.errors import BadRequest, Code
from download_worker.jobs.job import (
    MAX_EVENT_CHARS,
    MAX_HISTORY_EVENTS,
    Event,
    Job,
    Lease,
    Progress,
    Result,
    Status,
    Verdict,
    WorkerId,
    check_move,
)
from download_worker.text import public_url, safe_text

Move = Callable[[Job], Job]

MAX_WAIT = timedelta(days=1)
"""A `not_before` further away than this was written under a wrong clock: the job is due."""


def backoff_seconds(
    tries: int, *, base_seconds: float, cap_seconds: float, roll: Callable[[], float] = random.random
) -> float:
    """Doubling with full jitter: a random part of base · 2^(tries − 1), at most the cap, at least a tenth of it all."""
    ceiling = min(cap_seconds, base_seconds * 2.0 ** min(tries - 1, 32))
    return ceiling * (0.1 + 0.9 * roll())


def claimed(job: Job, worker: WorkerId, lease: Lease, at: str) -> Job:
    """PENDING → DOWNLOADING; a job that waits in VERIFYING stays there. The attempt counts before the try.

    A download begins at the first source: said at once, that costs no write of its own (see `asks`).
    """
    verifying = job.status is Status.VERIFYING
    return _moved(
        job,
        at,
        None if verifying else asks(job.model_info.download_url, job.attempts + 1),
        status=Status.VERIFYING if verifying else Status.DOWNLOADING,
        worker=worker,
        lease=lease,
        attempts=job.attempts + 1,
        tries=job.tries + 1,
        not_before=None,
    )


def asks(url: str, attempt: int) -> str:
    """The event that tells where the file is to come from."""
    return f"Downloading from {public_url(url)} (attempt {attempt})"


def downloading(event: str, at: str) -> Move:
    """The file is not in place, whatever a former owner was about to do: a cancel is in time again."""
    return lambda job: _moved(job, at, event, status=Status.DOWNLOADING, promoting=False)


def verifying(event: str, size_bytes: int, at: str) -> Move:
    progress = Progress(bytes=size_bytes, total=size_bytes)
    return lambda job: _moved(job, at, event, status=Status.VERIFYING, progress=progress)


def promoting(promise: Result, at: str) -> Move:
    """The last moment for a cancel: from here on the file will be in place, with this digest and this verdict."""

    def move(job: Job) -> Job:
        if job.cancel_requested:
            return cancelled(at)(job)
        verdict = promise.verdict
        event = f"Verified by {verdict.by}: {verdict.reason}" if verdict else "Verified"
        return _moved(job, at, event, promoting=True, result=promise)

    return move


def succeeded(result: Result, event: str, at: str) -> Move:
    def move(job: Job) -> Job:
        progress = Progress(bytes=job.progress.bytes, total=job.progress.bytes)
        return _moved(job, at, event, status=Status.SUCCESS, result=result, progress=progress, **_UNOWNED)

    return move


def failed(code: StrEnum, reason: str, at: str, *, verdict: Verdict | None = None) -> Move:
    """The end without a file: the result says nothing of one."""
    result = Result(code=str(code), reason=safe_text(reason), verdict=verdict)
    return lambda job: _moved(job, at, f"Failed ({code})", status=Status.FAILED, result=result, **_UNOWNED)


def cancelled(at: str) -> Move:
    result = Result(code=str(Code.CANCELLED), reason="cancelled")
    return lambda job: _moved(job, at, "Cancelled", status=Status.FAILED, result=result, **_UNOWNED)


def given_back(at: str, event: str) -> Move:
    """The worker stops or the job was paused: nobody's fault, so the attempt is refunded."""

    def move(job: Job) -> Job:
        if job.cancel_requested:
            return cancelled(at)(job)
        return _moved(job, at, event, status=_waiting(job), tries=max(0, job.tries - 1), **_UNOWNED)

    return move


def put_off(until: datetime, reason: str, at: str, *, refund: bool = False) -> Move:
    """Wait until then, in PENDING or (waiting for a verdict) in VERIFYING."""

    def move(job: Job) -> Job:
        if job.cancel_requested:
            return cancelled(at)(job)
        tries = max(0, job.tries - 1) if refund else job.tries
        return _moved(job, at, reason, status=_waiting(job), tries=tries, **(_UNOWNED | {"not_before": iso(until)}))

    return move


def excused(at: str) -> Move:
    """It met a host that turned out to be away: its last try is not counted, and it waits no longer than the others."""

    def move(job: Job) -> Job:
        if not job.live or job.worker is not None or not job.tries:
            return job
        event = "Its host was away: that try is not counted"
        return _moved(job, at, event, tries=job.tries - 1, not_before=None)

    return move


def reclaimed(now: datetime, *, max_tries: int, base_seconds: float, cap_seconds: float) -> Move:
    """Its owner is gone. The first time it is free at once; a job to which it happens again waits, and at last ends."""

    def move(job: Job) -> Job:
        at = iso(now)
        if job.cancel_requested and not job.promoting:
            return cancelled(at)(job)
        if job.tries >= max_tries and not job.promoting:
            reason = f"tried {job.tries} times, and the last time its worker died of it or with it"
            return failed(Code.CRASH_LOOP, reason, at)(job)
        wait = (
            0.0
            if job.tries <= 1
            else backoff_seconds(job.tries - 1, base_seconds=base_seconds, cap_seconds=cap_seconds)
        )
        until = iso(now + timedelta(seconds=wait)) if wait else None
        return _moved(
            job,
            at,
            f"Taken back from {job.worker}, which is gone",
            status=_waiting(job),
            **(_UNOWNED | {"not_before": until}),
        )

    return move


def retried(at: str) -> Move:
    def move(job: Job) -> Job:
        if job.status is not Status.FAILED:
            raise BadRequest(Code.WRONG_MOMENT, f"job {job.job_id} is {job.status}: only a FAILED job can be retried")
        fresh = {"tries": 0, "not_before": None, "cancel_requested": False, "promoting": False, "paused": False}
        return _moved(job, at, "Retry asked for", status=Status.PENDING, result=Result(), progress=Progress(), **fresh)

    return move


def cancel_requested(at: str) -> Move:
    """At once when nobody owns the job, else a wish that its owner obeys. Twice is once; after the end, nothing."""

    def move(job: Job) -> Job:
        if not job.live or job.promoting:
            return job
        if job.worker is None:
            return cancelled(at)(job)
        return job if job.cancel_requested else _moved(job, at, "Cancel asked for", cancel_requested=True)

    return move


def paused(at: str, *, pause: bool) -> Move:
    def move(job: Job) -> Job:
        if not job.live or job.paused == pause:
            return job
        return _moved(job, at, "Paused" if pause else "Resumed", paused=pause)

    return move


def prioritised(priority: int, at: str) -> Move:
    def move(job: Job) -> Job:
        if not job.live or job.priority == priority:
            return job
        return _moved(job, at, f"Priority {priority}", priority=priority)

    return move


_UNOWNED: dict[str, Any] = {"worker": None, "lease": None, "not_before": None}


def _waiting(job: Job) -> Status:
    return Status.VERIFYING if job.status is Status.VERIFYING else Status.PENDING


def _moved(job: Job, at: str, event: str | None, **changes: Any) -> Job:
    check_move(job.status, changes.get("status", job.status))
    if event is not None:
        told = Event(timestamp=at, event=safe_text(event, max_chars=MAX_EVENT_CHARS))
        # The first event says where the job came from, the last ones what happens now: the middle may go.
        kept = job.history if len(job.history) < MAX_HISTORY_EVENTS else (job.history[0], *job.history[2:])
        changes["history"] = (*kept, told)
    return job.model_copy(update=changes)
