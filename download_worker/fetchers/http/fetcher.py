"""Fetching one file over HTTP: a part file, the sources that may fill it, and a crew that does.

One attempt makes many connections by itself, seconds apart; real patience, and the count of tries that no progress
refills, belong to the ledger. A file that is whole in the room is handed over without a question to anybody.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from download_worker.fetchers.fetcher import Inspect
from download_worker.fetchers.http.assembly import Assembly
from download_worker.fetchers.http.berths import Berths
from download_worker.fetchers.http.buffers import MOST_LANES, Pool
from download_worker.fetchers.http.crew import Crew, Terms
from download_worker.fetchers.http.part import Part, fetched, opened
from download_worker.fetchers.http.ranges import Limits, can_be_split
from download_worker.fetchers.http.sources import Source
from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.pace import UNLIMITED, Pace
from download_worker.room import Fetched, Journal, Room, source_key
from download_worker.settings import MAX_JOBS, Settings
from download_worker.web.session import Web


class HttpFetcher:
    """The Fetcher for http and https. `pause_seconds` is the unit of the growing pauses between two connections.

    `file_mode` is the one that a whole file is to have in its place.
    """

    def __init__(
        self,
        web: Web,
        settings: Settings,
        *,
        pace: Pace = UNLIMITED,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        pause_seconds: float = 0.5,
        file_mode: int | None = None,
    ) -> None:
        self._web = web
        self._settings = settings
        self._pace = pace
        self._pool = Pool()
        self._berths = Berths(settings.connections_per_host, MOST_LANES - MAX_JOBS)
        self._free_bytes = free_bytes
        self._pause_seconds = pause_seconds
        self._file_mode = file_mode

    def fetch(
        self, url: str, mirrors: Sequence[str], wanted: ModelInfo, room: Room, leash: Leash, inspect: Inspect
    ) -> Fetched:
        whole = room.whole_file()
        if whole is not None and _is_the_file(whole, url, wanted):
            return fetched(room, whole, whole.durable_bytes)
        former = room.journal()
        with opened(
            room,
            self._pool,
            inspect,
            lambda: self._free_bytes(room.folder),
            checkpoint_bytes=self._settings.checkpoint_bytes,
            reserve_bytes=self._settings.disk_reserve_bytes,
            file_mode=self._file_mode,
            leash=leash,
        ) as part:
            if former is not None and former.durable and _may_go_on(former, url, wanted):
                part.resume(former)
            else:
                part.clear()
            return self._crew((url, *mirrors), wanted, part, leash, str(room.folder.parent.name)).run()

    def _crew(self, urls: Sequence[str], wanted: ModelInfo, part: Part, leash: Leash, job: str) -> Crew:
        settings = self._settings
        sources = [Source(url, settings.connections_per_file) for url in urls]
        assembly = Assembly(part, sources, wanted, Limits(wanted.size, settings.max_file_bytes))
        terms = Terms(self._web, self._pace, self._berths, settings, job, self._pause_seconds)
        return Crew(terms, assembly, sources, wanted, leash)


def _is_the_file(whole: Journal, url: str, wanted: ModelInfo) -> bool:
    """Whether a whole file is this source's, right or wrong, or has the digest that is wanted."""
    return whole.sha256 == wanted.sha256 or (whole.lead is not None and whole.lead.source == source_key(url))


def _may_go_on(former: Journal, url: str, wanted: ModelInfo) -> bool:
    """Whether what is here can become the file at this URL: it began there, or a digest will judge it."""
    if wanted.sha256 is not None:
        return former.sha256 in (None, wanted.sha256)
    lead = former.lead
    return lead is not None and lead.source == source_key(url) and can_be_split(lead, wanted)
