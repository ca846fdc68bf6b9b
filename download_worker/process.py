"""START HERE: the walk of one job, from its claim to its end. One way in, one way out, no way back.

    claimed ─ room 3: fetch ─ room 4: verify ─ room 5: promote ─ room 6: record

The rooms never see the ledger or each other; they take values and return values. This module carries those values from
room to room and writes into the ledger what became of them. A room that does not return a value raises one of these:
TryLater, GiveUp (with the reason), Refused, Interrupted (the engine knows why), or LostClaim (somebody else has the
job: write nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from loguru import logger

from download_worker.errors import Code, GiveUp, Interrupted, LostClaim, Trouble, TryLater
from download_worker.hosts import Hosts
from download_worker.housekeeping import leaves_nothing, tidy
from download_worker.installers.installer import Installed
from download_worker.jobs import moves
from download_worker.jobs.job import Job, Result, Status, Verdict
from download_worker.jobs.moves import Move
from download_worker.jobs.proof import proof_by_digest
from download_worker.leash import Leash
from download_worker.room import Fetched, Room, entered, source_key, staging_for
from download_worker.settings import Settings
from download_worker.text import public_url
from download_worker.verifiers.verifier import Rejected, Specimen, prove
from download_worker.workshop import Workshop

TOO_LARGE_FOR_NOW_SECONDS = 5.0
TOO_LARGE_FOR_NOW_CAP_SECONDS = 60.0
"""How soon, and after some times how soon at most, a job that alone does not fit on its volume is looked at again."""
NO_VERDICT_WAIT_CAP_SECONDS = 600.0
FAITHFUL_TRIES = 2
"""So often a source is gone back to for the rest of a file; then the next source may begin it anew."""


def process(job: Job, shop: Workshop, leash: Leash) -> Job:
    """Walk one claimed job to the end of this attempt, and record it. Returns the job as it stands then.

    Raises Interrupted and LostClaim, and nothing else but what keeps the ledger itself from being written.
    """
    with logger.contextualize(job_id=job.job_id):
        try:
            result, event = _walk(job, shop, leash)
            move = moves.succeeded(result, event, shop.at())
        except (Interrupted, LostClaim):
            raise
        except Trouble as trouble:
            move = _answer_to(trouble, job, shop)
        except Exception as error:  # noqa: BLE001 - the wall of the house: one job must never stop the line
            logger.opt(exception=error).error("job {} met a fault of ours", job.job_id)
            move = _answer_to(GiveUp(Code.INTERNAL, f"{type(error).__name__} in our own code"), job, shop)
        return record(job, shop, move)


def record(job: Job, shop: Workshop, move: Move) -> Job:
    """Room 6: one write in the ledger. Only then may the staging go: a lost claim's would be somebody else's."""
    after = shop.ledger.change(job.claim, move)
    if leaves_nothing(after):
        tidy(after, shop.settings)
    if after.status is Status.SUCCESS:
        logger.info("{} is in place: {}", job.model_info.expected_filename, after.result.path)
    elif after.status is Status.FAILED:
        logger.error("{} failed: {}", job.model_info.expected_filename, after.result.reason)
    return after


def _walk(job: Job, shop: Workshop, leash: Leash) -> tuple[Result, str]:
    """Rooms 3 to 5. Returns what room 6 is to record as SUCCESS."""
    there = shop.installer.present(_as_promised(job), leash)
    if there is not None:
        return _in_place(job, there), f"Already in place: {there.path}"

    shop.volumes.check_mounted(job)
    staging = staging_for(job.target, shop.settings.staging, job.models_root)
    with entered(staging, job.job_id, job.attempts) as room:
        shop.volumes.check_room(job, room.part)
        file, verdict = _proven(job, shop, room, leash)
        promise = Result(path=str(job.target), sha256=file.sha256, proof=verdict.proof, verdict=verdict)
        if not record(job, shop, moves.promoting(promise, shop.at())).live:
            raise LostClaim(job.claim)  # cancelled at the last moment, and recorded so
        installed = shop.installer.install(job, file, leash)
    if file.pieces:
        shop.ledger.keep_pieces(file.sha256, file.size, file.pieces, shop.clock.now())
    word = "Was in place already" if installed.already_present else "In place"
    return promise.model_copy(update={"path": str(installed.path)}), f"{word}: {installed.path}"


def _proven(job: Job, shop: Workshop, room: Room, leash: Leash) -> tuple[Fetched, Verdict]:
    """Rooms 3 and 4, led by one source after the other until one gives the right file; the others help it."""
    sources = _in_order(job, room, shop.hosts)
    refuted: list[str] = []
    for url, is_last in zip(sources, [*[False] * (len(sources) - 1), True], strict=True):
        mirrors = [other for other in sources if other != url and other not in refuted]
        try:
            file = _fetched(job, url, mirrors, shop, room, leash)
            specimen = Specimen(job_id=job.job_id, file=file, wanted=job.model_info)
            return file, prove(specimen, shop.verifiers, shop.rubric, leash)
        except TryLater as trouble:
            shop.hosts.failed(job, trouble, _host_of(url))
            elsewhere = job.model_info.sha256 is not None and shop.hosts.away(_host_of(url))
            faithful = room.has_durable_bytes() and job.tries <= FAITHFUL_TRIES and not elsewhere
            if is_last or faithful or trouble.code in _NOT_THE_SOURCE:
                raise
            logger.warning("{} has nothing for now ({}); trying the next source", public_url(url), trouble.message)
        except Rejected as refusal:
            shop.quarantine.record(job, url, refusal, room)
            if is_last or not refusal.elsewhere:
                raise
            refuted.append(url)
            logger.warning("{} gave a wrong file ({}); trying the next source", public_url(url), refusal.message)
        except GiveUp as trouble:
            if is_last or not trouble.elsewhere:
                raise
            logger.warning("{} cannot help ({}); trying the next source", public_url(url), trouble.message)
        if url in refuted or job.model_info.sha256 is None:
            room.empty()  # wrong, or without a digest that could tell it from another source's file
    raise AssertionError("a job has at least one source")


def _fetched(job: Job, url: str, mirrors: Sequence[str], shop: Workshop, room: Room, leash: Leash) -> Fetched:
    """Room 3. A file that is whole in the room comes back at once, and its job never leaves VERIFYING."""
    shop.rubric.foresee(job.model_info)
    staged = room.whole_file() is not None
    if not staged:
        event = f"Downloading from {public_url(url)} (attempt {job.attempts})"
        shop.ledger.change(job.claim, moves.downloading(event, shop.at()))
        logger.info("{}", event)
    inspect = shop.inspect(job.model_info.expected_filename)
    file = shop.fetcher.fetch(url, mirrors, job.model_info, room, leash, inspect)
    if not staged:
        shop.hosts.answered(leash.read().source or _host_of(url))
    leash.progress(file.size, file.size)
    event = f"Verifying {file.size} bytes, SHA-256 {file.sha256}"
    shop.ledger.change(job.claim, moves.verifying(event, file.size, shop.at()))
    return file


def _answer_to(trouble: Trouble, job: Job, shop: Workshop) -> Move:
    """What room 6 is to record when there is no file: wait and try again, or FAILED with the reason."""
    if (waiting := _nobodys_fault(trouble, job, shop)) is not None:
        return waiting
    wait_seconds = _patience(job, shop.settings, trouble)
    if wait_seconds is not None:
        logger.warning("{}; again in {:.0f} s", trouble.message, wait_seconds)
        until = shop.clock.now() + timedelta(seconds=wait_seconds)
        return moves.put_off(until, str(trouble), shop.at(), refund=trouble.code in _NOT_THE_SOURCE)
    reason = str(trouble)
    if isinstance(trouble, TryLater):
        reason = f"{trouble.message}; given up after {job.tries} tries: retry it when that is mended"
    verdict = trouble.verdict() if isinstance(trouble, Rejected) else None
    return moves.failed(trouble.code, reason, shop.at(), verdict=verdict)


def _nobodys_fault(trouble: Trouble, job: Job, shop: Workshop) -> Move | None:
    """Its volume is full or its host away: no try is lost, and it goes on as soon as they are back."""
    if trouble.code in _OF_THE_VOLUME:
        shut = shop.volumes.refused(job, trouble)
        told, seconds = (str(trouble), _too_large_for_now(job)) if shut is None else (shut.told, shut.pause_seconds)
    elif (wait := shop.hosts.wait_of(job, trouble)) is not None:
        told, seconds = wait
    else:
        return None
    logger.debug("job {} waits: {}", job.job_id, told)
    return moves.put_off(shop.clock.now() + timedelta(seconds=seconds), told, shop.at(), refund=True)


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
        if tries >= settings.max_tries:
            return None
    wait = moves.backoff_seconds(tries, base_seconds=settings.backoff_base_seconds, cap_seconds=cap)
    return min(max(wait, trouble.retry_after_seconds or 0.0), settings.backoff_cap_seconds)


# Troubles of this machine or of the language model: the source is as good as before, and the try is not counted.
_OF_THE_VOLUME = frozenset({Code.DISK_FULL, Code.UNMOUNTED})
_NOT_THE_SOURCE = _OF_THE_VOLUME | {Code.NO_VERDICT, Code.DATABASE_BUSY}


def _in_order(job: Job, room: Room, hosts: Hosts) -> list[str]:
    """The job's sources: first the one whose bytes are in the room, last those whose host is away; but where no digest
    could tell another source's file, only the first one can go on with those bytes."""
    journal = room.journal()
    lead = None if journal is None else journal.lead

    def turn(url: str) -> tuple[bool, bool]:
        begun = lead is not None and lead.source == source_key(url)
        bound = begun and job.model_info.sha256 is None
        return not bound and hosts.away(_host_of(url)), not begun

    return sorted(job.model_info.sources, key=turn)


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def _as_promised(job: Job) -> Job:
    """A job that died while its file was being put in place knows that file's digest."""
    if not job.promoting or job.result.sha256 is None:
        return job
    info = job.model_info.model_copy(update={"sha256": job.result.sha256})
    return job.model_copy(update={"model_info": info})


def _in_place(job: Job, there: Installed) -> Result:
    info = job.model_info
    promised = job.result if job.promoting else Result(sha256=info.sha256, proof=proof_by_digest(info))
    return promised.model_copy(update={"path": str(there.path), "code": None, "reason": None})
