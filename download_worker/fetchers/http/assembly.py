"""The file as it comes together: its part, what of it is still to come, and whether an answer belongs to it.

Answers are judged by the pure rules of `ranges.py`; here their decisions become deeds. Only a lane that is alone may
begin anew or throw away what is here: one that joins others either proves that it continues the same file, or is of no
use. Safe to share between lanes; all that changes the plan happens under one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES
from download_worker.fetchers.http.part import Part
from download_worker.fetchers.http.ranges import (
    AllHere,
    Append,
    AskAgain,
    End,
    Head,
    Held,
    Limits,
    Restart,
    Whole,
    can_be_split,
    decide,
    described,
    end_of_body,
    is_same_file,
)
from download_worker.fetchers.http.segments import Work
from download_worker.fetchers.http.sources import Source, Useless
from download_worker.jobs.job import ModelInfo
from download_worker.room import Span
from download_worker.web.session import Answer

MAX_RESTARTS = 3
"""Per attempt, times that bytes which were here already had to be thrown away."""


class TooMuch(GiveUp):
    """A source sends more than the file can have: what is here is not the file, however whole it looks."""


class Assembly:
    """`part` and its plan. A `lane` is the number under which a connection of the crew is known here."""

    def __init__(self, part: Part, sources: Sequence[Source], wanted: ModelInfo, limits: Limits) -> None:
        self.part = part
        self._sources = sources
        self._wanted = wanted
        self._limits = limits
        self._lock = threading.RLock()
        self._lanes: set[int] = set()
        self._work: Work | None = None
        self._ended = False
        self._unframed: set[int] = set()  # lanes whose body may yet turn out to be longer than the file
        self._silent_end: str | None = None
        self.restarts = 0
        self._recall()
        self._plan()

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, if anybody said so."""
        return self.part.total or self._limits.size

    @property
    def complete(self) -> bool:
        work = self._work
        if work is None:
            return self._ended
        handed_over = work.done and self.part.at == self.part.total
        return handed_over and not self._unframed

    @property
    def remaining_bytes(self) -> int | None:
        """None when nobody said how long the file is."""
        work = self._work
        return None if work is None else work.remaining_bytes

    @property
    def bears_more_lanes(self) -> bool:
        """Whether bytes of several answers can be put together: the length is known, the head was looked at."""
        have = self.part.have()
        looked_at = bool(have) and have[0].start == 0 and have[0].end >= HEAD_BYTES
        return self._work is not None and looked_at and can_be_split(self.part.lead, self._wanted)

    @property
    def others_may_help(self) -> bool:
        """Whether another source's bytes can be told from those of another file (see `ranges.is_same_file`)."""
        lead = self.part.lead
        return self.part.at > 0 and lead is not None and is_same_file(lead, lead, self._wanted)

    def enter(self, lane: int) -> None:
        with self._lock:
            self._lanes.add(lane)

    def leave(self, lane: int) -> None:
        with self._lock:
            self._lanes.discard(lane)
            if self._work is not None:
                self._work.release(lane)

    def settled(self, lane: int) -> None:
        """What ended this lane was heard."""
        self._unframed.discard(lane)

    def claim(self, lane: int, lanes: int, ask_seconds: float) -> Span | None:
        """What this lane, one of so many, shall bring next; None when nothing is left for it."""
        with self._lock:
            if self.complete:
                return None
            if self._work is None:
                return Span(self.part.at, self._limits.most)
            return self._work.claim(lane, monotonic(), lanes=lanes, ask_seconds=ask_seconds)

    def reach(self, lane: int, at: int) -> int:
        """How far a lane may go that has received everything up to `at`; before `at` if another lane has taken over."""
        work = self._work
        return self._limits.most if work is None else work.advance(lane, at, monotonic())

    def extended(self, lane: int) -> int:
        """How far a lane may go whose claim has ended while its answer goes on."""
        work = self._work
        return self._limits.most if work is None else work.extend(lane)

    def admitted(self, lane: int, source: Source, answer: Answer, asked: Span) -> Span | None:
        """The bytes that this answer brings, with the part ready for them; None when there is nothing more to come.

        Raises Useless, or GiveUp: what `decide` says, size_mismatch, lying_server; TryLater(disk_full).
        """
        head = Head(answer.status, answer.headers, answer.framing, answer.host)
        with self._lock:
            if answer.framing.length is None:
                self._unframed.add(lane)
            held = Held(source.version, self.part.total, begun=self.part.at > 0)
            decision = decide(head, held, asked.start, self._wanted, self._limits)
            if not isinstance(decision, Append):
                self._check_may_begin_anew(source, answer)
            match decision:
                case Append(span, total):
                    self._go_on(lane, source, answer, total)
                    return span
                case Whole(total):
                    self._begin(lane, source, answer, total)
                    return Span(0, self._limits.most if total is None else total)
                case AllHere(total) if self.part.digest() == self._wanted.sha256:
                    self.part.learn_total(total)  # whatever was said before: the digest has the last word
                    self._plan()
                    self._ended = True
                    return None
                case AllHere():
                    raise self._useless(answer, "it has no more bytes, but these have another digest", start_over=True)
                case Restart(why):
                    raise self._useless(answer, why, start_over=True)
                case AskAgain(why):
                    source.odd_answers += 1
                    raise self._useless(answer, why, start_over=source.odd_answers > 1)

    def _check_may_begin_anew(self, source: Source, answer: Answer) -> None:
        """Only a lane that is alone may throw away what is here; and no mirror, while one who gave it may go on."""
        if len(self._lanes) > 1:
            raise Useless(Code.LYING_SERVER, f"{answer.host} does not send parts of its file side by side")
        others = [other for other in self._sources if other.giver is not None and other.out is None]
        if source.giver is None and self.part.at and others:
            raise GiveUp(Code.LYING_SERVER, f"{answer.host} does not send a part of the file", elsewhere=True)

    def poured(self, lane: int, at: int, answer: Answer, coming: Span) -> None:
        """The body ended, or the lane came to the end of its claim, with everything up to `at` handed over.

        Raises TryLater(cut_short); GiveUp: there is more than there can be (H26).
        """
        if self._work is not None:
            if at < min(coming.end, self.reach(lane, at)):
                raise self._cut_short(answer, at)
            if at == self.part.total and answer.framing.length is None:
                self._see_the_end(answer, at)
            self.settled(lane)
            return
        if at >= self._limits.most:
            self._see_the_end(answer, at)
        end = end_of_body(answer.framing, at, None, self._wanted)
        if end is End.DIGEST_DECIDES:
            # The same bytes twice are what this host has, right or wrong; that is for a verifier to say.
            digest = self.part.digest()
            twice, self._silent_end = digest == self._silent_end, digest
            end = End.COMPLETE if twice or digest == self._wanted.sha256 else End.CUT
        if end is not End.COMPLETE:
            raise self._cut_short(answer, at)
        self._ended = True

    def throw_away(self) -> None:
        """Nothing of what is here can be used."""
        with self._lock:
            self.restarts += self.part.at > 0
            self.part.clear()
            for source in self._sources:
                source.version = source.giver = None
            self._plan()

    def givers(self) -> frozenset[int]:
        """Who gave what is here, by their numbers in the journal."""
        return frozenset(stretch.giver for stretch in self.part.stretches())

    def take_back(self, givers: frozenset[int]) -> None:
        """What these gave is to come again, from somebody else."""
        with self._lock:
            self.part.forget([Span(s.start, s.end) for s in self.part.stretches() if s.giver in givers])
            self._plan()

    def _recall(self) -> None:
        """What the journal knows of our sources."""
        for number, version in enumerate(self.part.journal.versions):
            for source in self._sources:
                if source.key == version.source:
                    source.version, source.giver = version, number

    def _plan(self) -> None:
        total = self.part.total
        self._work = None if total is None else Work(total, self.part.have())

    def _plan_for(self, lane: int) -> None:
        """A plan whose first bytes this lane brings already."""
        self._plan()
        if self._work is not None:
            self._work.claim(lane, monotonic())

    def _begin(self, lane: int, source: Source, answer: Answer, total: int | None) -> None:
        self.throw_away()
        if self.restarts > MAX_RESTARTS:
            raise self._too_often(answer, "it sends the whole file each time")
        source.version, source.giver = described(source.key, answer.headers, answer.url), 0
        self.part.begin(source.version, total)
        self.part.make_room_for(total)
        self._plan_for(lane)

    def _go_on(self, lane: int, source: Source, answer: Answer, total: int) -> None:
        """The answer continues what is here. Raises GiveUp where nothing shows that it is the same file."""
        if source.giver is None:
            version, lead = described(source.key, answer.headers, answer.url), self.part.lead
            if lead is None or not is_same_file(version, lead, self._wanted):
                message = f"nothing shows that {answer.host} has the same file"
                raise GiveUp(Code.SIZE_MISMATCH, message, elsewhere=True)
            source.version, source.giver = version, self.part.join(version)
        if self.part.total is None:
            self.part.learn_total(total)
            self._plan_for(lane)
        self.part.make_room_for(total)

    def _useless(self, answer: Answer, why: str, *, start_over: bool) -> Trouble:
        if start_over:
            self.throw_away()
        if self.restarts > MAX_RESTARTS:
            return self._too_often(answer, why)
        return Useless(Code.LYING_SERVER, f"{answer.host} cannot go on with this file: {why}")

    def _too_often(self, answer: Answer, why: str) -> GiveUp:
        message = f"{answer.host} cannot go on with this file: {why}, and this {self.restarts} times"
        return GiveUp(Code.LYING_SERVER, message, elsewhere=True)

    def _see_the_end(self, answer: Answer, at: int) -> None:
        """Not one byte more than there can be (H26)."""
        if answer.read(1):
            known = self.total is not None
            code = Code.SIZE_MISMATCH if known else Code.TOO_LARGE
            raise TooMuch(code, f"{answer.host} sends more than {at} bytes", elsewhere=True)

    def _cut_short(self, answer: Answer, at: int) -> TryLater:
        return TryLater(Code.CUT_SHORT, f"{answer.host} ended after {at} of {self.total or 'unknown'} bytes")
