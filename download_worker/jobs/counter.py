"""The counter: everything the doctor (or a person) may ask of the worker's jobs, and nothing else.

Handing in writes the ledger first and rings afterwards: a ring that is lost costs one sweep, never a job.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from download_worker.clock import Clock, iso
from download_worker.digests import sha256_of
from download_worker.errors import BadRequest, Code
from download_worker.jobs import moves
from download_worker.jobs.bell import Bell
from download_worker.jobs.job import Event, Job, JobId, ModelInfo, Progress, Result, Status
from download_worker.jobs.ledger import EVERYTHING, Added, Ledger, Question
from download_worker.jobs.places import FOLDERS, canonical_folder, safe_filename, safe_subfolder
from download_worker.jobs.proof import proof_by_digest
from download_worker.text import without_credentials

MAX_MIRRORS = 16
MAX_PRIORITY = 1_000_000
MAX_AGE_DAYS = 36_500
PAGE_JOBS = 500
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

Number = TypeVar("Number", int, float)

CheckUrl = Callable[[str], None]
"""Raises BadRequest(bad_url) when it is malformed, Refused when policy says no; looks up no name."""

CheckFolders = Callable[[Path, Path], None]
"""Notes where the models root and the model folder lie; raises TryLater(unmounted) when the volume is gone that one of
them lay on."""


class Counter:
    def __init__(
        self,
        ledger: Ledger,
        bell: Bell,
        clock: Clock,
        check_url: CheckUrl,
        check_folders: CheckFolders = lambda root, folder: None,
    ) -> None:
        self._ledger = ledger
        self._bell = bell
        self._clock = clock
        self._check_url = check_url
        self._check_folders = check_folders

    def submit(self, info: ModelInfo, models_root: Path, *, priority: int = 0) -> Added:
        """Hand in a job. A live job for the same target, or the right file in place, is answered as it stands.

        Raises:
            Refused: unsafe_name, unknown_folder, refused_address. BadRequest: bad_url, bad_digest.
            TryLater: unmounted. GiveUp: permission, storage: its folders cannot be looked at.
        """
        at = iso(self._clock.now())
        job = Job(
            job_id=JobId(str(uuid.uuid4())),
            status=Status.PENDING,
            added_at=at,
            model_info=self._checked(info),
            history=(Event(timestamp=at, event="Job created"),),
            priority=_in_bounds("priority", priority, MAX_PRIORITY),
            progress=Progress(total=info.size),
            models_root=models_root.absolute(),
        )
        self._check_folders(job.models_root, job.models_root / FOLDERS[job.model_info.model_type])
        if (done := self._already_there(job)) is not None:
            return done
        added = self._ledger.add(job)
        if not added.deduplicated:
            self._bell.ring(added.job)
        return added

    def get(self, job_id: str) -> Job:
        """By id, or by a beginning of it that only one job has. Raises BadRequest(unknown_job)."""
        return self._ledger.get(JobId(job_id))

    def jobs(self, question: Question = EVERYTHING) -> Sequence[Job]:
        return self._ledger.jobs(question)

    def counts(self) -> Mapping[Status, int]:
        return self._ledger.counts()

    def queue_paused(self) -> bool:
        return self._ledger.queue_paused()

    def retry(self, job_id: str) -> Job:
        """Raises BadRequest: unknown_job; wrong_moment when it is not FAILED or its target has a live job."""
        return self._rung(self._ledger.amend(JobId(job_id), moves.retried(self._at())))

    def retry_failed(self) -> tuple[Job, ...]:
        """Every job that is FAILED now and whose target has no live job; each once, however soon it fails again.

        What a person has cancelled stays so: it did not fail.
        """
        failed: list[Job] = []
        question = Question(statuses=frozenset({Status.FAILED}), limit=PAGE_JOBS)
        while page := self._ledger.jobs(question._replace(offset=len(failed))):
            failed += page
        wished = list(dict.fromkeys(job.job_id for job in failed if job.result.code != Code.CANCELLED))
        retried: list[Job] = []
        for begin in range(0, len(wished), PAGE_JOBS):
            page = self._ledger.amend_all(wished[begin : begin + PAGE_JOBS], moves.retried(self._at()))
            for job in page[:1]:
                self._rung(job)  # whoever hears it takes all that it has a place for
            retried += page
        return tuple(retried)

    def cancel(self, job_id: str) -> Job:
        """At once if nobody works on it, else within a heartbeat; after its end the job is answered as it is."""
        job = self._ledger.amend(JobId(job_id), moves.cancel_requested(self._at()))
        self._bell.ring(job)  # also when it has ended: a worker then clears its bytes away
        return job

    def pause(self, job_id: str) -> Job:
        return self._ledger.amend(JobId(job_id), moves.paused(self._at(), pause=True))

    def resume(self, job_id: str) -> Job:
        return self._rung(self._ledger.amend(JobId(job_id), moves.paused(self._at(), pause=False)))

    def pause_queue(self) -> None:
        self._ledger.pause_queue(True)

    def resume_queue(self) -> None:
        self._ledger.pause_queue(False)
        for job in self._ledger.jobs(Question(limit=1)):  # what is live comes before what has ended
            self._rung(job)

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Higher goes first. A running job keeps running. Raises BadRequest(bad_setting) beyond `MAX_PRIORITY`."""
        _in_bounds("priority", priority, MAX_PRIORITY)
        return self._ledger.amend(JobId(job_id), moves.prioritised(priority, self._at()))

    def prune(self, older_than_days: float) -> int:
        """Forget ended jobs; their files stay. Returns how many. Raises BadRequest(bad_setting) beyond bounds."""
        _in_bounds("days", older_than_days, MAX_AGE_DAYS)
        return self._ledger.prune(self._clock.now() - timedelta(days=older_than_days))

    def _at(self) -> str:
        return iso(self._clock.now())

    def _rung(self, job: Job) -> Job:
        if job.live:
            self._bell.ring(job)
        return job

    def _checked(self, info: ModelInfo) -> ModelInfo:
        digest = info.sha256.lower() if info.sha256 else None
        if digest is not None and not _SHA256.match(digest):
            raise BadRequest(Code.BAD_DIGEST, f"“{digest[:80]}” is no SHA-256")
        if info.size is not None and info.size < 0:
            raise BadRequest(
                Code.BAD_DIGEST, f"a size of {info.size} bytes is not possible", hint="give the size in bytes"
            )
        if len(info.mirrors) > MAX_MIRRORS:
            raise BadRequest(
                Code.BAD_URL, f"{len(info.mirrors)} mirrors are too many", hint=f"give at most {MAX_MIRRORS}"
            )
        for url in info.sources:
            self._check_url(url)
        return info.model_copy(
            update={
                "expected_filename": safe_filename(info.expected_filename),
                "model_type": canonical_folder(info.model_type),
                "subfolder": safe_subfolder(info.subfolder),
                "download_url": without_credentials(info.download_url),
                "mirrors": tuple(without_credentials(url) for url in info.mirrors),
                "sha256": digest,
            }
        )

    def _already_there(self, job: Job) -> Added | None:
        """The disk is asked, not the ledger: a SUCCESS of last month says nothing about today's bytes."""
        info, former = job.model_info, self._ledger.latest_for(job)
        wanted = info.sha256
        if wanted is None and former is not None and former.model_info.download_url == info.download_url:
            wanted = former.result.sha256
        if wanted is None or _digest_of(job.target) != wanted:
            return None
        if former is not None and former.result.sha256 == wanted:
            return Added(former, deduplicated=True)
        result = Result(path=str(job.target), sha256=wanted, proof=proof_by_digest(info))
        size = job.target.stat().st_size
        there = Event(timestamp=job.added_at, event="The file is already in place with the right digest")
        done = job.model_copy(
            update={
                "status": Status.SUCCESS,
                "result": result,
                "history": (*job.history, there),
                "progress": Progress(bytes=size, total=size),
            }
        )
        return Added(self._ledger.add(done).job, deduplicated=True)


def _digest_of(path: Path) -> str | None:
    """None also where it cannot be read: the worker will find out why, and say so."""
    try:
        return sha256_of(path) if path.is_file() else None
    except OSError:
        return None


def _in_bounds(name: str, number: Number, bound: int) -> Number:
    if not -bound <= number <= bound:  # so that NaN is none, either
        raise BadRequest(Code.BAD_SETTING, f"{name} {number} is out of bounds", hint=f"stay within ±{bound}")
    return number
