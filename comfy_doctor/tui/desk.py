"""The dashboard's side of the counter: what it asks, and the frozen picture that comes back.

The order of the jobs is the ledger's: running ones first, then those in line, then the newest that ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from comfy_doctor.tui.figures import count_text
from download_worker.errors import BadRequest, Trouble
from download_worker.jobs.job import LIVE, Job, JobId, Status
from download_worker.jobs.ledger import Question

PAGE_JOBS = 200
MAX_RUNNING_JOBS = 50
MAX_SEARCH_CHARS = 100
MAX_PRIORITY = 1000

_RUNNING = frozenset({Status.DOWNLOADING, Status.VERIFYING})


class Jobs(Protocol):
    """What the dashboard needs of `download_worker.jobs.counter.Counter`. All of it may block and may raise Trouble."""

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
Wish = Callable[[], str]


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
    def holds_running(self) -> bool:
        """Whether everything that runs is on this page: the ledger lists it first."""
        return self.show in (Show.ALL, Show.LIVE) and not self.text and not self.offset

    @property
    def same_list(self) -> tuple[Show, str, int]:
        return self.show, self.text, self.offset


@dataclass(frozen=True)
class Snapshot:
    """One look at the ledger. `reading` is the job of `view.reading`, None once it is forgotten."""

    view: View
    jobs: tuple[Job, ...]
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
    def worked(self) -> bool:
        """False where it is known that no worker runs: speeds and times left are then of the past."""
        return self.workers != 0

    @property
    def turn(self) -> tuple[int, int]:
        """The first and last number of this page in the list, counted from 1; (0, 0) when it is empty."""
        return (self.view.offset + 1, self.view.offset + len(self.jobs)) if self.jobs else (0, 0)


class Desk:
    """All that is ever asked of the counter. Every method blocks: call it in a thread. Wishes are fulfilled one by one.

    A wish answers with what to tell the person, and with an empty text where the table itself will show it.
    """

    def __init__(self, jobs: Jobs, count_workers: CountWorkers | None = None) -> None:
        self._jobs = jobs
        self._count_workers = count_workers
        self._one_wish_at_a_time = threading.Lock()

    def look(self, view: View) -> Snapshot | Trouble:
        """Everything that one picture needs: a page of jobs, what runs, and the counts.

        One job more than a page is asked for, which tells whether there is a next page.
        """
        try:
            page = tuple(self._jobs.jobs(Question(view.show.statuses, view.text, PAGE_JOBS + 1, view.offset)))
            running = page if view.holds_running else self._jobs.jobs(Question(_RUNNING, limit=MAX_RUNNING_JOBS))
            return Snapshot(
                view=view,
                jobs=page[:PAGE_JOBS],
                more=len(page) > PAGE_JOBS,
                counts=MappingProxyType(dict(self._jobs.counts())),
                bytes_per_second=sum(job.progress.bytes_per_second or 0.0 for job in running if job.worker),
                queue_paused=self._jobs.queue_paused(),
                workers=self._count_workers() if self._count_workers else None,
                reading=self._reading(view, page),
            )
        except Trouble as trouble:
            return trouble

    def fulfil(self, wish: Wish) -> str | Trouble:
        with self._one_wish_at_a_time:
            try:
                return wish()
            except Trouble as trouble:
                return trouble

    def retry(self, job_id: JobId) -> str:
        self._jobs.retry(job_id)
        return ""

    def retry_failed(self) -> str:
        return f"{count_text(len(self._jobs.retry_failed()), 'job')} will be tried again."

    def cancel(self, job_id: JobId) -> str:
        self._jobs.cancel(job_id)
        return ""

    def pause(self, job_id: JobId, *, pause: bool) -> str:
        verb = self._jobs.pause if pause else self._jobs.resume
        verb(job_id)
        return ""

    def pause_queue(self, *, pause: bool) -> str:
        verb = self._jobs.pause_queue if pause else self._jobs.resume_queue
        verb()
        return ""

    def raise_priority(self, job_id: JobId, step: int) -> str:
        """One more or one less than it is now, not than it was on the screen."""
        now = self._jobs.get(job_id).priority
        self._jobs.prioritise(job_id, max(-MAX_PRIORITY, min(MAX_PRIORITY, now + step)))
        return ""

    def _reading(self, view: View, page: tuple[Job, ...]) -> Job | None:
        if view.reading is None:
            return None
        for job in page:
            if job.job_id == view.reading:
                return job
        try:
            return self._jobs.get(view.reading)
        except BadRequest:  # pruned meanwhile
            return None
