"""What the hosts are sending now: the running jobs' progress, summed by the host that each of them asks. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from download_worker.jobs.job import Job

MIB = 1024 * 1024


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
