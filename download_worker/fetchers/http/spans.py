"""Which bytes of a file there are, and who gave them: sorted, disjoint stretches. Pure, and not thread-safe."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from download_worker.room import Span, Stretch


class SpanMap:
    """Neighbours that one giver gave are one stretch. `bytes` counts them all. Offsets are bytes, ends exclusive."""

    def __init__(self, stretches: Iterable[Stretch] = ()) -> None:
        self._stretches = list(stretches)
        self.bytes = sum(end - start for start, end, _ in self._stretches)

    def stretches(self) -> tuple[Stretch, ...]:
        return tuple(self._stretches)

    def spans(self) -> tuple[Span, ...]:
        """The same without the givers: neighbours are one span."""
        spans: list[Span] = []
        for start, end, _ in self._stretches:
            if spans and spans[-1].end == start:
                spans[-1] = Span(spans[-1].start, end)
            else:
                spans.append(Span(start, end))
        return tuple(spans)

    @property
    def end(self) -> int:
        """Where the last stretch ends."""
        return self._stretches[-1].end if self._stretches else 0

    def add(self, start: int, end: int, giver: int) -> None:
        """Bytes that were not there before: fill `gaps`, and nothing else."""
        at = bisect_left(self._stretches, (start,))
        first, last = at, at
        self.bytes += end - start
        if at and self._stretches[at - 1][1:] == (start, giver):
            first, start = at - 1, self._stretches[at - 1].start
        if at < len(self._stretches) and self._stretches[at].start == end and self._stretches[at].giver == giver:
            last, end = at + 1, self._stretches[at].end
        self._stretches[first:last] = [Stretch(start, end, giver)]

    def cut(self, start: int, end: int) -> None:
        """No byte of this span is there any more."""
        kept: list[Stretch] = []
        for stretch in self._stretches:
            left = Stretch(stretch.start, min(stretch.end, start), stretch.giver)
            right = Stretch(max(stretch.start, end), stretch.end, stretch.giver)
            kept += [piece for piece in (left, right) if piece.start < piece.end] if start < end else [stretch]
        self._stretches = kept
        self.bytes = sum(last - first for first, last, _ in kept)

    def gaps(self, start: int, end: int) -> list[Span]:
        """What is missing of this span."""
        gaps: list[Span] = []
        for stretch in self._stretches[max(0, bisect_right(self._stretches, (start,)) - 1) :]:
            if stretch.start >= end:
                break
            if stretch.start > start:
                gaps.append(Span(start, stretch.start))
            start = max(start, stretch.end)
        return [*gaps, Span(start, end)] if start < end else gaps

    def reach(self, at: int, limit: int | None = None) -> int:
        """How far one can go on from `at` without a gap, about as far as `limit` at most; `at` itself if not at all."""
        for stretch in self._stretches[max(0, bisect_right(self._stretches, (at + 1,)) - 1) :]:
            if not stretch.start <= at < stretch.end or (limit is not None and at >= limit):
                break
            at = stretch.end
        return at if limit is None else min(at, limit)


def coarse(stretches: Sequence[Stretch], most: int) -> tuple[Stretch, ...]:
    """At most so many, as far as they touch: short neighbours become one, as if the first one's giver gave both."""
    merged, grain_bytes = list(stretches), 1
    while len(merged) > most and grain_bytes <= merged[-1].end:
        grain_bytes *= 2
        finer, merged = merged, []
        for stretch in finer:
            if merged and merged[-1].end == stretch.start and stretch.end - merged[-1].start <= grain_bytes:
                merged[-1] = merged[-1]._replace(end=stretch.end)
            else:
                merged.append(stretch)
    return tuple(merged)
