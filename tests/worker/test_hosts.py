"""The circuit breakers: when a host rests, who probes it, what ends the rest, and that nothing waits for ever."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from download_worker.clock import FakeClock
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.hosts import LET_GO_MEMORY_SECONDS, QUIET_SECONDS, Hosts, Sign, sign_of
from download_worker.jobs.job import Job, Status
from tests.jobs import make_info, make_job

HOST, OTHER = "a.example", "b.example"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hosts(clock: FakeClock) -> Hosts:
    limits = {"outage_patience_seconds": 3600.0, "network_patience_seconds": 86_400.0}
    return Hosts(clock, probe_cap_seconds=20.0, roll=lambda: 1.0, **limits)


def job_at(host: str = HOST, *mirrors: str) -> Job:
    urls = [f"https://{each}/f" for each in (host, *mirrors)]
    return make_job(info=make_info(download_url=urls[0], mirrors=tuple(urls[1:])))


def unreachable(error: OSError | None = None) -> TryLater:
    trouble = TryLater(Code.NO_CONNECTION, "no connection: Network is unreachable")
    trouble.__cause__ = error or OSError(errno.ENETUNREACH, "Network is unreachable")
    return trouble


def refused() -> TryLater:
    trouble = TryLater(Code.NO_CONNECTION, "no connection: Connection refused")
    trouble.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    return trouble


def broken() -> TryLater:
    return TryLater(Code.SERVER_ERROR, "answered 500")


def asks_for(seconds: float) -> TryLater:
    return TryLater(Code.BUSY_HOST, "answered 429", retry_after_seconds=seconds)


def beyond(trouble: TryLater) -> TryLater:
    trouble.beyond = True
    return trouble


def probe(hosts: Hosts, trouble: Trouble, job: Job | None = None) -> bool:
    """One job's whole attempt. Whether its try is refunded."""
    job = job or job_at()
    hosts.begun(job)
    waits = hosts.wait_of(job, trouble) is not None
    hosts.ended(job)
    return waits


def test_n11_a_job_whose_file_is_whole_is_no_probe_for_it_asks_nobody(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    clock.advance(5)
    hosts.begun(job_at().model_copy(update={"status": Status.VERIFYING}))
    assert hosts.resting() == frozenset(), "the probe is still to be had"


def test_n11_a_job_that_fails_every_time_at_a_host_that_answers_others_is_not_refunded_for_ever(
    hosts: Hosts, clock: FakeClock
) -> None:
    poison = [job_at() for _ in range(3)]
    refunded_at: list[float] = []
    began = clock.steady().seconds
    for _ in range(60):
        refunded = [probe(hosts, TryLater(Code.STALLED, "silent"), job) for job in poison]
        if any((*refunded, hosts.excused())):
            refunded_at.append(clock.steady().seconds - began)
        hosts.answered(HOST)
        clock.advance(120)
    assert refunded_at
    assert max(refunded_at) < 3600
    clock.advance(QUIET_SECONDS)
    assert any(probe(hosts, TryLater(Code.STALLED, "silent"), job) for job in poison), "after a while it may be another"
    assert len(hosts._indulged) == 3, "nobody else is remembered"


# what a trouble says


@pytest.mark.parametrize(
    ("trouble", "sign"),
    [
        (unreachable(), Sign.UNREACHABLE),
        (unreachable(OSError(errno.EHOSTUNREACH, "")), Sign.UNREACHABLE),
        (unreachable(TimeoutError("timed out")), Sign.UNREACHABLE),
        (unreachable(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")), Sign.UNREACHABLE),
        (unreachable(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), Sign.REFUSES),
        (refused(), Sign.REFUSES),
        (TryLater(Code.NO_CONNECTION, "hung up"), Sign.REFUSES),
        (TryLater(Code.STALLED, "took the question and did not answer"), Sign.REFUSES),
        (broken(), Sign.REFUSES),
        (TryLater(Code.BUSY_HOST, "answered 503"), Sign.REFUSES),
        (asks_for(9), Sign.ASKS_FOR_TIME),
        (TryLater(Code.CUT_SHORT, "ended early"), Sign.ANSWERS),
        (GiveUp(Code.NOT_FOUND, "answered 404"), Sign.ANSWERS),
        (GiveUp(Code.HASH_MISMATCH, "other bytes"), Sign.ANSWERS),
        (TryLater(Code.DISK_FULL, "no space"), Sign.NOTHING),
        (TryLater(Code.NO_VERDICT, "the model is silent"), Sign.NOTHING),
        (GiveUp(Code.INTERNAL, "a fault of ours"), Sign.NOTHING),
    ],
)
def test_a_trouble_tells_a_host_that_is_away_from_one_that_answers(trouble: Trouble, sign: Sign) -> None:
    assert sign_of(trouble) is sign


def test_a_way_that_is_missing_is_seen_behind_other_errors() -> None:
    outer = RuntimeError("wrapped")
    outer.__context__ = OSError(errno.ENETDOWN, "Network is down")
    trouble = TryLater(Code.NO_CONNECTION, "no way")
    trouble.__cause__ = outer
    assert sign_of(trouble) is Sign.UNREACHABLE


# when a host rests


def test_n11_a_host_that_no_way_leads_to_rests_at_once_and_costs_its_first_job_nothing(hosts: Hosts) -> None:
    assert probe(hosts, unreachable())
    assert hosts.resting() == {HOST}
    assert hosts.away(HOST)
    assert not hosts.away(OTHER)


@pytest.mark.parametrize("trouble", [refused, broken])
def test_n11_a_host_that_was_reached_rests_when_it_fails_several_jobs_in_a_row_and_all_of_them_are_excused(
    hosts: Hosts, trouble: Callable[[], Trouble]
) -> None:
    first, second, third = job_at(), job_at(), job_at()
    assert not probe(hosts, trouble(), first)
    assert not probe(hosts, trouble(), second)
    assert hosts.resting() == frozenset()
    assert probe(hosts, trouble(), third)
    assert hosts.resting() == {HOST}
    assert hosts.excused() == {first.job_id, second.job_id}
    assert hosts.excused() == frozenset(), "once"


def test_one_job_that_fails_again_and_again_is_no_outage_of_its_host(hosts: Hosts) -> None:
    job = job_at()
    assert not any(probe(hosts, broken(), job) for _ in range(9))
    assert hosts.resting() == frozenset()


def test_an_answer_between_two_failures_is_no_row(hosts: Hosts) -> None:
    for _ in range(9):
        assert not probe(hosts, broken())
        hosts.answered(HOST)
        assert not probe(hosts, broken())
        assert not probe(hosts, GiveUp(Code.NOT_FOUND, "404"))
    assert hosts.resting() == frozenset()


def test_what_this_machine_does_wrong_makes_no_host_rest(hosts: Hosts) -> None:
    assert not any(probe(hosts, TryLater(Code.DISK_FULL, "no space")) for _ in range(9))
    assert hosts.resting() == frozenset()


# probing


def test_n11_one_job_probes_at_a_time_after_pauses_that_grow_to_their_cap(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    pauses = []
    for _ in range(7):
        pause = hosts.next_probe_seconds()
        assert pause is not None
        pauses.append(pause)
        clock.advance(pause - 0.01)
        assert hosts.resting() == {HOST}, "not before its time"
        clock.advance(0.01)
        assert hosts.resting() == frozenset(), "one job may be claimed"
        job = job_at()
        hosts.begun(job)
        assert hosts.resting() == {HOST}, "and no second one"
        assert hosts.wait_of(job, unreachable())
        hosts.ended(job)
        assert hosts.resting() == {HOST}
    assert pauses == [1, 2, 4, 8, 16, 20, 20]


def test_a_job_that_was_running_when_the_outage_began_is_no_probe(hosts: Hosts) -> None:
    running = [job_at() for _ in range(3)]
    for job in running:
        hosts.begun(job)
    for job in running:
        assert hosts.wait_of(job, unreachable())
        hosts.ended(job)
    assert hosts.next_probe_seconds() == 1


def test_a_probe_that_was_interrupted_makes_way_for_the_next_one(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    clock.advance(1)
    job = job_at()
    hosts.begun(job)
    hosts.ended(job)
    assert hosts.resting() == frozenset()


def test_a_probe_that_is_due_but_that_no_job_makes_wakes_nobody_again_and_again(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    clock.advance(5)
    assert hosts.next_probe_seconds() is None


def test_n11_the_first_answer_ends_the_rest_and_wakes_whoever_waits(hosts: Hosts, clock: FakeClock) -> None:
    woken: list[None] = []
    hosts.listen(lambda: woken.append(None))
    probe(hosts, unreachable())
    clock.advance(1)
    hosts.begun(job_at())
    hosts.answered(OTHER)
    assert woken == []
    assert hosts.resting() == {HOST}
    hosts.answered(HOST)
    assert woken == [None]
    assert hosts.resting() == frozenset()
    hosts.answered(HOST)
    assert woken == [None]


def test_n11_a_404_is_an_answer_as_good_as_any(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    clock.advance(1)
    assert not probe(hosts, GiveUp(Code.NOT_FOUND, "404"))
    assert hosts.resting() == frozenset()


# patience


def fail_for(hosts: Hosts, clock: FakeClock, seconds: float, trouble: Callable[[], Trouble]) -> int:
    """Probes while an outage lasts. Returns how many of them cost a try."""
    counted, until, job = 0, clock.steady().seconds + seconds, job_at()
    while clock.steady().seconds < until:
        counted += not probe(hosts, trouble(), job)
        clock.advance(hosts.next_probe_seconds() or 20)
    return counted


def test_n11_a_network_that_is_away_altogether_costs_no_try_for_a_day(hosts: Hosts, clock: FakeClock) -> None:
    assert fail_for(hosts, clock, 86_300, unreachable) == 0
    assert fail_for(hosts, clock, 600, unreachable) > 0, "but nothing waits for ever"


def test_a_host_that_alone_is_away_costs_tries_after_an_hour(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    hosts.answered(OTHER)
    clock.advance(1)
    hosts.answered(OTHER)
    assert fail_for(hosts, clock, 3500, unreachable) == 0
    assert fail_for(hosts, clock, 200, unreachable) > 0
    assert hosts.resting() == frozenset(), "its jobs go their own way now"


def test_a_host_that_was_reached_and_refuses_costs_tries_after_an_hour(hosts: Hosts, clock: FakeClock) -> None:
    for _ in range(3):
        probe(hosts, refused())
    assert fail_for(hosts, clock, 3500, refused) == 0
    assert fail_for(hosts, clock, 200, refused) > 0


def test_patience_is_not_had_twice_for_one_outage_but_again_after_an_answer(hosts: Hosts, clock: FakeClock) -> None:
    fail_for(hosts, clock, 86_500, unreachable)
    clock.advance(QUIET_SECONDS + 1)
    assert not probe(hosts, unreachable()), "still the same outage, though the job waited long"
    hosts.answered(HOST)
    assert probe(hosts, unreachable())


def test_an_outage_of_long_ago_that_nobody_saw_the_end_of_is_another_one(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    clock.advance(90_000)
    assert probe(hosts, unreachable())
    assert hosts.resting() == {HOST}
    fail_for(hosts, clock, 90_000, unreachable)
    clock.advance(LET_GO_MEMORY_SECONDS + 60)
    assert probe(hosts, unreachable())


# Retry-After


def test_h16_when_a_host_asks_for_time_all_its_jobs_wait_and_none_loses_a_try(hosts: Hosts, clock: FakeClock) -> None:
    assert probe(hosts, asks_for(600))
    assert hosts.resting() == {HOST}
    hosts.answered(HOST)
    assert hosts.resting() == {HOST}, "another job's answer does not shorten it"
    clock.advance(599)
    assert hosts.resting() == {HOST}
    clock.advance(1)
    assert hosts.resting() == frozenset()
    hosts.begun(job_at())
    assert hosts.resting() == {HOST}, "one job sees first"
    hosts.answered(HOST)
    assert hosts.resting() == frozenset()


def test_h16_of_two_times_that_are_asked_for_the_later_one_counts(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, asks_for(600))
    probe(hosts, asks_for(5))
    clock.advance(500)
    assert hosts.resting() == {HOST}


def test_h16_a_host_that_asks_for_time_again_and_again_costs_tries_after_an_hour_and_still_gets_its_time(
    hosts: Hosts, clock: FakeClock
) -> None:
    probe(hosts, asks_for(1))
    clock.advance(1)
    hosts.answered(OTHER)
    assert fail_for(hosts, clock, 3500, lambda: asks_for(300)) == 0
    assert fail_for(hosts, clock, 1200, lambda: asks_for(300)) > 0
    assert not probe(hosts, asks_for(300))
    assert hosts.resting() == {HOST}
    assert hosts.next_probe_seconds() == 300
    clock.advance(300)
    hosts.begun(job_at())
    assert hosts.resting() == {HOST}, "still one job at a time sees first"
    hosts.answered(HOST)
    assert probe(hosts, asks_for(300)), "it served in between"


def test_h16_a_quota_of_hours_costs_no_try_of_a_host_that_is_asked_alone(hosts: Hosts, clock: FakeClock) -> None:
    assert fail_for(hosts, clock, 6 * 3600, lambda: asks_for(300)) == 0


def test_h16_what_is_asked_for_beyond_a_redirect_is_asked_of_one_job(hosts: Hosts) -> None:
    """Where one file's redirect leads is not where the others lead."""
    assert not probe(hosts, beyond(asks_for(600)))
    assert not probe(hosts, beyond(unreachable()))
    assert hosts.resting() == frozenset()


def test_n11_what_fails_for_several_jobs_in_a_row_beyond_a_redirect_is_an_outage_all_the_same(hosts: Hosts) -> None:
    for _ in range(2):
        assert not probe(hosts, beyond(unreachable()))
    job = job_at()
    wait = hosts.wait_of(job, beyond(asks_for(600)))
    assert wait is not None
    assert hosts.resting() == {HOST}
    assert wait.seconds == 600, "for this job as long as was asked"
    assert hosts.next_probe_seconds() == 1, "for the others not"


def test_an_outage_after_a_time_that_was_asked_for_is_an_outage_of_its_own(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, asks_for(3600))
    clock.advance(3600)
    assert probe(hosts, unreachable())
    assert hosts.next_probe_seconds() == 1


# mirrors


def test_a_job_with_a_mirror_waits_only_while_all_its_hosts_are_away(hosts: Hosts, clock: FakeClock) -> None:
    job = job_at(HOST, OTHER)
    hosts.failed(job, unreachable(), HOST)
    assert hosts.wait_of(job, unreachable()) is None, "its mirror was asked as well, and is there"
    hosts.failed(job, unreachable(), OTHER)
    wait = hosts.wait_of(job, unreachable())
    assert wait is not None
    assert wait.seconds == 1


def test_a_job_with_a_mirror_is_no_probe_that_others_would_have_to_wait_for(hosts: Hosts, clock: FakeClock) -> None:
    probe(hosts, unreachable())
    clock.advance(1)
    hosts.begun(job_at(HOST, OTHER))
    assert hosts.resting() == frozenset()


def test_of_several_sources_one_that_is_away_is_asked_last_until_it_is_due_again(
    hosts: Hosts, clock: FakeClock
) -> None:
    probe(hosts, unreachable())
    assert hosts.away(HOST)
    clock.advance(1)
    assert not hosts.away(HOST)
    hosts.failed(job_at(HOST, OTHER), unreachable(), HOST)
    assert hosts.away(HOST)


def test_a_waiting_job_says_since_when_and_when_it_is_tried_again(hosts: Hosts) -> None:
    job = job_at()
    wait = hosts.wait_of(job, unreachable())
    assert wait is not None
    assert "since 2026-01-01T00:00:00.000Z" in wait.told
    assert "next try at 2026-01-01T00:00:01.000Z" in wait.told
    assert HOST in wait.told
