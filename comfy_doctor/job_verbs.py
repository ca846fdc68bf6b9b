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
    return Report(report.command, data={**report.data, "counts": counts, "queue_paused": counter.queue_paused()})


def change(counter: Counter, command: str, job_id: str | None) -> Report:
    """One job, or with None: every failed one (retry), the whole queue (pause, resume)."""
    if job_id is not None:
        before = counter.get(job_id)
        job = _ONE_JOB[command](counter, before.job_id)
        return jobs_report(command, [job], *([] if command == "show" else [_outcome(command, before, job)]))
    if command == "retry":
        retried = counter.retry_failed()
        return jobs_report(command, retried, f"{len(retried)} jobs are tried again")
    (counter.pause_queue if command == "pause" else counter.resume_queue)()
    return jobs_report(command, (), "the queue is paused" if command == "pause" else "the queue goes on")


def prioritise(counter: Counter, job_id: str, number: int) -> Report:
    """Raises BadRequest: unknown_job; bad_setting beyond the counter's bounds."""
    before = counter.get(job_id)
    job = counter.prioritise(before.job_id, number)
    return jobs_report("priority", [job], _outcome("priority", before, job))


def _outcome(command: str, before: Job, job: Job) -> str:
    """Every change leaves an event behind; where there is none, nothing was to be done."""
    if job.history == before.history:
        why = f"it is {job.status} already" if not job.live else _ALREADY[command]
        return f"nothing changed: {_line(job)}: {why}"
    if command == "cancel" and job.live:
        return f"asked its worker to stop: {_line(job)}"
    return f"{_DONE[command]}: {_line(job)}"


_ONE_JOB: MappingProxyType[str, Callable[[Counter, str], Job]] = MappingProxyType(
    {
        "show": Counter.get,
        "retry": Counter.retry,
        "cancel": Counter.cancel,
        "pause": Counter.pause,
        "resume": Counter.resume,
    }
)
_DONE = MappingProxyType(
    {
        "retry": "tried again",
        "cancel": "cancelled",
        "pause": "paused",
        "resume": "goes on",
        "priority": "in its new turn",
    }
)
_ALREADY = MappingProxyType(
    {
        "cancel": "its worker is told already, or puts the file in place just now",
        "pause": "it is paused already",
        "resume": "it is not paused",
        "priority": "it has that priority already",
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
    """The shape that every command under `jobs` answers with."""
    return Report(f"jobs {command}", data={"jobs": [job.public() for job in jobs]}, messages=messages)


def _line(job: Job) -> str:
    return f"{job.job_id[:8]} {job.status} {job.model_info.expected_filename}"
