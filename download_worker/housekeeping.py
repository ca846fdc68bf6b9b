"""What nobody else clears away: staging of jobs that have ended or are unknown, and ended jobs that are old."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from loguru import logger

from download_worker.errors import BadRequest, Code, Trouble
from download_worker.jobs.job import Job, JobId, Status
from download_worker.jobs.ledger import Ledger, Question
from download_worker.room import is_occupied, leave_for_good, staging_for, storage_errors
from download_worker.settings import Settings
from download_worker.workshop import Workshop

ANY_ATTEMPT = sys.maxsize
MAX_JOBS_LOOKED_AT = 10_000

# Jobs that ended like this leave nothing worth keeping; after other failures a retry goes on from the bytes on disk.
_NOTHING_TO_KEEP = frozenset(
    {
        Code.CANCELLED,
        Code.REJECTED_BY_RUBRIC,
        Code.HTML,
        Code.WRONG_TYPE,
        Code.SIZE_MISMATCH,
        Code.HASH_MISMATCH,
        Code.BROKEN_STRUCTURE,
    }
)


def clear_up(shop: Workshop) -> None:
    """Now and then: forget old jobs and rejected files, then remove rooms that no job can come back to. Never raises
    for what it meets: the next time is soon enough."""
    now = shop.clock.now()
    oldest = now - timedelta(days=shop.settings.keep_days)
    with _forgiving("the ledger"):
        shop.ledger.prune(oldest)
    with _forgiving("the quarantine"):
        shop.quarantine.prune(now)
    with _forgiving("the list of jobs"):
        for staging in _stagings(shop):
            with _forgiving(str(staging)), storage_errors(staging):
                _clear(staging, shop.ledger, oldest.timestamp())


def leaves_nothing(job: Job) -> bool:
    """Whether no try of this job could ever use what is in its room."""
    return job.status is Status.SUCCESS or (job.status is Status.FAILED and job.result.code in _NOTHING_TO_KEEP)


def tidy(job: Job, settings: Settings) -> None:
    """Remove the rooms of an ended job, up to this claim's. A room that cannot be removed is no reason to fail."""
    with _forgiving(f"the staging of job {job.job_id}"):
        leave_for_good(staging_for(job.target, settings.staging, job.models_root), job.job_id, job.attempts)


@contextmanager
def _forgiving(what: str) -> Iterator[None]:
    try:
        yield
    except Trouble as trouble:
        logger.warning("could not clear up {}: {}; the next time tries again", what, trouble)


def _clear(staging: Path, ledger: Ledger, oldest: float) -> None:
    for hall in _halls(staging):
        job_id = JobId(hall.name)
        try:
            job = ledger.get(job_id)
        except BadRequest:
            # Another home's, beside the models; or a row that cannot be read: its bytes may still be wanted.
            over, attempts = hall.stat().st_mtime < oldest, ANY_ATTEMPT
        else:
            over, attempts = leaves_nothing(job), job.attempts
        if over and not is_occupied(staging, job_id):
            leave_for_good(staging, job_id, attempts)
            logger.info("removed what was left in {}", hall)


def _stagings(shop: Workshop) -> set[Path]:
    home = shop.settings.staging
    found = {home}
    for job in shop.ledger.jobs(Question(limit=MAX_JOBS_LOOKED_AT)):
        with _forgiving(f"the staging of job {job.job_id}"):
            found.add(staging_for(job.target, home, job.models_root))
    return found


def _halls(staging: Path) -> Iterator[Path]:
    if staging.is_dir():
        yield from (path for path in staging.iterdir() if path.is_dir() and len(path.name) == 36)
