"""The table of jobs: a line per job, a cursor that stays on its job, and only the lines that changed are drawn again.

Its own widget rather than Textual's DataTable, because columns must follow the width, names must lose their middle,
and a job must keep the cursor while the rows around it come, go and change places.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from comfy_doctor.tui.rows import Row, columns_for, heading, line_of
from comfy_doctor.tui.tones import Part, content
from download_worker.jobs.job import JobId

_HEAD_LINES = 1
_MARGIN = " "


class JobTable(ScrollView, can_focus=True):
    COMPONENT_CLASSES: ClassVar[set[str]] = {"job-table--head", "job-table--cursor", "job-table--cursor-blurred"}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "move_page(-1)", show=False),
        Binding("pagedown,space", "move_page(1)", show=False),
        Binding("home,g", "move_to(0)", show=False),
        Binding("end,G", "move_to(-1)", show=False),
        Binding("enter", "open", show=False),
    ]

    class Moved(Message):
        """The person moved the cursor to another job."""

    class Opened(Message):
        """The person wants to read the job under the cursor."""

    class PastEdge(Message):
        """The person went on beyond the last row (`step` 1) or the first (−1)."""

        def __init__(self, step: int) -> None:
            self.step = step
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._rows: tuple[Row, ...] = ()
        self._cursor = 0

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def selected(self) -> JobId | None:
        return self._rows[self._cursor].job_id if self._rows else None

    def show(self, rows: tuple[Row, ...]) -> None:
        """The new picture of the same list: the cursor stays on its job, and that job keeps its place on the screen."""
        before, former_cursor = self._rows, self._cursor
        found = self._index_of(self.selected, rows)
        self._rows = rows
        self._cursor = max(0, min(former_cursor, len(rows) - 1)) if found is None else found
        if len(before) != len(rows):
            self._fit()
        for index, row in enumerate(rows):
            if index >= len(before) or before[index] != row:
                self._redraw(index)
        if self._cursor != former_cursor:
            self._redraw(former_cursor)
            self._redraw(self._cursor)
            if self.scroll_offset.y:
                self._scroll(self.scroll_offset.y + self._cursor - former_cursor)
            self._scroll_to_cursor()

    def select(self, index: int) -> None:
        """Put the cursor on a row of this picture; −1 is the last one."""
        former = self._cursor
        self._cursor = max(0, len(self._rows) - 1 if index < 0 else min(index, len(self._rows) - 1))
        self._scroll_to_cursor()
        if self._cursor != former:
            self._redraw(former)
            self._redraw(self._cursor)
            self.post_message(self.Moved())

    def action_move(self, step: int) -> None:
        wanted = self._cursor + step
        if 0 <= wanted < len(self._rows):
            self.select(wanted)
        else:
            self.post_message(self.PastEdge(step))

    def action_move_page(self, step: int) -> None:
        if self._cursor == (len(self._rows) - 1 if step > 0 else 0):
            self.post_message(self.PastEdge(step))
        else:
            self.select(max(0, self._cursor + step * max(1, self._visible_rows - 1)))

    def action_move_to(self, index: int) -> None:
        self.select(index)

    def action_open(self) -> None:
        if self._rows:
            self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        index = event.y - _HEAD_LINES + self.scroll_offset.y
        if event.y < _HEAD_LINES or index >= len(self._rows):
            return
        self.select(index)
        if event.chain == 2:
            self.action_open()

    def on_resize(self) -> None:
        self._fit()
        self._scroll_to_cursor()

    def on_focus(self) -> None:
        self._redraw(self._cursor)

    def on_blur(self) -> None:
        self._redraw(self._cursor)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        columns = columns_for(width - 2 * len(_MARGIN))
        if y < _HEAD_LINES:
            return self._strip((Part(_MARGIN + heading(columns)),), width, "job-table--head")
        index = y - _HEAD_LINES + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        line = (Part(_MARGIN), *line_of(self._rows[index], columns))
        return self._strip(line, width, self._cursor_class if index == self._cursor else None)

    @property
    def _cursor_class(self) -> str:
        return "job-table--cursor" if self.has_focus else "job-table--cursor-blurred"

    @property
    def _visible_rows(self) -> int:
        return max(1, self.scrollable_content_region.height - _HEAD_LINES)

    def _strip(self, line: tuple[Part, ...], width: int, component: str | None) -> Strip:
        style = self.get_visual_style(component) if component else self.visual_style
        strips = Visual.to_strips(self, content(line), width, 1, style, apply_selection=False, pad=True)
        return strips[0].crop(0, width) if strips else Strip.blank(width)

    def _fit(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + _HEAD_LINES)
        self.refresh()

    def _redraw(self, index: int) -> None:
        self.refresh_line(index + _HEAD_LINES)

    def _scroll(self, y: int) -> None:
        self.scroll_to(y=y, animate=False, force=True)

    def _scroll_to_cursor(self) -> None:
        top = self.scroll_offset.y
        if self._cursor < top:
            self._scroll(self._cursor)
        elif self._cursor >= top + self._visible_rows:
            self._scroll(self._cursor - self._visible_rows + 1)

    @staticmethod
    def _index_of(job_id: JobId | None, rows: tuple[Row, ...]) -> int | None:
        return next((index for index, row in enumerate(rows) if row.job_id == job_id), None)
