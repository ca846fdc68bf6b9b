"""The pane that tells everything about one job, with the keys for it on top."""

from __future__ import annotations

from datetime import datetime

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message

from comfy_doctor.tui.bars import KeyBar, Line
from comfy_doctor.tui.offers import PANE
from comfy_doctor.tui.story import story
from comfy_doctor.tui.tones import Part, Tone
from download_worker.jobs.job import Job, JobId


class DetailPane(Vertical):
    class Resized(Message):
        """The story has to be told again at another width."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._job_id: JobId | None = None
        self._scroll = VerticalScroll(id="scroll")
        self._story = Line(id="story")

    def compose(self) -> ComposeResult:
        yield KeyBar(PANE, id="pane-keys")
        with self._scroll:
            yield self._story

    @property
    def text(self) -> str:
        return self._story.said

    def show(self, job: Job | None, now: datetime) -> None:
        """Tell this job's story. Another job begins at the top; the same one keeps its scroll."""
        if job is None:
            self._story.say((Part("No job is selected.", Tone.QUIET),))
            return
        self._story.say(story(job, now, max(20, self._scroll.scrollable_content_region.width - 1)))
        if job.job_id != self._job_id:
            self._job_id = job.job_id
            self._scroll.scroll_home(animate=False)

    def read(self) -> None:
        self._scroll.focus()

    def on_resize(self) -> None:
        self.post_message(self.Resized())
