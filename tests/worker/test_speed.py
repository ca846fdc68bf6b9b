"""Speeds: what came of late, and whether it was worth the wait."""

from __future__ import annotations

import pytest

from download_worker.fetchers.http.speed import MARKS_PER_WINDOW, Rate, SpeedFloor


def steady(rate: Rate, speed: float, until: float) -> Rate:
    for n in range(1, round(until * 20) + 1):
        rate.add(int(speed / 20), n / 20)
    return rate


def test_a_steady_line_has_its_speed_from_the_beginning() -> None:
    for until in (0.1, 1, 10):
        assert steady(Rate(0.0), 1e6, until).bytes_per_second(until) == pytest.approx(1e6, rel=0.02)


def test_a_line_that_changes_is_believed_within_seconds() -> None:
    rate = steady(Rate(0.0), 1e6, 10)
    for n in range(1, 61):
        rate.add(500_000, 10 + n / 20)
    assert rate.bytes_per_second(13) == pytest.approx(1e7, rel=0.06)


def test_silence_counts_unless_nothing_was_to_come() -> None:
    silent, idle = steady(Rate(0.0), 1e6, 10), steady(Rate(0.0), 1e6, 10)
    assert silent.bytes_per_second(13) < 0.02e6
    idle.resume(13)
    assert idle.bytes_per_second(13) == pytest.approx(1e6, rel=0.02)


def test_what_is_expected_of_a_new_line_is_soon_replaced_by_what_it_does() -> None:
    assert Rate(0.0, 1e6).bytes_per_second(0.0) == pytest.approx(1e6)
    assert steady(Rate(0.0, 1e6), 1e7, 3).bytes_per_second(3) == pytest.approx(1e7, rel=0.02)


def seconds_until_below(floor: SpeedFloor, speed: float, *, tick: float = 1.0, limit: float = 2000.0) -> float | None:
    at = 0.0
    while at < limit:
        if floor.is_below(at, int(at * speed)):
            return at
        at += tick
    return None


def test_n8_a_drip_is_told_after_one_window() -> None:
    for tick in (0.05, 1, 60):
        assert seconds_until_below(SpeedFloor(), 1.0, tick=tick) == pytest.approx(300, abs=0.1)


def test_n8_a_slow_but_honest_line_is_let_be() -> None:
    assert seconds_until_below(SpeedFloor(), 10_100.0) is None
    assert seconds_until_below(SpeedFloor(min_bytes_per_second=0), 0.0) is None


def test_n8_a_line_that_becomes_a_drip_is_told_after_one_window_more() -> None:
    floor, told = SpeedFloor(), None
    for at in range(2000):
        if told is None and floor.is_below(at, min(at, 1000) * 1_000_000 + at):
            told = at
    assert told is not None and 1300 <= told <= 1300 + 300 / MARKS_PER_WINDOW + 1


def test_n8_what_we_waited_ourselves_does_not_count() -> None:
    """Four lanes under a bandwidth limit of a few bytes per second, each waiting nearly all the time."""
    floor = SpeedFloor()
    assert not any(floor.is_below(at, at, own_wait_seconds=4 * 0.95 * at, lanes=4) for at in range(5000))
    assert any(floor.is_below(at, at, own_wait_seconds=4 * 0.95 * at, lanes=4) for at in range(5000, 8000))


def test_n8_a_long_wait_may_be_told_before_it_is_waited() -> None:
    floor = SpeedFloor()
    assert not any(floor.is_below(at, 0, own_wait_seconds=1000 * (at >= 10)) for at in range(1300))
    assert any(floor.is_below(at, 0, own_wait_seconds=1000) for at in range(1300, 1320))


def test_n8_lanes_that_come_and_go_make_no_time_of_their_own() -> None:
    floor = SpeedFloor()
    assert not any(floor.is_below(at, 0, own_wait_seconds=at, lanes=1) for at in range(1000))
    assert not any(floor.is_below(at, 0, own_wait_seconds=1000, lanes=16) for at in range(1000, 1290))


def test_n8_the_memory_is_bounded_however_often_it_is_told() -> None:
    floor = SpeedFloor()
    for n in range(100_000):
        floor.is_below(n / 100, n * 1_000_000)
    assert len(floor._marks) <= MARKS_PER_WINDOW + 2
