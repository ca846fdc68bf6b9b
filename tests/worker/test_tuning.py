"""The number of connections, found on simulated lines: as many as help, and not one more than that for long."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from download_worker.fetchers.http.tuning import LONG_REST_SECONDS, Sample, Tuner
from tests.worker.simulated_lines import GIB, GIGABIT, MIB, Line, Outcome, SimulatedCrew

LOOPBACK = Line(total=1.5 * GIB, sink=1.09 * GIB)
TLS = Line(handshakes=2, total=0.9 * GIB, lane_speed=lambda lane, now: 0.55 * GIB)
PER_LANE = Line(lane_speed=lambda lane, now: 20 * MIB)
LONG_FAT = Line(rtt_seconds=0.08, total=GIGABIT, slow_start=True)
LOSSY = Line(rtt_seconds=0.08, total=GIGABIT, loss=0.001)
PER_HOST = Line(total=30 * MIB)


def fetched(
    line: Line, total_bytes: int, *, seed: int = 1, fixed: int | None = None, step_seconds: float = 0.01
) -> Outcome:
    return SimulatedCrew(line, total_bytes, seed=seed, fixed=fixed, step_seconds=step_seconds).run()


def test_where_our_own_disk_is_the_limit_one_connection_stays_alone() -> None:
    outcome = fetched(LOOPBACK, 20 * GIB)
    assert outcome.lanes_wanted == [(0.0, 1)]
    assert outcome.connects == 1


def test_where_our_own_limit_holds_the_line_back_one_connection_stays_alone() -> None:
    assert fetched(Line(total=100 * MIB, throttle=10 * MIB), GIB // 4).most_lanes == 1


def test_what_is_fast_enough_is_not_tried_at_all() -> None:
    assert fetched(Line(total=GIB, lane_speed=lambda lane, now: 0.65 * GIB), 10 * GIB).connects == 1


def test_over_tls_two_connections_are_found_to_be_enough() -> None:
    outcome = fetched(TLS, 10 * GIB)
    assert outcome.lanes_at(0.3) == 2
    assert outcome.lanes_at(2) == 2
    assert outcome.lanes_at(outcome.seconds) == 2
    assert outcome.most_lanes <= 4
    assert fetched(TLS, GIB).seconds < 1.1 * GIB / (0.9 * GIB)


def test_where_every_connection_has_its_own_limit_all_sixteen_are_there_within_three_seconds() -> None:
    outcome = fetched(PER_LANE, GIB)
    assert outcome.lanes_at(1) == 16
    assert outcome.seconds < 1.15 * 3.2


def test_a_host_that_sends_in_bursts_is_measured_all_the_same() -> None:
    bursts = Line(lane_speed=lambda lane, now: 200 * MIB if (round(now * 100) + 3 * lane) % 10 == 0 else 0.0)
    assert fetched(bursts, GIB).seconds < 1.35 * 3.2


def test_a_long_fat_pipe_is_filled_with_many() -> None:
    outcome = fetched(LONG_FAT, GIB)
    assert outcome.lanes_at(1) == 16
    assert outcome.seconds < 1.2 * 8.6  # 1 GiB at 125 MB/s


def test_a_lossy_line_is_divided_among_many() -> None:
    many = sorted(fetched(LOSSY, 128 * MIB, seed=seed).seconds for seed in range(5))
    assert SimulatedCrew(LOSSY, 128 * MIB, fixed=1).run(most_seconds=60).seconds == pytest.approx(60, abs=0.1)
    assert many[2] < 3.5
    assert many[4] < 6


def test_a_host_that_shares_one_limit_among_all_is_left_with_one() -> None:
    outcome = fetched(PER_HOST, 4 * GIB, step_seconds=0.025)
    assert outcome.most_lanes == 4
    assert outcome.lane_seconds() < 1.03 * outcome.seconds
    assert outcome.seconds < 1.01 * 4 * GIB / (30 * MIB)


def test_such_a_host_far_away_is_let_off_all_but_one_after_half_a_minute() -> None:
    outcome = fetched(Line(rtt_seconds=0.08, total=30 * MIB, slow_start=True), 2 * GIB, step_seconds=0.025)
    assert outcome.lanes_at(1) == 16
    assert outcome.lanes_at(LONG_REST_SECONDS + 30) <= 2
    assert outcome.seconds < 1.04 * 2 * GIB / (30 * MIB)


def test_a_far_host_behind_our_own_limit_is_let_off_too() -> None:
    outcome = fetched(Line(rtt_seconds=0.08, throttle=MIB, slow_start=True), 75 * MIB, step_seconds=0.05)
    assert outcome.lanes_at(outcome.seconds) <= 2


def noisy(share: float, every_seconds: float, seed: int) -> Callable[[float], float]:
    return lambda now: 1 + share * (2 * random.Random(seed * 1_000_003 + int(now / every_seconds)).random() - 1)


@pytest.mark.parametrize("every_seconds", [0.1, 0.7, 3.0])
def test_noise_makes_nobody_flap(every_seconds: float) -> None:
    for seed in range(2):
        line = Line(rtt_seconds=0.01, total=100 * MIB, noise=noisy(0.2, every_seconds, seed))
        outcome = fetched(line, 12 * GIB, step_seconds=0.05)
        assert len(outcome.lanes_wanted) <= 14  # in more than two minutes
        assert outcome.lane_seconds() < 3 * outcome.seconds


def test_noise_hides_no_gain() -> None:
    for seed in range(2):
        line = Line(rtt_seconds=0.01, lane_speed=lambda lane, now: 20 * MIB, noise=noisy(0.2, 0.1, seed))
        assert fetched(line, GIB).lanes_at(2) == 16


def test_a_connection_that_happens_to_be_slow_puts_nobody_off_for_long() -> None:
    line = Line(lane_speed=lambda lane, now: 2 * MIB if lane == 2 else 20 * MIB)
    assert fetched(line, GIB).lanes_at(8) == 16


def test_nothing_is_tried_for_the_last_moment() -> None:
    assert fetched(PER_LANE, 27 * MIB).most_lanes == 1


def test_lanes_that_would_have_next_to_nothing_to_bring_are_not_hired() -> None:
    assert fetched(LONG_FAT, 3 * MIB).most_lanes == 1
    assert fetched(LONG_FAT, 20 * MIB).most_lanes == 4


def sample(at_seconds: float, lanes: int, speed: float = MIB, connect_seconds: float = 0.001) -> Sample:
    return Sample(at_seconds, int(at_seconds * speed), lanes, 0.0, 0.0, 100 * GIB, connect_seconds)


def test_a_host_that_refuses_further_connections_is_not_asked_for_them_again() -> None:
    tuner = Tuner(16)
    assert tuner.observe(sample(0.1, 1, connect_seconds=0.2)) == 16
    for _ in range(12):
        tuner.refused()
    assert {tuner.observe(sample(n / 10, 4, speed=n * MIB)) for n in range(2, 600)} <= {1, 2, 3, 4}


def test_a_host_that_refuses_everything_but_one_is_left_with_one() -> None:
    tuner = Tuner(2)
    assert tuner.observe(sample(0.1, 1, connect_seconds=0.2)) == 2
    tuner.refused()
    tuner.refused()
    assert {tuner.observe(sample(n / 10, 1)) for n in range(2, 600)} == {1}


def test_sixteen_that_were_climbed_to_are_doubted_after_a_rest() -> None:
    outcome = fetched(PER_LANE, 12 * GIB, step_seconds=0.025)
    assert {outcome.lanes_at(at) for at in range(1, int(LONG_REST_SECONDS))} == {16}
    assert outcome.lanes_at(LONG_REST_SECONDS + 1) == 12
    assert outcome.lanes_at(LONG_REST_SECONDS + 5) == 16


def test_one_step_down_too_many_is_taken_back_and_not_all_of_them() -> None:
    tuner, received, lanes, wanted = Tuner(16), 0, 1, []
    for n in range(1, 800):
        received += 100_000 * min(lanes, 9)  # nine bring as much as sixteen
        lanes = tuner.observe(Sample(n / 20, received, lanes, 0.0, 0.0, 100 * GIB, 0.15))
        wanted.append(lanes)
    assert [at for at, before in zip(wanted[1:], wanted, strict=False) if at != before][:4] == [12, 9, 7, 9]


def test_a_host_that_thinks_for_a_minute_makes_no_trial_last_for_minutes() -> None:
    tuner, lanes, wanted = Tuner(16), 1, []
    for n in range(1, 1000):
        lanes = tuner.observe(sample(n / 20, lanes, connect_seconds=60))
        wanted.append(lanes)
    assert wanted[20] == 16
    assert wanted[-1] < 12


def test_lanes_that_never_come_are_not_waited_for_and_not_taken_for_a_gain() -> None:
    tuner = Tuner(16)
    wanted = [tuner.observe(sample(n / 20, 1)) for n in range(1, 140)]
    assert wanted[60] == 4
    assert wanted[-1] == 1


@settings(max_examples=25, deadline=None)
@given(
    most=st.integers(0, 16),
    told=st.lists(
        st.tuples(
            st.floats(0, 30),
            st.integers(0, 10**10),
            st.integers(0, 20),
            st.floats(0, 100),
            st.integers(0, 10**12),
            st.floats(0, 60),
            st.booleans(),
        ),
        max_size=40,
    ),
)
def test_whatever_is_told_there_is_at_least_one_lane_and_never_more_than_allowed(
    most: int, told: list[tuple[float, int, int, float, int, float, bool]]
) -> None:
    tuner, at, received, waited, allowed = Tuner(most), 0.0, 0, 0.0, max(1, most)
    for passed, n_bytes, lanes, pressed, remaining, connect, refused in told:
        at, received, waited = at + passed, received + n_bytes, waited + pressed
        wanted = tuner.observe(Sample(at, received, lanes, waited, 0.0, remaining, connect))
        assert 1 <= wanted <= allowed
        if refused:
            allowed = max(1, wanted - 1)
            tuner.refused()
