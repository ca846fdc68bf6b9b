"""Which connection brings which bytes of one file: claims in file order, and claims taken over. Pure, all time told.

The bytes that are still to come are either free or claimed by one lane. Free ones are handed out from the front, so
that the digest can follow in order, in pieces of about a second that grow smaller towards the end, so that all lanes
end together. When nothing is free, or when a lane is so slow that the others would wait for it, the back part of the
slowest claim changes hands. A lane keeps what it has brought and may be cut at any time: `advance` tells how far it may
go, and counts each byte for one lane only.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from download_worker.fetchers.http.speed import Rate
from download_worker.room import Span

LEAST_BYTES = 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024
USUAL_BYTES = 8 * LEAST_BYTES
"""However slow, a lane is given so much unless the end is near: it may be young and grow."""
WISH_SECONDS = 1.0
ASKS_PER_WISH = 50.0
"""A claim should last so many times as long as asking for it, during which a connection lies idle."""
LEAST_ASKS = 4.0
"""The same for the small ones towards the end."""
ROUNDS = 1.5
"""What remains is enough for so many claims of every lane: the pieces shrink as the end comes nearer."""
PATIENCE_SECONDS = 1.5
"""A claim that is older than this and needs as long again is taken over at once from a lane that is much slower."""
MUCH_SLOWER = 4.0
"""So many times slower: nothing is left to that lane, not even what may be under way to it."""
WORTH_SECONDS = 0.05
"""A claim is only taken over where its end comes so much sooner by it, the time for asking not counted."""
_STILL = 1.0
"""Bytes per second that a lane is credited with when nothing comes: no claim takes for ever."""


def wish_bytes(bytes_per_second: float, remaining_bytes: int, lanes: int, ask_seconds: float) -> int:
    """How much one of `lanes` asks for at once: everything when it is alone, else about a second at its own speed.

    `ask_seconds` is the time from a question to the first byte of its answer.
    """
    if lanes <= 1:
        return remaining_bytes
    pace = int(bytes_per_second * max(WISH_SECONDS, ASKS_PER_WISH * ask_seconds))
    fair = max(int(remaining_bytes / (ROUNDS * lanes)), int(bytes_per_second * LEAST_ASKS * ask_seconds))
    wish = max(LEAST_BYTES, min(fair, max(pace, USUAL_BYTES), MOST_BYTES))
    return wish - wish % LEAST_BYTES


@dataclass
class _Claim:
    """What one lane has still to bring, [at, end), since when, and how fast it has been."""

    at: int
    end: int
    since: float
    rate: Rate

    def bytes_per_second(self, at_seconds: float) -> float:
        return max(_STILL, self.rate.bytes_per_second(at_seconds))

    def seconds_left(self, at_seconds: float) -> float:
        return (self.end - self.at) / self.bytes_per_second(at_seconds)


class Work:
    """The bytes of one file that are still to come. Thread-safe; every claim costs O(lanes + log of the holes).

    A lane is a number. It claims, asks its source for the span, and tells `advance` of what it received before it puts
    the bytes anywhere: those below the answer are its own, anything beyond belongs to another lane by now.
    """

    def __init__(self, total_bytes: int, have: Iterable[Span] = ()) -> None:
        self._free = list(_without([Span(0, total_bytes)], have))  # a sorted list is a heap
        self._claims: dict[int, _Claim] = {}
        self._remaining = sum(end - start for start, end in self._free)
        self._lock = threading.Lock()

    def claim(self, lane: int, at_seconds: float, *, lanes: int = 1, ask_seconds: float = 0.0) -> Span | None:
        """The next bytes for this lane, one of about `lanes`; what it left of its last claim is free again.

        None when nothing is worth taking now. Unless `done` that may change, when another lane leaves or stalls: ask
        again after a moment. See `wish_bytes` for `ask_seconds`.
        """
        with self._lock:
            mine = self._claim_of(lane, at_seconds)
            self._give_back(mine)
            self._cut_the_last_to_end(mine, at_seconds, lanes, ask_seconds)
            if not self._free:
                return None
            wish = wish_bytes(mine.bytes_per_second(at_seconds), self._remaining, lanes, ask_seconds)
            mine.at, mine.end = self._first_free(wish)
            mine.since = at_seconds
            return Span(mine.at, mine.end)

    def advance(self, lane: int, at: int, at_seconds: float) -> int:
        """The lane has received what lies before `at`. Answers where its claim ends, which may be before `at`: it was
        cut, and what lies beyond is another lane's to bring. 0 for a lane without a claim."""
        with self._lock:
            mine = self._claims.get(lane)
            if mine is None:
                return 0
            fresh = max(0, min(at, mine.end) - mine.at)
            if mine.at < mine.end:
                mine.rate.add(fresh, at_seconds)
            mine.at += fresh
            self._remaining -= fresh
            return mine.end

    def extend(self, lane: int) -> int:
        """A lane at the end of its claim, whose answer goes on: it takes what is free right behind, if it is the next.

        Answers where its claim ends now.
        """
        with self._lock:
            mine = self._claims.get(lane)
            if mine is None:
                return 0
            if mine.at == mine.end and self._free and self._free[0].start == mine.end:
                _, mine.end = self._first_free(MOST_BYTES)
            return mine.end

    def release(self, lane: int) -> None:
        """The lane is gone: what it has not brought is free again, and its speed is forgotten."""
        with self._lock:
            mine = self._claims.pop(lane, None)
            if mine is not None:
                self._give_back(mine)

    def forget(self, spans: Iterable[Span]) -> None:
        """These bytes were wrong: they are to come again, except what is still to come anyway."""
        with self._lock:
            coming = [*self._free, *(Span(claim.at, claim.end) for claim in self._claims.values())]
            for span in _without(_merged(spans), coming):
                heapq.heappush(self._free, span)
                self._remaining += span.end - span.start

    def bytes_per_second(self, lane: int, at_seconds: float) -> float:
        """How fast this lane has been of late; 0.0 for one that has brought nothing."""
        with self._lock:
            mine = self._claims.get(lane)
            return 0.0 if mine is None else mine.rate.bytes_per_second(at_seconds)

    @property
    def done(self) -> bool:
        """Whether every byte has been received by some lane (which may be about to put it where it belongs)."""
        return self._remaining == 0

    @property
    def remaining_bytes(self) -> int:
        return self._remaining

    @property
    def claims(self) -> Mapping[int, Span]:
        with self._lock:
            return {lane: Span(claim.at, claim.end) for lane, claim in self._claims.items() if claim.at < claim.end}

    def _claim_of(self, lane: int, at_seconds: float) -> _Claim:
        if lane not in self._claims:
            busy = [claim.bytes_per_second(at_seconds) for claim in self._claims.values() if claim.at < claim.end]
            usual = sum(busy) / len(busy) if busy else 0.0
            self._claims[lane] = _Claim(0, 0, at_seconds, Rate(at_seconds, usual))
        mine = self._claims[lane]
        if mine.at == mine.end:
            mine.rate.resume(at_seconds)
        return mine

    def _give_back(self, claim: _Claim) -> None:
        if claim.at < claim.end:
            heapq.heappush(self._free, Span(claim.at, claim.end))
            claim.end = claim.at

    def _first_free(self, wish: int) -> Span:
        start, end = heapq.heappop(self._free)
        while self._free and self._free[0].start == end and end - start < wish:
            end = heapq.heappop(self._free).end
        if end - start > wish:
            heapq.heappush(self._free, Span(start + wish, end))
        return Span(start, min(end, start + wish))

    def _cut_the_last_to_end(self, mine: _Claim, now: float, lanes: int, ask_seconds: float) -> None:
        """Free the back part of the claim that will take longest, if the lane that asks would bring it sooner.

        While other bytes are free, only from a lane that crawls: the digest, which goes in order, waits for it.
        """
        last = max(self._claims.values(), key=lambda claim: claim.seconds_left(now))
        left, its_speed, my_speed = last.end - last.at, last.bytes_per_second(now), mine.bytes_per_second(now)
        crawls = its_speed * MUCH_SLOWER < my_speed
        if self._free and not (crawls and min(now - last.since, left / its_speed) > PATIENCE_SECONDS):
            return
        # Both end together when it keeps this much: keep / its_speed == ask_seconds + (left - keep) / my_speed.
        keep = 0.0 if crawls else its_speed * (left + ask_seconds * my_speed) / (its_speed + my_speed)
        if left - keep < its_speed * (WORTH_SECONDS + ask_seconds):
            return
        wish = wish_bytes(its_speed, self._remaining, lanes, ask_seconds)
        cut = last.at + min(int(keep), wish)
        heapq.heappush(self._free, Span(cut, last.end))
        last.end = cut


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        elif span.start < span.end:
            merged.append(span)
    return merged


def _without(spans: list[Span], holes: Iterable[Span]) -> Iterator[Span]:
    """What of `spans`, sorted and disjoint, is in none of `holes`."""
    cuts = iter(_merged(holes))
    hole = next(cuts, None)
    for start, end in spans:
        while hole is not None and hole.start < end:
            if start < hole.start:
                yield Span(start, hole.start)
            start = max(start, hole.end)
            if hole.end > end:
                break
            hole = next(cuts, None)
        if start < end:
            yield Span(start, end)
