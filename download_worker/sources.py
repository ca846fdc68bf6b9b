"""In which order a job's sources are asked, and when one is left for the next."""

from __future__ import annotations

from urllib.parse import urlsplit

from download_worker.hosts import Hosts
from download_worker.jobs.job import Job
from download_worker.room import Room, source_key

FAITHFUL_TRIES = 2
"""So often a source is gone back to for the rest of a file; then the next source may begin it anew."""


def in_order(job: Job, room: Room, hosts: Hosts) -> list[str]:
    """The job's sources: first the one whose bytes are in the room, last those whose host is away; but where no digest
    could tell another source's file, only the first one can go on with those bytes."""
    journal = room.journal()
    lead = None if journal is None else journal.lead

    def turn(url: str) -> tuple[bool, bool]:
        begun = lead is not None and lead.source == source_key(url)
        bound = begun and job.model_info.sha256 is None
        return not bound and hosts.away(host_of(url)), not begun

    return sorted(job.model_info.sources, key=turn)


def is_faithful(job: Job, url: str, room: Room, hosts: Hosts) -> bool:
    """Whether the job waits for this source, which has something of the file, although there are others."""
    if job.model_info.sha256 is not None and hosts.away(host_of(url)):
        return False
    return room.has_durable_bytes() and job.tries <= FAITHFUL_TRIES


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""
