"""What the hosts are sending now, and what is waited for: the jobs' own rows, summed by host. Pure.

Which hosts rest and which volumes are full only the worker knows; but every job that it has put off says why, and until
when, so that it can be told without asking that process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from download_worker.clock import iso
from download_worker.jobs.job import Event, Job

MIB = 1024 * 1024
MAX_JOBS_LOOKED_AT = 10_000


class Traffic(NamedTuple):
    """Of one host. `retries` counts the connections of the running attempts that ended badly."""

    host: str
    jobs: int
    connections: int
    bytes_per_second: float
    retries: int

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "bytes_per_second": round(self.bytes_per_second)}

    def __str__(self) -> str:
        jobs, lines = _counted(self.jobs, "job"), _counted(self.connections, "connection")
        retries = f", {_counted(self.retries, 'retry', 'retries')}" if self.retries else ""
        return f"{self.host}: {self.bytes_per_second / MIB:.1f} MiB/s, {jobs}, {lines}{retries}"


class Waiting(NamedTuple):
    """Jobs of one host that were put off. `until` is when the first of them is due, `reason` what was said of one of
    them last; `in_line` are the others of that host that nobody has begun."""

    host: str
    jobs: int
    in_line: int
    until: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return self._asdict()

    def __str__(self) -> str:
        line = f", {self.in_line} more in line" if self.in_line else ""
        waits = "waits" if self.jobs == 1 else "wait"
        return f"{self.host}: {_counted(self.jobs, 'job')} {waits} until {self.until}{line}: {self.reason}"


def waiting_by_host(jobs: Iterable[Job], now: datetime) -> tuple[Waiting, ...]:
    """The host with the most jobs that were put off first. Running, paused and ended jobs are left out."""
    put_off: dict[str, list[Job]] = defaultdict(list)
    in_line: dict[str, int] = defaultdict(int)
    for job in jobs:
        if job.worker is not None or job.paused or not job.live:
            continue
        if job.not_before is not None and job.not_before > iso(now):
            put_off[job.model_info.host].append(job)
        else:
            in_line[job.model_info.host] += 1
    found = (
        Waiting(
            *(host, len(group), in_line[host]),
            until=min(job.not_before or "" for job in group),
            reason=max((job.history[-1] for job in group if job.history), key=_said_at).event,
        )
        for host, group in put_off.items()
    )
    return tuple(sorted(found, key=lambda waiting: (-waiting.jobs, waiting.host)))


def _said_at(event: Event) -> str:
    return event.timestamp


def by_host(jobs: Iterable[Job]) -> tuple[Traffic, ...]:
    """The fastest host first. Jobs that nobody works at are left out."""
    running: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.worker is not None:
            running[job.progress.source or job.model_info.host].append(job)
    found = (
        Traffic(
            host,
            len(group),
            sum(job.progress.connections for job in group),
            sum(job.progress.bytes_per_second or 0.0 for job in group),
            sum(job.progress.retries for job in group),
        )
        for host, group in running.items()
    )
    return tuple(sorted(found, key=lambda traffic: (-traffic.bytes_per_second, traffic.host)))


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
