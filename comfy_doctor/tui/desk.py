"""The dashboard's side of the counter: what it asks, and the frozen picture that comes back.

`look` blocks (it reads a database) and is therefore only ever called in a thread; so is every verb of `Jobs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from download_worker.errors import BadRequest
from download_worker.jobs.job import LIVE, Job, JobId, Status
from download_worker.jobs.ledger import Question

PAGE_JOBS = 200
MAX_RUNNING_JOBS = 50
MAX_SEARCH_CHARS = 100
MAX_PRIORITY = 1000

_RUNNING = frozenset({Status.DOWNLOADING, Status.VERIFYING})


class Jobs(Protocol):
    """What the dashboard needs of `download_worker.jobs.counter.Counter`. Everything may raise Trouble, and may block."""

    def jobs(self, question: Question = ...) -> Sequence[Job]: ...

    def counts(self) -> Mapping[Status, int]: ...

    def get(self, job_id: str) -> Job: ...

    def queue_paused(self) -> bool: ...

    def retry(self, job_id: str) -> Job: ...

    def retry_failed(self) -> tuple[Job, ...]: ...

    def cancel(self, job_id: str) -> Job: ...

    def pause(self, job_id: str) -> Job: ...

    def resume(self, job_id: str) -> Job: ...

    def prioritise(self, job_id: str, priority: int) -> Job: ...

    def pause_queue(self) -> None: ...

    def resume_queue(self) -> None: ...


CountWorkers = Callable[[], int]


class Show(Enum):
    """Which jobs the table shows."""

    ALL = "all"
    LIVE = "live"
    FAILED = "failed"
    DONE = "done"

    @property
    def statuses(self) -> frozenset[Status]:
        """Empty means every status, as in `Question`."""
        return _SHOWN[self]

    @property
    def next(self) -> Show:
        shows = list(Show)
        return shows[(shows.index(self) + 1) % len(shows)]


_SHOWN = MappingProxyType(
    {
        Show.ALL: frozenset[Status](),
        Show.LIVE: LIVE,
        Show.FAILED: frozenset({Status.FAILED}),
        Show.DONE: frozenset({Status.SUCCESS}),
    }
)


@dataclass(frozen=True)
class View:
    """What the person wants to see. `reading` is the job whose detail stays open, wherever the list goes."""

    show: Show = Show.ALL
    text: str = ""
    offset: int = 0
    reading: JobId | None = None

    def turned(self, pages: int) -> View:
        return replace(self, offset=max(0, self.offset + pages * PAGE_JOBS))

    @property
    def same_list(self) -> tuple[Show, str, int]:
        return self.show, self.text, self.offset


@dataclass(frozen=True)
class Snapshot:
    """One look at the ledger. `page` counts the jobs of this page of the list; `jobs` may begin with running ones beside them."""

    view: View
    jobs: tuple[Job, ...]
    page: int
    more: bool
    counts: Mapping[Status, int]
    bytes_per_second: float
    queue_paused: bool
    workers: int | None
    reading: Job | None

    @property
    def total(self) -> int | None:
        """How many jobs this list has over all pages; None under a search, where only the ledger could count them."""
        if self.view.text:
            return None
        return self.count(self.view.show)

    def count(self, show: Show) -> int:
        return sum(count for status, count in self.counts.items() if not show.statuses or status in show.statuses)

    @property
    def turn(self) -> tuple[int, int]:
        """The first and last number of this page in the list, counted from 1; (0, 0) when it is empty."""
        return (self.view.offset + 1, self.view.offset + self.page) if self.page else (0, 0)


def look(jobs: Jobs, view: View, count_workers: CountWorkers | None = None) -> Snapshot:
    """Ask everything that one picture needs: a page of jobs, what runs, and the counts. Raises Trouble.

    One job more than a page is asked for, which tells whether there is a next page.
    """
    page = tuple(jobs.jobs(Question(view.show.statuses, view.text, PAGE_JOBS + 1, view.offset)))
    running = tuple(job for job in jobs.jobs(Question(_RUNNING, limit=MAX_RUNNING_JOBS)) if job.worker is not None)
    listed = page[:PAGE_JOBS]
    return Snapshot(
        view=view,
        jobs=_running_first(listed, running, view),
        page=len(listed),
        more=len(page) > PAGE_JOBS,
        counts=MappingProxyType(dict(jobs.counts())),
        bytes_per_second=sum(job.progress.bytes_per_second or 0.0 for job in running if job.status is Status.DOWNLOADING),
        queue_paused=jobs.queue_paused(),
        workers=count_workers() if count_workers else None,
        reading=_reading(jobs, view, listed),
    )


def change_priority(jobs: Jobs, job_id: JobId, step: int) -> Job:
    """One more or one less than it is now, not than it was on the screen. Raises Trouble."""
    now = jobs.get(job_id).priority
    return jobs.prioritise(job_id, max(-MAX_PRIORITY, min(MAX_PRIORITY, now + step)))


def _running_first(listed: tuple[Job, ...], running: tuple[Job, ...], view: View) -> tuple[Job, ...]:
    """What runs now stands on top of the first page, even where hundreds of newer jobs wait in line.

    Under a search only the ledger knows what matches, so there the page itself is reordered.
    """
    if view.offset:
        return listed
    on_top = tuple(job for job in (listed if view.text else running) if job.worker is not None and _shown(job, view))
    ids = {job.job_id for job in on_top}
    return on_top + tuple(job for job in listed if job.job_id not in ids)


def _shown(job: Job, view: View) -> bool:
    return not view.show.statuses or job.status in view.show.statuses


def _reading(jobs: Jobs, view: View, listed: tuple[Job, ...]) -> Job | None:
    if view.reading is None:
        return None
    for job in listed:
        if job.job_id == view.reading:
            return job
    try:
        return jobs.get(view.reading)
    except BadRequest:  # pruned meanwhile
        return None
