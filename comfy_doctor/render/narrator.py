"""Tells on stderr what is going on: the plan, each job as it is handed in, live bars, each end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.prompt import Confirm
from rich.text import Text

from comfy_doctor.render.plans import plan_picture
from comfy_doctor.render.words import TONES
from download_worker.jobs.job import Job, JobId, Status
from download_worker.jobs.ledger import Added
from download_worker.text import safe_text

if TYPE_CHECKING:  # the rooms behind it are a quarter of what `jobs list` takes, which shows none of them
    from comfy_doctor.plan import Plan


class Narrator:
    """The audience of `fix` and `apply`, and the voice of everything that takes time."""

    def __init__(self, *, quiet: bool, color: bool, ask: bool, agreed: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, no_color=not color, highlight=False)
        self._ask = ask
        self._agreed = agreed
        self._live = self._console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.fields[sign]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._tasks: dict[JobId, TaskID] = {}
        self._told: dict[JobId, Status] = {}

    def __enter__(self) -> Narrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(safe_text(text), style=style), soft_wrap=True)

    def planned(self, plan: Plan) -> bool:
        return self.asked("Carry out this plan?", plan_picture(plan.data()))

    def asked(self, question: str, picture: RenderableType | None = None) -> bool:
        """Show what it is about, and ask once unless that was answered beforehand."""
        quiet = self._console.quiet
        self._console.quiet = quiet and not self._ask  # who is asked must see what about
        try:
            return self._consent(question, picture)
        finally:
            self._console.quiet = quiet

    def _consent(self, question: str, picture: RenderableType | None) -> bool:
        if picture is not None:
            self._console.print(picture, soft_wrap=True)
        if self._agreed:
            return True
        if not self._ask:
            self.say("nothing is done without --yes when there is no terminal to ask on", "yellow")
            return False
        try:
            return Confirm.ask(question, console=self._console, default=True)
        except EOFError:  # Ctrl-D is no consent, and leaves the cursor behind the question
            self._console.print()
            return False
        except KeyboardInterrupt:
            self._console.print()
            raise

    def dispatched(self, added: Added) -> None:
        job = added.job
        word = (
            "already queued" if added.deduplicated and job.live else "already there" if added.deduplicated else "queued"
        )
        self.say(f"  {word}: {job.model_info.expected_filename} → {job.model_info.model_type} (job {job.job_id[:8]})")

    def watching(self, jobs: Sequence[Job]) -> None:
        if self._live:
            self._progress.start()
        for job in jobs:
            self._bar(job)
            if self._told.get(job.job_id) is not job.status:
                self._told[job.job_id] = job.status
                if not job.live:
                    self._ended(job)

    def _bar(self, job: Job) -> None:
        if not self._live:
            return
        name = safe_text(job.model_info.expected_filename, max_chars=40)
        task = self._tasks.get(job.job_id)
        if task is None:
            task = self._tasks[job.job_id] = self._progress.add_task(name, sign="", total=None)
        done, total = job.progress.bytes, job.progress.total
        self._progress.update(task, completed=done, total=total, sign=TONES[job.status][0], visible=job.live)

    def _ended(self, job: Job) -> None:
        sign, tone = TONES[job.status]
        word = job.result.path if job.status is Status.SUCCESS else job.result.reason
        self.say(f"  {sign} {job.model_info.expected_filename}: {word}", tone)
