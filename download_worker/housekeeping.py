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
from download_worker.room import STAGING_BESIDE_MODELS, leave_for_good

# Jobs that failed with these leave nothing worth keeping; after the others a retry goes on from the bytes on disk.
_NOTHING_TO_KEEP = frozenset({Code.CANCELLED, Code.REJECTED_BY_RUBRIC, Code.HASH_MISMATCH, Code.BROKEN_STRUCTURE})


def clear_staging(shop: Workshop) -> None:
    """Once at start: forget old jobs, then remove rooms that no job can come back to."""
    shop.ledger.prune(shop.clock.now() - timedelta(days=shop.settings.keep_days))
    for staging in _stagings(shop):
        for hall in _halls(staging):
            if _is_over(shop.ledger, JobId(hall.name)):
                try:
                    leave_for_good(staging, JobId(hall.name))
                    logger.info("removed what was left in {}", hall)
                except Trouble as trouble:
                    logger.warning("could not remove {}: {}", hall, trouble)


def _stagings(shop: Workshop) -> set[Path]:
    roots = {job.models_root for job in shop.ledger.jobs()}
    return {shop.settings.staging, *(root / STAGING_BESIDE_MODELS for root in roots)}


def _halls(staging: Path) -> Iterator[Path]:
    if staging.is_dir():
        yield from (path for path in staging.iterdir() if path.is_dir() and len(path.name) == 36)


def _is_over(ledger: Ledger, job_id: JobId) -> bool:
    try:
        job = ledger.get(job_id)
    except BadRequest:
        return True
    return job.status is Status.SUCCESS or (job.status is Status.FAILED and job.result.code in _NOTHING_TO_KEEP)
