"""The lines around the table: what goes on in all, what is shown of it, and the keys (which a mouse may press, too)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from comfy_doctor.tui import figures
from comfy_doctor.tui.desk import Show, Snapshot
from comfy_doctor.tui.offers import Key
from comfy_doctor.tui.tones import LOOKS, Part, Tone, content, foreign, joined
from download_worker.errors import Trouble, TryLater
from download_worker.jobs.job import Status

_COUNTED = (Status.PENDING, Status.DOWNLOADING, Status.VERIFYING, Status.SUCCESS, Status.FAILED)


class Line(Static):
    """Toned text that is drawn again only when it says something else."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._said: tuple[Part, ...] | None = None

    @property
    def said(self) -> str:
        return "".join(part.text for part in self._said or ())

    def say(self, parts: Iterable[Part], *, layout: bool = True) -> None:
        said = tuple(parts)
        if said != self._said:
            self._said = said
            self.update(content(said), layout=layout)


class Chip(Static):
    """A key that can also be clicked."""

    class Pressed(Message):
        def __init__(self, action: str) -> None:
            self.action = action
            super().__init__()

    def __init__(self, key: Key) -> None:
        super().__init__(markup=False, classes=f"-{key.verb}" + " rare" * key.rare)
        self.key = key
        self._shown: tuple[str, bool] | None = None
        self.offer(key.label, enabled=True)

    def offer(self, label: str, *, enabled: bool) -> None:
        if self._shown == (label, enabled):
            return
        relabelled = self._shown is None or self._shown[0] != label
        self._shown = (label, enabled)
        self.set_class(not enabled, "-off")
        tones = (Tone.STRONG, Tone.QUIET) if enabled else (Tone.FAINT, Tone.FAINT)
        parts = (Part(self.key.sign, tones[0]), Part(f" {label}", tones[1]))
        self.update(content(parts), layout=relabelled)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if not self.has_class("-off"):
            self.post_message(self.Pressed(self.key.action))


class KeyBar(Horizontal):
    """A line of keys."""

    def __init__(self, keys: Sequence[Key], *, id: str) -> None:
        super().__init__(id=id)
        self._keys = keys

    def compose(self) -> ComposeResult:
        for key in self._keys:
            yield Chip(key)


class Tabs(Horizontal):
    """Which jobs are shown: one word each, the current one marked."""

    def compose(self) -> ComposeResult:
        for show in Show:
            yield Tab(show)

    def mark(self, current: Show) -> None:
        for tab in self.query(Tab):
            tab.set_class(tab.shows is current, "-current")


class Tab(Static):
    class Chosen(Message):
        def __init__(self, show: Show) -> None:
            self.show = show
            super().__init__()

    def __init__(self, show: Show) -> None:
        super().__init__(show.value.capitalize(), markup=False)
        self.shows = show

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Chosen(self.shows))


def totals(snapshot: Snapshot) -> tuple[Part, ...]:
    """Who works, and how fast it all goes."""
    workers = snapshot.workers
    who = "" if workers is None else figures.count_text(workers, "worker") if workers else "no worker"
    speed = figures.speed_text(snapshot.bytes_per_second) if snapshot.bytes_per_second and snapshot.worked else ""
    return joined(((Part(who, Tone.QUIET if workers else Tone.WARN),), (Part(speed, Tone.STRONG),)))


def counts(snapshot: Snapshot) -> tuple[Part, ...]:
    """Jobs by status; those with none stay in their place, faint."""
    parts: list[Part] = []
    for status in _COUNTED:
        look, count = LOOKS[status], snapshot.counts.get(status, 0)
        parts.append(Part(f"{look.sign} {count:,} ", look.tone if count else Tone.FAINT))
        parts.append(Part(f"{status}   ", Tone.QUIET if count else Tone.FAINT))
    return tuple(parts)


def page_text(snapshot: Snapshot) -> tuple[Part, ...]:
    """Where this page is in the list, and the keys that turn it."""
    first, last = snapshot.turn
    if not snapshot.jobs:
        return ()
    if not snapshot.view.offset and not snapshot.more:
        return (Part(figures.count_text(len(snapshot.jobs), "job"), Tone.QUIET),)
    whole = f" of {snapshot.total:,}" if snapshot.total is not None else ""
    keys = " ".join(("b back",) * bool(snapshot.view.offset) + ("n next",) * snapshot.more)
    return joined(((Part(f"{first:,}–{last:,}{whole}"),), (Part(keys, Tone.QUIET),)))


def notices(
    snapshot: Snapshot | None, taken_at: datetime | None, trouble: Trouble | None, waited_seconds: float, now: datetime
) -> tuple[Part, ...]:
    """What a person should know before reading on, a line each; empty when all is as it should be."""
    lines: list[Part] = []
    old = f" This picture is from {figures.clock_text(taken_at, now)}." if taken_at else ""
    if trouble is not None:
        tone = Tone.WARN if isinstance(trouble, TryLater) else Tone.BAD
        lines.append(Part(f"! {foreign(trouble.message)}; {foreign(trouble.hint)}.{old}", tone))
    elif waited_seconds > 0:
        lines.append(Part(f"! The ledger has not answered for {figures.span_text(waited_seconds)}.{old}", Tone.WARN))
    if snapshot is not None and snapshot.queue_paused:
        lines.append(Part("‖ The queue is paused: nothing new starts. Press P to resume it.", Tone.WARN))
    if snapshot is not None and snapshot.workers == 0 and snapshot.count(Show.LIVE):
        lines.append(Part("! No worker runs, so nothing moves. Start one: download-worker run", Tone.WARN))
    return joined(((line,) for line in lines), "\n")


def nothing_to_show(snapshot: Snapshot) -> tuple[Part, ...]:
    """What an empty table says: why it is empty, and what to do about it."""
    view = snapshot.view
    if view.text:
        return (
            Part(f"Nothing matches “{foreign(view.text)}”.\n\n", Tone.STRONG),
            Part("Escape clears the search, f shows other jobs.", Tone.QUIET),
        )
    if view.show is not Show.ALL and snapshot.count(Show.ALL):
        return (Part(f"No {view.show.value} jobs.\n\n", Tone.STRONG), Part("f shows the others.", Tone.QUIET))
    return (
        Part("No jobs yet.\n\n", Tone.STRONG),
        Part("Fetch what a workflow is missing:\n", Tone.QUIET),
        Part("comfy-doctor fix WORKFLOW.json\n\n", Tone.MOVING),
        Part("Fetch one file:\n", Tone.QUIET),
        Part("comfy-doctor enqueue URL --type loras", Tone.MOVING),
    )
