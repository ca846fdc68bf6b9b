"""Who brings which bytes: each byte is one lane's, none is lost, and the slow wait for nobody and nobody for them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from download_worker.fetchers.http import segments
from download_worker.fetchers.http.segments import LEAST_BYTES, MOST_BYTES, USUAL_BYTES, Work, wish_bytes
from download_worker.room import Span
from tests.worker.simulated_lines import GIB, MIB, Line, Outcome, SimulatedCrew

LANES = 4


@contextmanager
def bytes_for_mebibytes() -> Iterator[None]:
    """The sizes of claims scaled down, so that a test can look at every single byte."""
    with patch.multiple(segments, LEAST_BYTES=1, USUAL_BYTES=8, MOST_BYTES=64):
        yield


class Watched:
    """A Work under a test that knows of each byte whether it has been brought, and believes nothing."""

    def __init__(self, total: int, have: Iterable[Span]) -> None:
        self.work = Work(total, have)
        self.now = 0.0
        self.missing = set(range(total)) - {byte for span in have for byte in range(*span)}
        self.at: dict[int, int] = {}

    def claim(self, lane: int, lanes: int = LANES) -> Span | None:
        span = self.work.claim(lane, self.now, lanes=lanes)
        self.at.pop(lane, None)
        if span is not None:
            assert set(range(*span)) <= self.missing, "what is claimed is still to come"
            self.at[lane] = span.start
        self.check()
        return span

    def advance(self, lane: int, n_bytes: int) -> int:
        """The lane received so many; what of it is its own must not have been brought before."""
        if lane not in self.at:
            return 0
        at = self.at[lane]
        mine = max(0, min(at + n_bytes, self.work.advance(lane, at + n_bytes, self.now)) - at)
        fresh = set(range(at, at + mine))
        assert fresh <= self.missing, "each byte is brought once"
        self.missing -= fresh
        self.at[lane] = at + mine
        self.check()
        return mine

    def release(self, lane: int) -> None:
        self.at.pop(lane, None)
        self.work.release(lane)
        self.check()

    def forget(self, spans: Iterable[Span]) -> None:
        self.work.forget(spans)
        self.missing |= {byte for span in spans for byte in range(*span)}
        self.check()

    def check(self) -> None:
        claimed = [byte for span in self.work.claims.values() for byte in range(*span)]
        assert len(claimed) == len(set(claimed)), "no two claims overlap"
        assert set(claimed) <= self.missing, "nobody is to bring again what is here"
        assert self.work.remaining_bytes == len(self.missing)
        assert self.work.done == (not self.missing)

    def finish(self) -> None:
        """One diligent lane brings whatever the others have not; they are dead."""
        for lane in list(self.at):
            self.release(lane)
        while self.claim(0) is not None:
            while self.advance(0, 3):
                pass


spans = st.tuples(st.integers(0, 120), st.integers(0, 120)).map(lambda two: Span(min(two), max(two)))
deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(0, LANES - 1), st.integers(1, LANES)),
    st.tuples(st.just("advance"), st.integers(0, LANES - 1), st.integers(0, 30)),
    st.tuples(st.just("release"), st.integers(0, LANES - 1), st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 20)),
)


@settings(max_examples=50, deadline=None)
@given(total=st.integers(0, 120), have=st.lists(spans, max_size=4), done=st.lists(deeds, max_size=40))
def test_each_byte_is_brought_once_and_none_is_lost_whoever_leaves_whenever(
    total: int, have: list[Span], done: list[tuple[str, int, int]]
) -> None:
    with bytes_for_mebibytes():
        watched = Watched(total, [Span(min(span.start, total), min(span.end, total)) for span in have])
        for deed, lane, n in done:
            watched.now += n / 10 if deed == "wait" else 0.01
            if deed == "claim":
                watched.claim(lane, n)
            elif deed == "advance":
                watched.advance(lane, n)
            elif deed == "release":
                watched.release(lane)
        watched.finish()
    assert watched.work.done
    assert not watched.missing


@settings(max_examples=40, deadline=None)
@given(wrong=st.lists(spans, max_size=5), brought=st.integers(0, 60))
def test_what_is_forgotten_comes_again_once_even_beside_claims(wrong: list[Span], brought: int) -> None:
    with bytes_for_mebibytes():
        watched = Watched(120, [])
        watched.claim(0, 2)
        watched.advance(0, brought)
        watched.claim(1, 2)
        watched.advance(1, brought)
        watched.claim(0, 2)
        watched.forget(wrong)
        watched.finish()
    assert watched.work.done


def test_free_bytes_are_handed_out_from_the_front() -> None:
    work = Work(GIB, [Span(10 * MIB, 20 * MIB)])
    first, second, third = (work.claim(lane, 0.0, lanes=16) for lane in range(3))
    assert first == Span(0, USUAL_BYTES)
    assert second == Span(USUAL_BYTES, 10 * MIB)
    assert third == Span(20 * MIB, 20 * MIB + USUAL_BYTES)
    work.release(0)
    assert work.claim(3, 0.0, lanes=16) == first


def test_what_a_lane_leaves_is_joined_to_what_is_free_beside_it() -> None:
    work = Work(100 * MIB)
    work.claim(0, 0.0, lanes=2)
    work.advance(0, MIB, 0.1)
    work.release(0)
    assert work.claim(1, 0.1, lanes=2) == Span(MIB, MIB + USUAL_BYTES)


def test_a_lane_that_is_alone_is_given_everything_up_to_the_next_hole() -> None:
    work = Work(GIB, [Span(0, 5), Span(GIB - 7, GIB - 3)])
    assert work.claim(0, 0.0) == Span(5, GIB - 7)


def test_a_second_lane_takes_over_soon_after_where_the_first_is() -> None:
    """Not half a file further on: the digest goes in order."""
    work = Work(20 * GIB)
    work.claim(0, 0.0)
    for n in range(1, 11):
        work.advance(0, n * 10 * MIB, n / 10)
    span = work.claim(1, 1.0, lanes=2)
    assert span is not None
    assert span.start == work.advance(0, 100 * MIB, 1.0) < 200 * MIB
    assert work.claim(2, 1.0, lanes=3) == Span(span.end, span.end + MOST_BYTES)


def test_the_last_claim_is_shared_so_that_both_end_together() -> None:
    """The time for asking counts: at half a MiB/s each, 1.6 s for the first and 1.4 s after 0.2 s for the second."""
    work = Work(2 * MIB)
    work.claim(0, 0.0)
    for n in range(1, 11):
        work.advance(0, n * MIB // 20, n / 10)
    span = work.claim(1, 1.0, lanes=2, ask_seconds=0.2)
    assert span is not None
    assert span.start == pytest.approx(1.3 * MIB, rel=0.01)
    assert span.end == 2 * MIB


def ending(line: Line, total_bytes: int = GIB, most_seconds: float = 600.0) -> Outcome:
    crew = SimulatedCrew(line, total_bytes, fixed=16)
    outcome = crew.run(most_seconds)
    assert sum(outcome.brought_bytes.values()) == total_bytes
    return outcome


def test_all_lanes_end_together() -> None:
    outcome = ending(Line(lane_speed=lambda lane, now: 20 * MIB))
    last = outcome.last_byte_at.values()
    assert max(last) - min(last) < 0.15
    assert outcome.seconds < 1.03 * 3.2


def test_lanes_of_all_speeds_end_together() -> None:
    speeds = [random.Random(lane).uniform(1, 40) * MIB for lane in range(17)]
    outcome = ending(Line(lane_speed=lambda lane, now: speeds[lane]))
    last = outcome.last_byte_at.values()
    assert max(last) - min(last) < 0.5
    assert outcome.seconds < 1.06 * GIB / sum(speeds[1:])


@pytest.mark.parametrize("slow_lane", [1, 2, 16])
@pytest.mark.parametrize("speed", [0, 20 * 1024, 2 * MIB])
def test_n14_a_lane_that_stalls_or_crawls_is_taken_over_by_the_others(slow_lane: int, speed: int) -> None:
    outcome = ending(Line(lane_speed=lambda lane, now: speed if lane == slow_lane and now > 1 else 20 * MIB))
    assert outcome.seconds < 1.25 * 3.2


def test_n14_a_lane_that_stalls_with_its_very_last_bytes_is_taken_over_too() -> None:
    outcome = ending(Line(lane_speed=lambda lane, now: 0 if lane == 3 and now > 3.1 else 20 * MIB))
    assert outcome.seconds < 3.2 + 3.5


def test_a_stalled_lane_in_the_middle_does_not_hold_the_digest_up() -> None:
    """Its bytes come soon, not only when nothing else is left."""
    work, at, taken_at = Work(100 * GIB), {0: 0, 1: 0}, None
    at[0] = work.claim(0, 0.0, lanes=2).start  # type: ignore[union-attr]
    at[1] = work.claim(1, 0.0, lanes=2).start  # type: ignore[union-attr]
    for n in range(1, 200):
        now = n / 20
        for lane in (0, 1):
            at[lane] += MIB if lane == 1 or now < 1 else 0
            if at[lane] >= work.advance(lane, at[lane], now):
                at[lane] = work.claim(lane, now, lanes=2).start  # type: ignore[union-attr]
        if taken_at is None and at[1] <= at[0] + MIB and now > 1:
            taken_at = now
    assert taken_at is not None and taken_at < 4


def test_nobody_is_robbed_of_bytes_that_are_as_good_as_there() -> None:
    work = Work(8 * MIB)
    work.claim(0, 0.0)
    for n in range(1, 80):
        work.advance(0, n * MIB // 10, n / 100)
    before = work.claims[0]
    assert work.claim(1, 0.79, lanes=2, ask_seconds=0.1) is None
    assert work.claims == {0: before}


def test_a_lane_that_was_cut_is_told_so_and_what_is_beyond_is_not_counted() -> None:
    work = Work(64 * MIB)
    work.claim(0, 0.0)
    work.advance(0, MIB, 0.1)
    span = work.claim(1, 0.1, lanes=2)
    assert span is not None
    assert work.advance(0, 60 * MIB, 0.2) == span.start
    assert work.remaining_bytes == 64 * MIB - span.start
    assert work.advance(7, MIB, 0.2) == 0


@given(st.floats(0, 1e11), st.integers(1, 10**13), st.integers(1, 64), st.floats(0, 60))
def test_a_wish_is_never_nothing_and_bounded_unless_one_is_alone(
    speed: float, remaining: int, lanes: int, ask_seconds: float
) -> None:
    wish = wish_bytes(speed, remaining, lanes, ask_seconds)
    assert wish == remaining if lanes == 1 else LEAST_BYTES <= wish <= MOST_BYTES


def test_wishes_follow_the_speed_and_shrink_towards_the_end() -> None:
    assert wish_bytes(20 * MIB, 100 * GIB, 16, 0.001) == 20 * MIB
    assert wish_bytes(0, 100 * GIB, 16, 0.001) == USUAL_BYTES
    assert wish_bytes(8 * MIB, 100 * GIB, 16, 0.08) == 32 * MIB, "where asking takes long, less often"
    sizes = [wish_bytes(20 * MIB, remaining * MIB, 16, 0.001) // MIB for remaining in (640, 320, 160, 64, 8)]
    assert sizes == [20, 13, 6, 2, 1]
    assert wish_bytes(5 * MIB, 8 * MIB, 16, 0.1) == 2 * MIB, "there too, the end has to wait for a moment"


@pytest.mark.slow
def test_many_holes_cost_no_more_than_few() -> None:
    """A 200 GiB file of 12,800 pieces, every other one here: handing out ten times the holes takes ten times as long,
    not a hundred times."""

    def seconds(pieces: int) -> float:
        size = 200 * GIB // 12_800
        have = [Span(n * size, (n + 1) * size) for n in random.Random(7).sample(range(pieces), pieces // 2)]
        began = time.process_time()
        work = Work(pieces * size, have)
        while not work.done:
            for lane in range(4):
                if (span := work.claim(lane, 0.0, lanes=16)) is not None:
                    work.advance(lane, span.end, 0.0)
        return time.process_time() - began

    few, many = (min(seconds(pieces) for _ in range(5)) for pieces in (1_280, 12_800))
    assert many < 35 * few


def test_many_threads_share_one_file_without_a_byte_twice() -> None:
    brought = bytearray(4000)

    def lane(number: int) -> None:
        chance = random.Random(number)
        while not work.done:
            now = time.monotonic()
            span = work.claim(number, now, lanes=8)
            at = span.start if span else 0
            while span is not None and at < (end := work.advance(number, at, now)):
                upto = at + chance.randint(1, 9)
                for byte in range(at, min(upto, work.advance(number, upto, now))):
                    brought[byte] += 1
                at = min(upto, end)
                if chance.random() < 0.05:
                    work.release(number)
                    break

    with bytes_for_mebibytes():
        work = Work(len(brought))
        threads = [threading.Thread(target=lane, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert set(brought) == {1}
