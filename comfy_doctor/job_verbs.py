"""Jobs by hand: hand one in, list them, and everything a person may do with them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from download_worker.errors import BadRequest, Code
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Job, ModelInfo, Status
from download_worker.jobs.ledger import Added, Question
from download_worker.report import Report


def enqueue(counter: Counter, info: ModelInfo, models_root: Path, *, priority: int = 0) -> Report:
    """Raises Refused and BadRequest as `Counter.submit` does."""
    added = counter.submit(info, models_root, priority=priority)
    word = "already there" if added.deduplicated else "queued"
    return Report(
        "enqueue", data={"jobs": [public(added)]}, messages=(f"{word}: {_line(added.job)} → {added.job.target}",)
    )


def list_jobs(counter: Counter, statuses: Sequence[str], text: str, limit: int) -> Report:
    """Raises BadRequest(bad_setting) for a status that does not exist."""
    try:
        wanted = frozenset(Status(status.upper()) for status in statuses)
    except ValueError as error:
        hint = f"use one of {', '.join(Status)}"
        raise BadRequest(Code.BAD_SETTING, f"there is no such status: {', '.join(statuses)}", hint=hint) from error
    counts = {str(status): number for status, number in counter.counts().items()}
    report = jobs_report("list", counter.jobs(Question(wanted, text, limit)))
    return Report("list", data={**report.data, "counts": counts, "queue_paused": counter.queue_paused()})


def change(counter: Counter, command: str, job_id: str | None) -> Report:
    """One job, or with None: every failed one (retry), the whole queue (pause, resume)."""
    if job_id is not None:
        verb, word = _ONE_JOB[command]
        job = verb(counter, job_id)
        return jobs_report(command, [job], *([f"{word}: {_line(job)}"] if word else []))
    if command == "retry":
        retried = counter.retry_failed()
        return jobs_report(command, retried, f"{len(retried)} jobs are tried again")
    (counter.pause_queue if command == "pause" else counter.resume_queue)()
    return jobs_report(command, (), "the queue is paused" if command == "pause" else "the queue goes on")


_ONE_JOB: MappingProxyType[str, tuple[Callable[[Counter, str], Job], str]] = MappingProxyType(
    {
        "show": (Counter.get, ""),
        "retry": (Counter.retry, "tried again"),
        "cancel": (Counter.cancel, "cancel"),
        "pause": (Counter.pause, "paused"),
        "resume": (Counter.resume, "goes on"),
    }
)


def filename_in(url: str) -> str:
    """The last part of the URL's path, empty when it is no URL. The rules for both decide later."""
    try:
        return unquote(PurePosixPath(urlsplit(url).path).name)
    except ValueError:
        return ""


def public(added: Added) -> dict[str, Any]:
    return added.job.public() | {"deduplicated": added.deduplicated}


def jobs_report(command: str, jobs: Iterable[Job], *messages: str) -> Report:
    """The shape that every verb about jobs answers with."""
    return Report(command, data={"jobs": [job.public() for job in jobs]}, messages=messages)


def _line(job: Job) -> str:
    return f"{job.job_id[:8]} {job.status} {job.model_info.expected_filename}"
