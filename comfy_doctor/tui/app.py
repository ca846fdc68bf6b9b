"""The dashboard itself: looks twice a second, shows what came back, and passes wishes on to the counter.

Nothing here waits: every call of the counter runs in a thread that only posts a message back. A look that fails leaves
the old picture standing and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import ClassVar

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.widgets import Input

from comfy_doctor.tui import bars, offers, rows, story
from comfy_doctor.tui.bars import Chip, KeyBar, Line, Tab, Tabs
from comfy_doctor.tui.desk import MAX_SEARCH_CHARS, CountWorkers, Desk, Jobs, Show, Snapshot, View, Wish
from comfy_doctor.tui.detail import DetailPane
from comfy_doctor.tui.dialogs import Ask, Help
from comfy_doctor.tui.figures import count_text
from comfy_doctor.tui.palette import PALETTE
from comfy_doctor.tui.table import JobTable
from comfy_doctor.tui.tones import Part, Tone, foreign
from download_worker.errors import Trouble, TryLater
from download_worker.jobs.job import Job, JobId
from download_worker.text import public_url

REFRESH_SECONDS = 0.5
SLOW_LOOK_SECONDS = 2.0
WIDE_CELLS, ROOMY_CELLS, TALL_LINES = 120, 150, 32


_BOUND_ELSEWHERE = (offers.READ, offers.SEARCH)


def local_now() -> datetime:
    """Aware, in the zone of this machine: people read their own clock."""
    return datetime.now().astimezone()


class Looked(Message):
    def __init__(self, view: View, found: Snapshot | Trouble) -> None:
        self.view = view
        self.found = found
        super().__init__()


class Answered(Message):
    def __init__(self, answer: str | Trouble) -> None:
        self.answer = answer
        super().__init__()


class Dashboard(App[None]):
    CSS_PATH = "dashboard.tcss"
    TITLE = "comfy-doctor"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE_CELLS, "-wide")]  # noqa: RUF012 - so declared by Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL_LINES, "-tall")]  # noqa: RUF012 - so declared by Textual
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.key, key.action, key.label, show=False) for key in offers.ALL if key not in _BOUND_ELSEWHERE),
        # Taken before the next key is passed on: what is typed fast after it must reach the search, not the commands.
        Binding(offers.SEARCH.key, offers.SEARCH.action, offers.SEARCH.label, show=False, priority=True),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def __init__(
        self,
        jobs: Jobs,
        *,
        workers: CountWorkers | None = None,
        now: Callable[[], datetime] = local_now,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """`jobs` is a Counter; `workers` counts the workers that run. Both are only called in threads."""
        super().__init__()
        self._desk = Desk(jobs, workers)
        self._now = now
        self._refresh_seconds = refresh_seconds
        self._view = View()
        self._snapshot: Snapshot | None = None
        self._taken_at: datetime | None = None
        self._trouble: Trouble | None = None
        self._looking_since: datetime | None = None
        self._look_again = False
        self._arrive_at = 0

        self._title, self._totals, self._counts = Line(id="title"), Line(id="totals"), Line(id="counts")
        self._notices, self._page, self._empty, self._peek = (
            Line(id="notices"), Line(id="page"), Line(id="empty"), Line(id="peek")
        )  # fmt: skip
        self._tabs, self._table, self._detail = Tabs(id="tabs"), JobTable(id="table"), DetailPane(id="detail")
        self._search = Input(id="search", compact=True, placeholder="file, folder or host", max_length=MAX_SEARCH_CHARS)

    def compose(self) -> ComposeResult:
        with Horizontal(id="headline"):
            yield from (self._title, self._totals)
        yield from (self._counts, self._notices)
        with Horizontal(id="choices"):
            yield from (self._tabs, self._search, self._page)
        with Horizontal(id="body"):
            with Vertical(id="list"):
                yield from (self._table, self._empty, self._peek)
            yield self._detail
        yield KeyBar(offers.BAR, id="keys")

    def on_mount(self) -> None:
        self.register_theme(PALETTE)
        self.theme = PALETTE.name
        self._title.say((Part("comfy-doctor", Tone.HEADING),))
        self._empty.say((Part("Looking …", Tone.QUIET),))
        self.default_screen.set_focus(self._table)
        self.set_interval(self._refresh_seconds, self._tick)
        self._look()

    def on_resize(self, event: events.Resize) -> None:
        self.default_screen.set_class(event.size.width >= ROOMY_CELLS, "-roomy")

    # Looking

    def _tick(self) -> None:
        if self._looking_since is None:
            self._look()
        else:
            self._draw_notices()

    def _look(self) -> None:
        """One look at a time: while the ledger is slow, looks must not pile up."""
        if self._looking_since is not None:
            self._look_again = True
            return
        self._looking_since, self._look_again = self._now(), False
        view = self._view
        self.run_worker(lambda: self._post(Looked(view, self._desk.look(view))), thread=True, group="look")

    def _post(self, message: Message) -> None:
        """Called in threads: the only way back from there."""
        self.post_message(message)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        self._looking_since = None
        if isinstance(message.found, Trouble):
            self._trouble = message.found
            self._draw_notices()
        elif message.view.same_list == self._view.same_list:
            self._trouble = None
            self._take(message.found)
        if self._look_again or message.view != self._view:
            self._look()

    def _take(self, snapshot: Snapshot) -> None:
        if not snapshot.jobs and snapshot.view.offset:  # the last page was pruned or emptied under us
            self._see(self._view.turned(-1), arrive_at=-1)
            return
        turned = self._snapshot is None or self._snapshot.view.same_list != snapshot.view.same_list
        self._snapshot, self._taken_at = snapshot, self._now()
        if self._view.reading and snapshot.view.reading and snapshot.reading is None:
            self._stop_reading()
        self._draw(turned)

    def _see(self, view: View, *, arrive_at: int = 0) -> None:
        self._view, self._arrive_at = view, arrive_at
        self._tabs.mark(view.show)
        self._look()

    # Drawing

    @property
    def selected(self) -> Job | None:
        """The job that the keys are about: the one that is being read, else the one under the cursor."""
        snapshot, wanted = self._snapshot, self._view.reading or self._table.selected
        if snapshot is None or wanted is None:
            return None
        if snapshot.reading is not None and snapshot.reading.job_id == wanted:
            return snapshot.reading
        return next((job for job in snapshot.jobs if job.job_id == wanted), None)

    def _draw(self, turned: bool) -> None:
        snapshot, now = self._snapshot, self._now()
        if snapshot is None:
            return
        self._table.show(tuple(rows.row_of(job, now, worked=snapshot.worked) for job in snapshot.jobs))
        if turned:
            self._table.select(self._arrive_at)
        self._table.display = bool(snapshot.jobs)
        self._empty.display = not snapshot.jobs
        self._empty.say(() if snapshot.jobs else bars.nothing_to_show(snapshot))
        self._totals.say(bars.totals(snapshot), layout=False)
        self._counts.say(bars.counts(snapshot), layout=False)
        self._page.say(bars.page_text(snapshot))
        self._tabs.mark(self._view.show)
        self._draw_notices()
        self._draw_selected()

    def _draw_notices(self) -> None:
        now = self._now()
        waited = (now - self._looking_since).total_seconds() if self._looking_since else 0.0
        slow = waited if waited >= SLOW_LOOK_SECONDS else 0.0
        parts = bars.notices(self._snapshot, self._taken_at, self._trouble, slow, now)
        self._notices.say(parts)
        self._notices.display = bool(parts)

    @on(DetailPane.Resized)
    def _draw_selected(self) -> None:
        job, now = self.selected, self._now()
        self._detail.show(job, now)
        first, second = story.peek(job, now, max(10, self._peek.content_region.width)) if job else ((), ())
        self._peek.say((*first, Part("\n"), *second), layout=False)
        self._peek.set_class(job is None, "-nothing")
        self._draw_keys(job)

    def _draw_keys(self, job: Job | None) -> None:
        paused = bool(self._snapshot and self._snapshot.queue_paused)
        labels = {
            offers.PAUSE: "Resume" if job and job.paused else "Pause",
            offers.QUEUE: "Go on" if paused else "Queue",
        }
        for chip in self.query(Chip):
            chip.offer(labels.get(chip.key, chip.key.label), enabled=offers.offered(chip.key.verb, job))

    # Choosing what to see

    @on(JobTable.Moved)
    def _moved(self) -> None:
        if self._view.reading and self._table.selected:
            self._view = replace(self._view, reading=self._table.selected)
        self._draw_selected()

    @on(JobTable.PastEdge)
    def _past_edge(self, message: JobTable.PastEdge) -> None:
        self.action_turn(message.step, arrive_at=0 if message.step > 0 else -1)

    @on(JobTable.Opened)
    def action_read(self) -> None:
        job = self.selected
        if job is None:
            return
        self._view = replace(self._view, reading=job.job_id)
        self.default_screen.add_class("reading")
        self.default_screen.remove_class("shut")
        self._detail.read()
        self._draw_selected()

    def action_close(self) -> None:
        """Escape steps back once: from reading to the table, from a search to all, and at last the pane is shut."""
        if self._view.reading:
            self._stop_reading()
        elif self._search.has_focus or self._search.value:
            self._search.value = ""
            self._close_search()
        elif self.default_screen.has_class("-wide"):
            self.default_screen.add_class("shut")

    def _stop_reading(self) -> None:
        self._view = replace(self._view, reading=None)
        self.default_screen.remove_class("reading")
        self.default_screen.set_focus(self._table)
        self._draw_selected()

    def action_turn(self, pages: int, arrive_at: int = 0) -> None:
        snapshot = self._snapshot
        if snapshot is None or snapshot.view.same_list != self._view.same_list:
            return  # the page that was asked for last is still on its way
        if snapshot.more if pages > 0 else self._view.offset:
            self._see(self._view.turned(pages), arrive_at=arrive_at)

    def action_filter(self) -> None:
        self._choose(self._view.show.next)

    @on(Tab.Chosen)
    def _chosen(self, message: Tab.Chosen) -> None:
        self._choose(message.show)

    def _choose(self, show: Show) -> None:
        self._stop_reading()
        self._see(replace(self._view, show=show, offset=0))

    def action_search(self) -> None:
        self._stop_reading()
        self.default_screen.add_class("searching")
        self._search.display = True
        self.default_screen.set_focus(self._search)

    @on(Input.Changed, "#search")
    def _search_changed(self, event: Input.Changed) -> None:
        self._see(replace(self._view, text=event.value.strip(), offset=0))

    @on(Input.Submitted, "#search")
    def _close_search(self) -> None:
        self._search.display = bool(self._search.value)
        self.default_screen.set_class(bool(self._search.value), "searching")
        self.default_screen.set_focus(self._table)

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_interrupt(self) -> None:
        """Ctrl-C copies what is marked, else it leaves: nothing is lost by that, so it is not asked twice."""
        marked = self.screen.get_selected_text()
        if marked:
            self.copy_to_clipboard(marked)
        else:
            self.exit()

    # Wishes

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "search":
            return len(self.screen_stack) == 1 and not self._search.has_focus
        return offers.offered(action, self.selected if self._snapshot else None)

    @on(Chip.Pressed)
    async def _chip_pressed(self, message: Chip.Pressed) -> None:
        await self.run_action(f"app.{message.action}")

    def action_retry(self) -> None:
        self._for_selected(self._desk.retry)

    def action_pause(self) -> None:
        job = self.selected
        self._for_selected(partial(self._desk.pause, pause=not (job and job.paused)))

    def action_priority(self, step: int) -> None:
        self._for_selected(partial(self._desk.raise_priority, step=step))

    def action_cancel(self) -> None:
        job = self.selected
        if job is not None:
            name = foreign(job.model_info.expected_filename)
            ask = Ask("Cancel this job?", name, "It ends as FAILED (cancelled). Retry brings it back.")
            self._if_agreed(ask, partial(self._desk.cancel, job.job_id))

    def action_pause_queue(self) -> None:
        paused = self._snapshot is not None and self._snapshot.queue_paused
        self._wish(partial(self._desk.pause_queue, pause=not paused))

    def action_retry_failed(self) -> None:
        failed = self._snapshot.count(Show.FAILED) if self._snapshot else 0
        if failed:
            ask = Ask("Retry every failed job?", count_text(failed, "failed job"), "Those that were cancelled, too.")
            self._if_agreed(ask, self._desk.retry_failed)
        else:
            self._tell("No job has failed.")

    def action_copy_url(self) -> None:
        job = self.selected
        if job is not None:
            self.copy_to_clipboard(foreign(public_url(job.model_info.download_url)))
            self._tell("The URL was handed to the terminal's clipboard.")

    def _for_selected(self, verb: Callable[[JobId], str]) -> None:
        job = self.selected
        if job is not None:
            self._wish(partial(verb, job.job_id))

    def _if_agreed(self, ask: Ask, wish: Wish) -> None:
        self.push_screen(ask, lambda yes: self._wish(wish) if yes else None)

    def _wish(self, wish: Wish) -> None:
        self.run_worker(lambda: self._post(Answered(self._desk.fulfil(wish))), thread=True, group="wishes")

    @on(Answered)
    def _answered(self, message: Answered) -> None:
        answer = message.answer
        if isinstance(answer, Trouble):
            text = f"{foreign(answer.message)}\nNext: {foreign(answer.hint)}"
            self._tell(text, "warning" if isinstance(answer, TryLater) else "error")
        elif answer:
            self._tell(answer)
        self._look()

    def _tell(self, text: str, severity: SeverityLevel = "information") -> None:
        self.notify(text, severity=severity, markup=False)


def run_dashboard(jobs: Jobs, *, workers: CountWorkers | None = None) -> None:
    """Show the dashboard until the person leaves. Reads and asks the counter only; claims nothing, restarts nothing."""
    Dashboard(jobs, workers=workers).run()
