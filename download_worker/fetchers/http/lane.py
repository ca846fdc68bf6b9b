"""One connection at work on a file: it asks its source for one stretch after the other, and pours them into the part.

A lane knows HTTP and its own place in the file, nothing of the others: its crew tells it what to bring next, what an
answer is good for, and how far it may go. Every byte that it received is handed over before it ends, however it ends.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Protocol

from download_worker.fetchers.fetcher import HEAD_BYTES
from download_worker.fetchers.http.buffers import Buffer
from download_worker.fetchers.http.part import Part
from download_worker.fetchers.http.part_file import DIRECT_BYTES
from download_worker.fetchers.http.ranges import ask
from download_worker.fetchers.http.sources import Source
from download_worker.leash import Leash
from download_worker.room import Span
from download_worker.web.session import Answer, Route, Web

FILL_SECONDS = 0.25
"""A buffer that is not full by then is handed over as it is, so that a slow line shows its progress."""


class Foreman(Protocol):
    """Whom a lane asks and tells, from its own thread. What these raise ends the lane."""

    web: Web
    part: Part
    leash: Leash

    def claim(self, lane: Lane) -> Span | None:
        """What to bring next; None when nothing is left for it, or it is over."""
        ...

    def is_to_the_end(self, span: Span) -> bool:
        """Whether to ask for everything from its start on: there is no telling where it ends, or it ends the file."""
        ...

    def admitted(self, lane: Lane, answer: Answer, asked: Span) -> Span | None:
        """The bytes that this answer brings, with the part ready for them; None when there is nothing more to come."""
        ...

    def reach(self, lane: Lane, coming: Span) -> int:
        """How far a lane may go on with an answer that brings these bytes."""
        ...

    def hand_over(self, lane: Lane, buffer: Buffer, filled: int) -> None:
        """These bytes into the part: as many of them as are still this lane's to bring."""
        ...

    def poured(self, lane: Lane, answer: Answer, coming: Span) -> None:
        """The body ended, or the lane came to the end of its claim."""
        ...

    def left(self, lane: Lane) -> None:
        """It has ended, and says why in `lane.trouble`."""
        ...


class Lane:
    """A thread and its connection. `at` is the next byte of the file that it will bring."""

    def __init__(self, number: int, source: Source, crew: Foreman) -> None:
        self.number = number
        self.source = source
        self.at = 0
        self.brought_bytes = 0
        self.moved_at = monotonic()
        self.connect_seconds: float | None = None
        self.trouble: Exception | None = None
        self.dismissed = False
        self.is_ahead = False
        """Of the answer more was received than belongs at `at`: no further byte of it may be brought."""
        self._retired = False
        self._crew = crew
        self._route: Route | None = None

    def start(self) -> None:
        # A daemon, so that a lane stuck in a connect cannot keep the process from ending.
        threading.Thread(target=self._work, name=f"lane-{self.number}", daemon=True).start()

    def dismiss(self) -> None:
        """It is not needed any more, or too slow: it ends soon, without a word. From any thread."""
        self.dismissed = True
        if self._route is not None:
            self._route.cut()

    def retire(self) -> None:
        """It ends with what it brings now."""
        self._retired = True

    def _work(self) -> None:
        crew = self._crew
        try:
            with crew.web.route(self.source.url, leash=crew.leash) as self._route:
                while (span := crew.claim(self)) is not None:
                    self._bring(self._route, span)
        except Exception as error:  # noqa: BLE001 - whatever ended this thread is told to the one that started it
            self.trouble = error
        finally:
            crew.left(self)

    @property
    def is_over(self) -> bool:
        return self.dismissed or self._retired

    def _bring(self, route: Route, span: Span) -> None:
        crew = self._crew
        asked_at = monotonic()
        end = None if crew.is_to_the_end(span) else span.end
        with route.ask(ask(self.source.version, span.start, end)) as answer:
            self.connect_seconds = monotonic() - asked_at
            if answer.status not in (200, 206, 416):
                raise crew.web.refusal(answer)
            coming = crew.admitted(self, answer, span)
            if coming is not None:
                self._pour(answer, coming)

    def _pour(self, answer: Answer, coming: Span) -> None:
        """The body into the part, as far as the crew lets this lane go."""
        self.at = coming.start
        self.is_ahead = False
        more = True
        while more and not (self.dismissed or self.is_ahead) and (left := self._crew.reach(self, coming) - self.at) > 0:
            more = self._fill(answer, left)
        if not self.dismissed:
            self._crew.leash.check()  # a line that was cut by ourselves looks like the end of the body
            self._crew.poured(self, answer, coming)

    def _fill(self, answer: Answer, most_bytes: int) -> bool:
        """One buffer of it. False at the end of the body."""
        crew = self._crew
        buffer = crew.part.buffer(crew.leash)
        # The first bytes say what the file is and how far away the host; until they are handed over nobody may join.
        most_bytes = min(most_bytes, len(buffer.view) - self.at % DIRECT_BYTES)
        view = buffer.view[: most_bytes if self.brought_bytes else min(most_bytes, HEAD_BYTES)]
        filled, until = 0, monotonic() + FILL_SECONDS
        try:
            while filled < len(view) and self.moved_at < until:
                rest = view[filled:]
                got = answer.read_soon(rest, FILL_SECONDS) if filled else answer.read_into(rest)
                if got is None:
                    break
                if not got:
                    return False
                filled += got
                self.moved_at = monotonic()
        finally:
            crew.hand_over(self, buffer, filled)
        return True
