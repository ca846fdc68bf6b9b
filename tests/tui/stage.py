"""A dashboard on a stage: the real counter over the ledger's twin, every verb noted, and a screen that can be read."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from textual.pilot import Pilot

from comfy_doctor.tui.app import Dashboard
from comfy_doctor.tui.bars import Chip, Line
from comfy_doctor.tui.detail import DetailPane
from comfy_doctor.tui.table import JobTable
from download_worker.clock import FakeClock, Instant
from download_worker.errors import Trouble
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Job, JobId, Status
from download_worker.jobs.ledger import EVERYTHING, Question
from download_worker.jobs.memory_ledger import MemoryLedger
from tests import canaries
from tests.tui.samples import NOW, ledger_of

PATIENCE_STEPS = 400


class NotedCounter(Counter):
    """Notes every verb. `trouble` fails questions, `refusal` verbs; `gate` keeps questions waiting until it is set."""

    def __init__(self, ledger: MemoryLedger) -> None:
        super().__init__(ledger, MemoryBell(), FakeClock(NOW, Instant("boot-1", 1000.0)), lambda url: None)
        self.verbs: list[tuple[object, ...]] = []
        self.questions: list[Question] = []
        self.looks = 0
        self.threads: set[int] = set()
        self.trouble: Trouble | None = None
        self.refusal: Trouble | None = None
        self.gate = threading.Event()
        self.gate.set()

    def jobs(self, question: Question = EVERYTHING) -> Sequence[Job]:
        self.threads.add(threading.get_ident())
        self.questions.append(question)
        self.gate.wait(30)
        if self.trouble is not None:
            raise self.trouble
        return super().jobs(question)

    def counts(self) -> Mapping[Status, int]:
        self.threads.add(threading.get_ident())
        self.looks += 1
        return super().counts()

    def retry(self, job_id: str) -> Job:
        self._note("retry", job_id)
        return super().retry(job_id)

    def retry_failed(self) -> tuple[Job, ...]:
        self._note("retry_failed")
        return super().retry_failed()

    def cancel(self, job_id: str) -> Job:
        self._note("cancel", job_id)
        return super().cancel(job_id)

    def pause(self, job_id: str) -> Job:
        self._note("pause", job_id)
        return super().pause(job_id)

    def resume(self, job_id: str) -> Job:
        self._note("resume", job_id)
        return super().resume(job_id)

    def prioritise(self, job_id: str, priority: int) -> Job:
        self._note("prioritise", job_id, priority)
        return super().prioritise(job_id, priority)

    def pause_queue(self) -> None:
        self._note("pause_queue")
        super().pause_queue()

    def resume_queue(self) -> None:
        self._note("resume_queue")
        super().resume_queue()

    def _note(self, *verb: object) -> None:
        self.threads.add(threading.get_ident())
        self.verbs.append(verb)
        if self.refusal is not None:
            raise self.refusal


@dataclass
class Stage:
    app: Dashboard
    pilot: Pilot[None]
    counter: NotedCounter
    ledger: MemoryLedger
    wall: list[datetime]
    ticks_by_itself: bool

    @property
    def table(self) -> JobTable:
        return self.app.query_one(JobTable)

    @property
    def detail(self) -> DetailPane:
        return self.app.query_one(DetailPane)

    def line(self, name: str) -> str:
        return self.app.query_one(f"#{name}", Line).said

    def screen(self) -> list[str]:
        """What stands on the terminal, a text for each line."""
        lines = [strip.text for strip in self.app.screen._compositor.render_strips()]
        canaries.BOOK.text("a screen", "\n".join(lines))
        return lines

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the dashboard live until this holds; fails when it does not in a long time."""
        for _ in range(PATIENCE_STEPS):
            if condition():
                return
            if not self.ticks_by_itself:
                self.app._tick()
            await self.pilot.pause(0.01)
        raise AssertionError("it did not happen; the screen is\n" + "\n".join(self.screen()))

    async def looks(self, count: int = 2) -> None:
        """Let it look some times more."""
        asked = self.counter.looks
        await self.until(lambda: self.counter.looks >= asked + count)
        await self.pilot.pause()

    async def select(self, job: Job) -> None:
        await self.until(lambda: job.job_id in self.ids)
        self.table.select(self.ids.index(job.job_id))
        await self.pilot.pause()

    @property
    def ids(self) -> list[JobId]:
        return [row.job_id for row in self.table.rows]

    def change(self, job: Job, **changes: object) -> Job:
        return self.ledger.amend(job.job_id, lambda now: now.model_copy(update=changes))


@asynccontextmanager
async def stage(
    jobs: Sequence[Job],
    *,
    size: tuple[int, int] = (120, 32),
    workers: Callable[[], int] | None = lambda: 1,
    refresh_seconds: float | None = None,
) -> AsyncIterator[Stage]:
    """Without `refresh_seconds` the stage ticks only while it waits for something, so that pressing keys is fast."""
    ledger, wall = ledger_of(jobs), [NOW]
    counter = NotedCounter(ledger)
    app = Dashboard(counter, workers=workers, now=lambda: wall[0], refresh_seconds=refresh_seconds or 3600.0)
    async with app.run_test(size=size, notifications=True) as pilot:
        on_stage = Stage(app, pilot, counter, ledger, wall, refresh_seconds is not None)
        try:
            await on_stage.until(lambda: on_stage.line("counts"))
            yield on_stage
            on_stage.screen()
        finally:
            counter.gate.set()


def by_name(on: Stage, name: str) -> Job:
    return next(job for job in on.ledger.jobs() if name in job.model_info.expected_filename)


def chip(on: Stage, bar: str, key: str) -> Chip:
    return next(chip for chip in on.app.query(f"#{bar} Chip").results(Chip) if chip.key.key == key)


def notes(on: Stage) -> list[str]:
    return [note.message for note in on.app._notifications]
