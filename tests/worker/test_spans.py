"""Which bytes there are and who gave them, and their digests: held against the simplest thing that could be right."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from download_worker.fetchers.http import hashing
from download_worker.fetchers.http.hashing import Hasher
from download_worker.fetchers.http.spans import SpanMap, coarse
from download_worker.room import Span, Stretch

MOST = 40
DEEDS = st.lists(st.tuples(st.booleans(), st.integers(0, MOST), st.integers(0, MOST), st.integers(0, 2)), max_size=25)


def filled(deeds: list[tuple[bool, int, int, int]]) -> tuple[SpanMap, dict[int, int]]:
    """The map, and the same as one giver for each byte."""
    spans, bytes_of = SpanMap(), dict[int, int]()
    for adds, one, other, giver in deeds:
        start, end = min(one, other), max(one, other)
        if adds:
            for gap in spans.gaps(start, end):
                spans.add(*gap, giver)
            bytes_of = {**dict.fromkeys(range(start, end), giver), **bytes_of}
        else:
            spans.cut(start, end)
            bytes_of = {at: giver for at, giver in bytes_of.items() if not start <= at < end}
    return spans, bytes_of


@settings(max_examples=25)
@given(DEEDS)
def test_a_map_knows_every_byte_and_its_giver_and_neighbours_are_one(deeds: list[tuple[bool, int, int, int]]) -> None:
    spans, bytes_of = filled(deeds)
    stretches = spans.stretches()
    assert {at: giver for start, end, giver in stretches for at in range(start, end)} == bytes_of
    assert spans.bytes == len(bytes_of)
    assert spans.end == max(bytes_of, default=-1) + 1
    for left, right in pairwise(stretches):
        assert left.end < right.start or (left.end == right.start and left.giver != right.giver)
    assert all(start < end for start, end, _ in stretches)
    assert SpanMap(stretches).stretches() == stretches
    for left_span, right_span in pairwise(spans.spans()):
        assert left_span.end < right_span.start
    assert sum(end - start for start, end in spans.spans()) == len(bytes_of)


@settings(max_examples=25)
@given(DEEDS, st.integers(0, MOST), st.integers(0, MOST))
def test_gaps_are_what_is_missing_and_reach_is_where_the_first_one_begins(
    deeds: list[tuple[bool, int, int, int]], one: int, other: int
) -> None:
    spans, bytes_of = filled(deeds)
    start, end = min(one, other), max(one, other)
    missing = [at for at in range(start, end) if at not in bytes_of]
    assert [at for gap in spans.gaps(start, end) for at in range(*gap)] == missing
    first_gap = next(at for at in range(start, MOST + 2) if at not in bytes_of)
    assert spans.reach(start) == first_gap
    assert spans.reach(start, end) == min(first_gap, end)


@settings(max_examples=25)
@given(DEEDS, st.integers(1, 5))
def test_a_coarse_map_has_the_same_bytes_in_fewer_stretches(deeds: list[tuple[bool, int, int, int]], most: int) -> None:
    spans, bytes_of = filled(deeds)
    merged = coarse(spans.stretches(), most)
    assert {at for start, end, _ in merged for at in range(start, end)} == set(bytes_of)
    assert len(merged) <= max(most, len(spans.spans()))
    assert list(merged) == sorted(merged)


def test_a_map_that_is_fine_enough_stays_as_it_is() -> None:
    stretches = (Stretch(0, 5, 0), Stretch(5, 6, 1), Stretch(8, 9, 1))
    assert coarse(stretches, 3) == stretches
    assert coarse(stretches, 2) == (Stretch(0, 6, 0), Stretch(8, 9, 1))
    assert SpanMap(stretches).spans() == (Span(0, 6), Span(8, 9))


@settings(max_examples=25)
@given(
    st.binary(max_size=100),
    st.lists(st.tuples(st.integers(1, 30), st.none() | st.integers(0, 100)), min_size=1, max_size=20),
)
def test_digests_are_those_of_the_bytes_wherever_it_was_begun_again(
    data: bytes, steps: list[tuple[int, int | None]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "PIECE_BYTES", 16)
        hasher = Hasher()
        for count, back in steps:
            hasher.update(memoryview(data)[hasher.at : hasher.at + count])
            if back is not None:
                before = hasher.at
                hasher.back_to(back)
                assert min(before, back // 16 * 16) <= hasher.at <= min(before, back)
        hasher.update(memoryview(data)[hasher.at :])
        assert hasher.at == len(data)
        assert hasher.sha256 == hashlib.sha256(data).hexdigest()
        assert hasher.pieces == b"".join(xxhash.xxh3_128(data[at : at + 16]).digest() for at in range(0, len(data), 16))
