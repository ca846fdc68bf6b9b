"""START HERE: the walk of one job, from its claim to its end. One way in, one way out, no way back.

    claimed ─ room 3: fetch ─ room 4: verify ─ room 5: promote ─ room 6: record

The rooms never see the ledger or each other; they take values and return values. This module carries those values from
room to room and writes into the ledger what became of them. A room that does not return a value raises one of these:
TryLater, GiveUp (with the reason), Refused, Interrupted (the engine knows why), or LostClaim (somebody else has the
job: write nothing).
"""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from download_worker.errors import (
    BadRequest,
    Code,
    GiveUp,
    Interrupted,
    LostClaim,
    Refused,
    Trouble,
    TryLater,
    told_without_secrets,
)
from download_worker.housekeeping import leaves_nothing, tidy
from download_worker.installers.installer import Installed
from download_worker.jobs import moves
from download_worker.jobs.job import Job, Result, Status, Verdict
from download_worker.jobs.moves import Move
from download_worker.jobs.proof import proof_by_digest
from download_worker.leash import Leash
from download_worker.patience import answer_to, is_of_the_source
from download_worker.room import Fetched, Room, entered, staging_for
from download_worker.sources import host_of, in_order, is_faithful
from download_worker.text import Redactor, public_url
from download_worker.verifiers.verifier import Rejected, Specimen, prove
from download_worker.workshop import Workshop


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
            move = answer_to(trouble, job, shop)
        except Exception as error:  # noqa: BLE001 - the wall of the house: one job must never stop the line
            logger.opt(exception=error).error("job {} met a fault of ours", job.job_id)
            move = answer_to(GiveUp(Code.INTERNAL, f"{type(error).__name__} in our own code"), job, shop)
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
    redact, sources = Redactor(shop.settings.secrets()), in_order(job, room, shop.hosts)
    refuted: list[str] = []
    later: TryLater | None = None
    for number, url in enumerate(sources, 1):
        is_last = number == len(sources)
        is_told = number == 1 and not job.promoting and _last_word(job) == moves.asks(url, job.attempts)
        mirrors = [other for other in sources if other != url and other not in refuted]
        try:
            with told_without_secrets(redact):
                file = _fetched(job, url, mirrors, shop, room, leash, is_told=is_told)
                specimen = Specimen(job_id=job.job_id, file=file, wanted=job.model_info)
                return file, prove(specimen, shop.verifiers, shop.rubric, leash)
        except TryLater as trouble:
            shop.hosts.failed(job, trouble, host_of(url))
            if is_last or not is_of_the_source(trouble, job) or is_faithful(job, url, room, shop.hosts):
                raise
            later = trouble
            logger.warning("{} has nothing for now ({}); trying the next source", public_url(url), trouble.message)
        except Rejected as refusal:
            shop.quarantine.record(job, url, refusal, room)
            if is_last or not refusal.elsewhere:
                raise
            refuted.append(url)
            logger.warning("{} gave a wrong file ({}); trying the next source", public_url(url), refusal.message)
        except (GiveUp, Refused, BadRequest) as trouble:
            if (is_last and later is None) or not _speaks_for_itself(trouble):
                raise
            logger.warning("{} cannot help ({})", public_url(url), trouble.message)
        if url in refuted or job.model_info.sha256 is None:
            room.empty()  # wrong, or without a digest that could tell it from another source's file
    assert later is not None, "a job has at least one source"  # noqa: S101 - for mypy
    raise later  # whoever may help then counts for more than whoever never will


def _speaks_for_itself(trouble: Trouble) -> bool:
    """Whether another source may still have the file: what one host does, or where its name leads, is its own."""
    if isinstance(trouble, GiveUp):
        return trouble.elsewhere
    return trouble.code in (Code.REFUSED_ADDRESS, Code.BAD_URL)


def _fetched(
    job: Job, url: str, mirrors: Sequence[str], shop: Workshop, room: Room, leash: Leash, *, is_told: bool
) -> Fetched:
    """Room 3. A file that is whole in the room comes back at once, and its job never leaves VERIFYING.

    `is_told`: the claim said already that this source is asked first.
    """
    shop.rubric.foresee(job.model_info)
    staged = room.whole_file() is not None
    if not staged:
        event = moves.asks(url, job.attempts)
        if not is_told:
            shop.ledger.change(job.claim, moves.downloading(event, shop.at()))
        logger.info("{}", event)
    inspect = shop.inspect(job.model_info.expected_filename)
    file = shop.fetcher.fetch(url, mirrors, job.model_info, room, leash, inspect)
    if not staged:
        shop.hosts.answered(leash.read().source or host_of(url))
    leash.progress(file.size, file.size)
    event = f"Verifying {file.size} bytes, SHA-256 {file.sha256}"
    shop.ledger.change(job.claim, moves.verifying(event, file.size, shop.at()))
    return file


def _last_word(job: Job) -> str:
    return job.history[-1].event if job.history else ""


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
