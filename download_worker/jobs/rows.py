"""A job as a row of the ledger, and a row as a job; also rows that are none any more.

A row may be damaged: edited by hand, or by a failing disk (faults P11, Q6). It hides no other one.
"""

from __future__ import annotations

from typing import Any

from loguru import logger
from sqlalchemy import Connection, Row, Select, select, update

from download_worker.errors import Code
from download_worker.jobs.job import LIVE, Job, Lease, Progress, Status
from download_worker.jobs.ledger import hosts_asked_by
from download_worker.jobs.tables import JOB_FIELDS, jobs, tallies

_CHANGING = {"history", "result"}
_ASKING = {"source", "retries", "trouble"}


def row_of(job: Job) -> dict[str, Any]:
    """By column."""
    info = job.model_info
    return {
        "job_id": job.job_id,
        "machine": job.machine,
        "target": str(job.target),
        "haystack": f"{info.expected_filename} {info.model_type} {info.host}".lower(),
        "added_at": job.added_at,
        "kind": job.kind,
        "models_root": str(job.models_root),
        "model_info": info.model_dump(mode="json"),
        **changes_of(job),
    }


def changes_of(job: Job) -> dict[str, Any]:
    """By column, what a move may change: not what the job is for.

    `host` names all hosts that will be asked, so that a claim can pass over jobs of which every host rests; a worker of
    the first release, which may write to the same ledger, names only one.
    """
    return {
        "host": " ".join(hosts_asked_by(job)),
        **job.model_dump(mode="json", include=_CHANGING),
        **progress_of(job.progress),
        "status": job.status,
        "priority": job.priority,
        "not_before": job.not_before,
        "paused": job.paused,
        "cancel_requested": job.cancel_requested,
        "promoting": job.promoting,
        "worker": job.worker,
        "attempts": job.attempts,
        "tries": job.tries,
        "lease": job.lease,
        "ended_at": None if job.live else job.history[-1].timestamp,
    }


def progress_of(progress: Progress) -> dict[str, Any]:
    """By column. A worker of the first release takes a progress with more keys than it knows for a damaged row."""
    return {
        "progress": progress.model_dump(mode="json", exclude=_ASKING),
        "asking": progress.model_dump(mode="json", include=_ASKING, exclude_defaults=True) or None,
    }


def job_of(row: Row[Any]) -> Job:
    """From a row of `JOB_FIELDS`. Raises ValueError when it is damaged."""
    values = dict(row._mapping)
    asking = values.pop("asking")
    if isinstance(asking, dict) and isinstance(values["progress"], dict):
        values["progress"] = {**values["progress"], **asking}
    if values["lease"] is not None:
        values["lease"] = Lease(*values["lease"])
    return Job.model_validate(values)


def read_jobs(connection: Connection, asked: Select[Any]) -> list[Job]:
    """The jobs that a query finds; a damaged row is left out and does not hide the others."""
    try:
        return [job_of(row) for row in connection.execute(asked)]
    except ValueError:
        seqs = connection.execute(asked.with_only_columns(jobs.c.seq)).scalars().all()
        return [job for seq in seqs if (job := whole_job(connection, seq)) is not None]


def whole_job(connection: Connection, seq: int) -> Job | None:
    """None when the row is no job any more: edited by hand, or by a failing disk (faults P11, Q6)."""
    try:
        return job_of(connection.execute(select(*JOB_FIELDS).where(jobs.c.seq == seq)).one())
    except ValueError as error:
        logger.error("row {} of the ledger is damaged: {}", seq, type(error).__name__)
        return None


def fail_damaged(connection: Connection, seq: int, at: str) -> None:
    """It keeps no worker from the next job. What it was stays in the row, for a person to see."""
    reason = "its row in the ledger is damaged"
    values = {
        "status": Status.FAILED,
        "worker": None,
        "lease": None,
        "ended_at": at,
        "history": [{"timestamp": at, "event": f"Failed ({Code.INTERNAL}): {reason}"}],
        "result": {"code": Code.INTERNAL, "reason": reason},
    }
    connection.execute(update(jobs).where(jobs.c.seq == seq).values(values))
    tally(connection, Status.FAILED, 1)


def tally(connection: Connection, status: Status, change: int) -> None:
    """Only ended jobs are tallied; the live ones are few, and have an index."""
    if status not in LIVE and change:
        connection.execute(update(tallies).where(tallies.c.status == status).values(number=tallies.c.number + change))
