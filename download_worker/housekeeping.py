"""What nobody else clears away: staging of jobs that have ended or are unknown, and ended jobs that are old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from loguru import logger

from download_worker.errors import BadRequest, Code, Trouble
from download_worker.jobs.job import JobId, Status
from download_worker.jobs.ledger import Ledger
from download_worker.process import Workshop
from download_worker.room import is_occupied, leave_for_good, staging_for, storage_errors

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


def clear_staging(shop: Workshop) -> None:
    """Once at start: forget old jobs and rejected files, then remove rooms that no job can come back to.

    A staging folder beside models may also hold rooms of another home, whose jobs we do not know: nothing is removed
    while a process works in it.
    """
    now = shop.clock.now()
    shop.ledger.prune(now - timedelta(days=shop.settings.keep_days))
    shop.quarantine.prune(now)
    for staging in _stagings(shop):
        try:
            with storage_errors(staging):
                _clear(staging, shop.ledger)
        except Trouble as trouble:
            logger.warning("could not clear {} up: {}; the next start tries again", staging, trouble)


def _clear(staging: Path, ledger: Ledger) -> None:
    for hall in _halls(staging):
        job_id = JobId(hall.name)
        if _is_over(ledger, job_id) and not is_occupied(staging, job_id):
            leave_for_good(staging, job_id)
            logger.info("removed what was left in {}", hall)


def _stagings(shop: Workshop) -> set[Path]:
    home = shop.settings.staging
    return {home, *(staging_for(job.target, home, job.models_root) for job in shop.ledger.jobs())}


def _halls(staging: Path) -> Iterator[Path]:
    if staging.is_dir():
        yield from (path for path in staging.iterdir() if path.is_dir() and len(path.name) == 36)


def _is_over(ledger: Ledger, job_id: JobId) -> bool:
    try:
        job = ledger.get(job_id)
    except BadRequest:
        return True
    return job.status is Status.SUCCESS or (job.status is Status.FAILED and job.result.code in _NOTHING_TO_KEEP)
