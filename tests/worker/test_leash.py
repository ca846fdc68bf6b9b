"""The leash: pulled from any thread, felt at the next check; and the meter that tells the speed."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from download_worker.errors import Interrupted
from download_worker.jobs.job import Progress
from download_worker.leash import SPEED_WINDOW_SECONDS, Leash, Meter


class Watch:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_pulled_leash_interrupts_the_next_check_and_every_wait() -> None:
    leash = Leash()
    leash.check()
    leash.wait(0)
    threading.Thread(target=leash.pull).start()
    with pytest.raises(Interrupted):
        leash.wait(60)
    leash.pull()
    assert leash.pulled
    with pytest.raises(Interrupted):
        leash.check()


def test_n7_a_pull_cuts_what_is_inside_once_and_nothing_that_was_left() -> None:
    leash, cut = Leash(), []
    with leash.cutting(lambda: cut.append("left")):
        pass
    with leash.cutting(lambda: cut.append("outer")), leash.cutting(lambda: cut.append("inner")):
        leash.pull()
    assert cut == ["outer", "inner"]
    with pytest.raises(Interrupted), leash.cutting(lambda: cut.append("late")):
        cut.append("never inside")
    assert cut == ["outer", "inner"]


@given(st.floats(0.001, 0.5), st.integers(1, 50_000_000))
def test_a_steady_speed_is_told_steadily_however_often_it_is_noted(pause: float, speed: int) -> None:
    watch, seen = Watch(), []
    meter = Meter(watch)
    for step in range(int(2 * SPEED_WINDOW_SECONDS / pause) + 2 if pause > 0.05 else 300):
        watch.seconds = 100.0 + step * pause
        meter.note(int(step * pause * speed) + step, 10**15, 1)
        seen.append(meter.read().bytes_per_second)
    assert None not in seen[1:], "it never flickers"
    assert all(told is not None and abs(told * pause - speed * pause - 1) <= 2 for told in seen[2:])


def test_n9_the_time_left_on_a_throttled_line_shrinks_by_a_second_each_second() -> None:
    """1 Mbit/s: what is left by the speed of late, from the first seconds on."""
    watch, rate, seconds = Watch(), 125_000, 600
    meter = Meter(watch)
    for passed in range(seconds + 1):
        watch.seconds = 100.0 + passed
        meter.note(passed * rate, seconds * rate, 1)
        assert meter.read().eta_seconds == (pytest.approx(seconds - passed) if passed else None)


def test_the_speed_follows_within_its_window() -> None:
    watch = Watch()
    meter = Meter(watch)
    done = 0
    for step in range(1_000):
        watch.seconds += 0.01
        done += 1_000 if step < 500 else 10
        meter.note(done, None, 1)
    assert meter.read().bytes_per_second == pytest.approx(1_000, rel=0.01)
    assert meter.read().eta_seconds is None, "without a total there is no end"


def test_a_stalled_download_has_no_speed_but_keeps_its_bytes() -> None:
    watch = Watch()
    meter = Meter(watch)
    for _ in range(3):
        watch.seconds += 1
        meter.note(int(watch.seconds), 1_000, 2)
    told = meter.read()
    assert (told.bytes, told.total, told.bytes_per_second, told.connections) == (103, 1_000, 1.0, 2)
    assert told.eta_seconds == 897
    watch.seconds += SPEED_WINDOW_SECONDS + 1
    assert meter.read() == Progress(bytes=103, total=1_000, connections=2)


def test_a_restart_from_zero_begins_a_new_window() -> None:
    watch = Watch()
    meter = Meter(watch)
    assert meter.read() == Progress()
    for done in (1_000, 2_000, 0, 50):
        watch.seconds += 1
        meter.note(done, None, 1)
    assert meter.read().bytes_per_second == 50
