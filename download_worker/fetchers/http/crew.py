"""One attempt at one file: a crew of lanes, the part they fill together, and the word that ends it.

The crew's own thread hires lanes, watches them, and judges what ended them; the lanes call back from their threads.
A file begins with one lane. Further ones come while the tuner sees that they help; a source that fails gives its place
to a mirror; what a lying mirror brought is fetched again from somebody else.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from loguru import logger

from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.fetchers.http.assembly import MAX_RESTARTS, Assembly, TooMuch
from download_worker.fetchers.http.berths import Berths
from download_worker.fetchers.http.buffers import Buffer
from download_worker.fetchers.http.lane import Lane
from download_worker.fetchers.http.part import Part
from download_worker.fetchers.http.sources import Source, next_source
from download_worker.fetchers.http.speed import SpeedFloor
from download_worker.fetchers.http.tuning import Sample, Tuner
from download_worker.jobs.job import ModelInfo
from download_worker.jobs.moves import backoff_seconds
from download_worker.leash import Leash
from download_worker.pace import Pace, hold_back
from download_worker.room import Fetched, Span
from download_worker.settings import Settings
from download_worker.threads import thread_errors
from download_worker.web.session import Answer, Web

MAX_BREAKS = 20
"""Connections of one attempt that may end badly, and one more for every `BYTES_PER_BREAK`; progress refills nothing."""
BYTES_PER_BREAK = 16 * 1024 * 1024
WORTH_BYTES = 1024 * 1024
"""A connection that brought so much is followed by the next at once, however it ended."""
MAX_PAUSE_SECONDS = 10.0
IDLE_LANE_SECONDS = 10.0
"""A lane that brings nothing for so long, while others do, gives its place up."""
NOTHING_FREE_SECONDS = 0.1
TICK_SECONDS = 0.02
LAST_WORD_SECONDS = 0.05
"""When all is here, a lane is about to find that out, too; cut before, it would take its connection with it."""
FAREWELL_SECONDS = 5.0
"""How long lanes that were dismissed may take; one that is stuck in a connect hands nothing over any more."""

_OURS = frozenset({Code.DISK_FULL, Code.UNMOUNTED, Code.PERMISSION, Code.STORAGE})
"""Troubles of this machine: no other source helps."""


@dataclass(frozen=True)
class Terms:
    """Under which terms a crew works. `job` names its bandwidth bucket; `pause_seconds` is the unit of its pauses."""

    web: Web
    pace: Pace
    berths: Berths
    settings: Settings
    job: str
    pause_seconds: float


class Crew:
    def __init__(
        self, terms: Terms, assembly: Assembly, sources: Sequence[Source], wanted: ModelInfo, leash: Leash
    ) -> None:
        self.web = terms.web
        self.part: Part = assembly.part
        self.wanted = wanted
        self.leash = leash
        self._terms = terms
        self._tuner = Tuner(terms.settings.connections_per_file)
        self._floor = self._new_floor()
        self._assembly = assembly
        self._sources = sources
        self._lanes: list[Lane] = []
        self._gone: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._throttled_seconds = 0.0
        self._connect_seconds = 0.0
        self._received_bytes = 0
        self._hired = 0
        self._breaks = 0
        self._resting_until = 0.0

    def run(self) -> Fetched:
        """Raises what `Fetcher.fetch` says."""
        while True:
            try:
                self._bring()
                self._tell()
            finally:
                self._dismiss_all()
            if not self._replaces_wrong_bytes():
                return self.part.finish(self.part.lead.origin if self.part.lead else None)

    # the foreman of its lanes, called from their threads

    def claim(self, lane: Lane) -> Span | None:
        """A lane for which nothing is worth taking now waits: another one may stall or fail."""
        while not lane.is_over and not self._assembly.complete:
            ask_seconds = lane.connect_seconds or self._connect_seconds
            span = self._assembly.claim(lane.number, len(self._lanes), ask_seconds)
            if span is not None:
                return span
            self.leash.wait(NOTHING_FREE_SECONDS)
            lane.moved_at = monotonic()
        return None

    def is_to_the_end(self, span: Span) -> bool:
        return self.part.total is None or span.end == self.part.total

    def admitted(self, lane: Lane, answer: Answer, asked: Span) -> Span | None:
        if not lane.brought_bytes:  # later questions need no handshake
            self._connect_seconds = lane.connect_seconds or self._connect_seconds
        return self._assembly.admitted(lane.number, lane.source, answer, asked)

    def reach(self, lane: Lane, coming: Span) -> int:
        end = self._assembly.reach(lane.number, lane.at)
        if end <= lane.at < coming.end:
            end = self._assembly.extended(lane.number)
        return end

    def hand_over(self, lane: Lane, buffer: Buffer, filled: int) -> None:
        mine = max(0, min(filled, self._assembly.reach(lane.number, lane.at + filled) - lane.at))
        self.part.put(buffer, lane.at, mine, lane.source.giver or 0)
        lane.at += mine
        lane.is_ahead = mine < filled
        lane.brought_bytes += mine
        lane.source.brought(mine)
        with self._lock:
            self._received_bytes += mine
        waited = hold_back(self._terms.pace, self.leash, lane.source.host, self._terms.job, filled)
        if waited:
            lane.moved_at = monotonic()
            with self._lock:
                self._throttled_seconds += waited

    def poured(self, lane: Lane, answer: Answer, coming: Span) -> None:
        self._assembly.poured(lane.number, lane.at, answer, coming)

    def left(self, lane: Lane) -> None:
        self._assembly.leave(lane.number)
        self._terms.berths.leave(lane.source.host)
        self._gone.put(lane)

    # the crew's own thread

    def _bring(self) -> None:
        while not self._assembly.complete:
            self.leash.check()
            self._hire_up_to(self._wanted_lanes())
            self._tell()
            self._dismiss_idle()
            self._check_speed()
            with suppress(queue.Empty):
                self._judge(self._gone.get(timeout=TICK_SECONDS))

    def _wanted_lanes(self) -> int:
        if not self._assembly.bears_more_lanes or not self._lanes:
            return 1
        sample = Sample(
            at_seconds=monotonic(),
            received_bytes=self._received_bytes,
            lanes=len(self._lanes),
            pressed_seconds=self.part.pressed_seconds,
            throttled_seconds=self._throttled_seconds,
            remaining_bytes=self._assembly.remaining_bytes or 0,
            connect_seconds=self._connect_seconds,
        )
        return self._tuner.observe(sample)

    def _hire_up_to(self, wanted: int) -> None:
        for lane in self._lanes[wanted:]:
            lane.retire()
        while len(self._lanes) < wanted and monotonic() >= self._resting_until:
            asked = [lane.source for lane in self._lanes]
            source = next_source(self._sources, asked, others_may_help=self._assembly.others_may_help)
            if source is None and not self._lanes:
                raise self._no_source()
            if source is None or (self._lanes and source.fails):
                return
            if not self._terms.berths.take(source.host, must=not self._lanes):
                return
            self._hire(source)

    def _hire(self, source: Source) -> None:
        self._hired += 1
        lane = Lane(self._hired, source, self)
        self._lanes.append(lane)
        self._assembly.enter(lane.number)
        try:
            with thread_errors():
                lane.start()
        except TryLater as trouble:
            if len(self._lanes) > 1:
                self._tuner.refused()  # those that there are go on
            else:
                lane.trouble = trouble
            self.left(lane)

    def _judge(self, lane: Lane) -> None:
        """A lane has ended: what that means for its source, and for the attempt."""
        self._lanes.remove(lane)
        self._assembly.settled(lane.number)
        trouble = lane.trouble
        if lane.dismissed or trouble is None:
            return
        if not isinstance(trouble, Trouble) or trouble.code in _OURS or self.part.emptied:
            raise trouble
        if isinstance(trouble, TooMuch):
            raise trouble
        self.leash.setback(trouble.message)
        if self._lanes and not lane.brought_bytes:
            self._bear_fewer(lane.source, trouble)
            return
        self._breaks += 1
        if not self._lanes:
            lane.source.failed(trouble)
        most = MAX_BREAKS + (self._assembly.total or 0) // BYTES_PER_BREAK
        if self._breaks >= most or self._assembly.restarts > MAX_RESTARTS:
            raise trouble
        if not self._lanes and lane.source.out is None:
            self._rest(0 if lane.brought_bytes >= WORTH_BYTES else lane.source.fails, trouble)

    def _bear_fewer(self, source: Source, trouble: Trouble) -> None:
        """Others go on, and this connection brought nothing: its source bears no more than it has, or is of no use."""
        others = sum(other.source is source for other in self._lanes)
        if others:
            source.most_lanes = others
        else:
            source.failed(trouble)
        if next_source(self._sources, [other.source for other in self._lanes], others_may_help=True) is None:
            self._tuner.refused()
        logger.debug("{} bears {} connections: {}", source.host, others, trouble.message)

    def _rest(self, fails: int, trouble: Trouble) -> None:
        seconds = 0.0
        if fails:
            seconds = backoff_seconds(fails, base_seconds=self._terms.pause_seconds, cap_seconds=MAX_PAUSE_SECONDS)
            self._resting_until = monotonic() + seconds
        logger.warning("{}; going on from byte {} in {:.1f} s", trouble.message, self.part.at, seconds)

    def _dismiss_idle(self) -> None:
        """FAULTS.md N14: what a stalled connection was to bring is brought by the others."""
        if len(self._lanes) < 2:
            return
        now = monotonic()
        newest = max(lane.moved_at for lane in self._lanes)
        for lane in self._lanes:
            if now - lane.moved_at > IDLE_LANE_SECONDS and now - newest < IDLE_LANE_SECONDS / 2:
                lane.dismiss()

    def _check_speed(self) -> None:
        """FAULTS.md N8: a host that sends next to nothing for minutes is as good as one that is not there."""
        waited = self._throttled_seconds + self.part.pressed_seconds
        if self._floor.is_below(monotonic(), self._received_bytes, waited, len(self._lanes)):
            for lane in self._lanes:
                lane.source.let_go(TryLater(Code.TOO_SLOW, f"{lane.source.host} sent next to nothing for minutes"))
                lane.dismiss()
            self._floor = self._new_floor()

    def _new_floor(self) -> SpeedFloor:
        settings = self._terms.settings
        return SpeedFloor(settings.min_bytes_per_second, settings.min_speed_window_seconds)

    def _tell(self) -> None:
        asked = self._lanes[0].source if self._lanes else self._sources[0]
        self.leash.progress(self.part.at, self._assembly.total, connections=len(self._lanes), source=asked.host)

    def _no_source(self) -> Trouble:
        """Nobody is left to ask: one who may answer later counts for more than one who never will."""
        outs = [source.out for source in self._sources if source.out is not None]
        return next((out for out in outs if isinstance(out, TryLater)), outs[0])

    def _dismiss_all(self) -> None:
        if self._assembly.complete and not self.leash.pulled:
            self._see_off(LAST_WORD_SECONDS)
        for lane in self._lanes:
            lane.dismiss()
        self._see_off(FAREWELL_SECONDS)

    def _see_off(self, seconds: float) -> None:
        """Those who leave within so long."""
        until = monotonic() + seconds
        while self._lanes and (left := until - monotonic()) > 0:
            with suppress(queue.Empty):
                gone = self._gone.get(timeout=left)
                self._lanes.remove(gone)
                self._assembly.settled(gone.number)

    def _replaces_wrong_bytes(self) -> bool:
        """The digest is wrong. What somebody else than the leader gave comes again from another one; when all is the
        leader's own, it is for a verifier to say."""
        expected = self.wanted.sha256
        if expected is None or self.part.digest() == expected:
            return False
        givers = self._assembly.givers()
        ours = [source for source in self._sources if source.giver in givers]
        strangers = givers - {source.giver for source in ours}
        if not strangers and ours == [self._sources[0]]:
            return False
        if not strangers:
            self._blame(ours[-1])
        self._assembly.take_back(strangers or frozenset({ours[-1].giver or 0}))
        return True

    def _blame(self, suspect: Source) -> None:
        lie = GiveUp(Code.HASH_MISMATCH, f"{suspect} gave other bytes than the file has", elsewhere=True)
        suspect.let_go(lie)
        logger.warning("the digest is wrong: what {} gave is fetched again from elsewhere", suspect)
        self.leash.setback(lie.message)
