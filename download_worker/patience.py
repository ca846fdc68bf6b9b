"""What becomes of a job that got no file: it waits and tries again, or is FAILED with the reason.

Three kinds of trouble cost no try: those of this machine, those of a host that is away for all, and the silence of the
language model. Everything else is counted, and waits longer each time.
"""

from __future__ import annotations

from datetime import timedelta

from loguru import logger

from download_worker.errors import Code, Trouble, TryLater
from download_worker.jobs import moves
from download_worker.jobs.job import Job
from download_worker.jobs.moves import Move
from download_worker.settings import Settings
from download_worker.verifiers.verifier import Rejected
from download_worker.volumes import was_refused_a_byte
from download_worker.workshop import Workshop

TOO_LARGE_FOR_NOW_SECONDS = 5.0
TOO_LARGE_FOR_NOW_CAP_SECONDS = 60.0
"""How soon a job that alone does not fit on its volume is looked at again."""
NO_VERDICT_WAIT_CAP_SECONDS = 600.0

OF_THE_VOLUME = frozenset({Code.DISK_FULL, Code.UNMOUNTED})
NOT_THE_SOURCE = OF_THE_VOLUME | {Code.NO_VERDICT, Code.DATABASE_BUSY, Code.STORAGE}
"""Troubles of this machine or of the language model: the source is as good as before, and the try is not counted."""


def is_of_the_source(trouble: Trouble, job: Job) -> bool:
    """Whether another source may do better, and the try counts. A size that nobody but the host has told, and that does
    not fit, is no more than its word."""
    if trouble.code is Code.DISK_FULL:
        return job.model_info.size is None and not was_refused_a_byte(trouble)
    return trouble.code not in NOT_THE_SOURCE


def answer_to(trouble: Trouble, job: Job, shop: Workshop) -> Move:
    """What room 6 is to record when there is no file: wait and try again, or FAILED with the reason."""
    if (waiting := _nobodys_fault(trouble, job, shop)) is not None:
        return waiting
    wait_seconds = _patience(job, shop.settings, trouble)
    if wait_seconds is not None:
        logger.warning("{}; again in {:.0f} s", trouble.message, wait_seconds)
        until = shop.clock.now() + timedelta(seconds=wait_seconds)
        return moves.put_off(until, str(trouble), shop.at(), refund=not is_of_the_source(trouble, job))
    reason = str(trouble)
    if isinstance(trouble, TryLater):
        reason = f"{trouble.message}; given up after {job.tries} tries: retry it when that is mended"
    verdict = trouble.verdict() if isinstance(trouble, Rejected) else None
    return moves.failed(trouble.code, reason, shop.at(), verdict=verdict)


def _nobodys_fault(trouble: Trouble, job: Job, shop: Workshop) -> Move | None:
    """Its volume is full or its host away: no try is lost, and it goes on as soon as they are back."""
    if trouble.code in OF_THE_VOLUME:
        shut = shop.volumes.refused(job, trouble)
        if shut is None and is_of_the_source(trouble, job):
            return None
        told, seconds = (str(trouble), _too_large_for_now(job)) if shut is None else (shut.told, shut.pause_seconds)
    elif (wait := shop.hosts.wait_of(job, trouble)) is not None:
        told, seconds = wait
    else:
        return None
    logger.debug("job {} waits: {}", job.job_id, told)
    until = shop.clock.now() + min(timedelta(seconds=seconds), shop.settings.longest_wait)
    return moves.put_off(until, told, shop.at(), refund=True)


def _too_large_for_now(job: Job) -> float:
    base, cap = TOO_LARGE_FOR_NOW_SECONDS, TOO_LARGE_FOR_NOW_CAP_SECONDS
    return moves.backoff_seconds(job.attempts, base_seconds=base, cap_seconds=cap)


def _patience(job: Job, settings: Settings, trouble: Trouble) -> float | None:
    """Seconds until the next try; None when there is to be none."""
    if not isinstance(trouble, TryLater):
        return None
    if trouble.code is Code.NO_VERDICT:
        if settings.no_verdict == "fail":
            return None
        tries, cap = job.attempts, min(NO_VERDICT_WAIT_CAP_SECONDS, settings.backoff_cap_seconds)
    else:
        tries, cap = job.tries, settings.backoff_cap_seconds
        if tries >= settings.max_tries and is_of_the_source(trouble, job):
            return None
    wait = moves.backoff_seconds(tries, base_seconds=settings.backoff_base_seconds, cap_seconds=cap)
    return min(max(wait, trouble.retry_after_seconds or 0.0), settings.backoff_cap_seconds)
