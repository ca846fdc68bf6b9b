"""A job and its moves: whatever happens in whatever order, the table of legal moves holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from download_worker.clock import FakeClock, Instant, iso
from download_worker.errors import BadRequest, Code, IllegalMove
from download_worker.jobs import moves
from download_worker.jobs.job import (
    MAX_EVENT_CHARS,
    MAX_HISTORY_EVENTS,
    MOVES,
    Job,
    Lease,
    Progress,
    Result,
    Status,
    Verdict,
    WorkerId,
    check_move,
)
from tests import canaries
from tests.jobs import make_info, make_job

CLOCK = FakeClock()
AT = iso(CLOCK.now())
WORKER = WorkerId("worker-1-aaaaaaaaaaaa")
LEASE = Lease.starting(CLOCK.steady(), 60)
VERDICT = Verdict(verdict="REJECTED", reason="no", by="rules")
HOSTILE = "\x1b]0;x\x07\nline two\u202e" * 100
SECRETS = ("s3cr3t-user", canaries.PASSWORD, canaries.IN_URL, canaries.SIGNATURE)

BY_ITS_OWNER: dict[str, moves.Move] = {
    "downloading": moves.downloading("Downloading", AT),
    "verifying": moves.verifying(HOSTILE, 9, AT),
    "promoting": moves.promoting(Result(sha256="a" * 64), AT),
    "succeeded": moves.succeeded(Result(path="/models/x"), "In place", AT),
    "failed": moves.failed(Code.NOT_FOUND, HOSTILE, AT, verdict=VERDICT),
    "cancelled": moves.cancelled(AT),
    "given back": moves.given_back(AT, "Given back"),
    "put off": moves.put_off(CLOCK.now(), "Later", AT),
    "put off, refunded": moves.put_off(CLOCK.now(), "Later", AT, refund=True),
    "reclaimed": moves.reclaimed(CLOCK.now(), max_tries=3, base_seconds=5, cap_seconds=60),
}
BY_ANYBODY: dict[str, moves.Move] = {
    "retried": moves.retried(AT),
    "cancel asked for": moves.cancel_requested(AT),
    "paused": moves.paused(AT, pause=True),
    "resumed": moves.paused(AT, pause=False),
    "prioritised": moves.prioritised(7, AT),
}


def claim(job: Job) -> Job:
    return moves.claimed(job, WORKER, LEASE, AT)


def step(job: Job, name: str) -> Job:
    """One thing that happens, as a ledger lets it happen."""
    if name == "claimed":
        return claim(job) if job.live and job.worker is None and not job.paused else job
    if name in BY_ITS_OWNER:
        return BY_ITS_OWNER[name](job) if job.worker is not None else job
    try:
        return BY_ANYBODY[name](job)
    except BadRequest:
        return job


@given(
    st.lists(st.sampled_from(["claimed", "claimed", "claimed", *BY_ITS_OWNER, *BY_ANYBODY]), min_size=10, max_size=40)
)
@settings(max_examples=200)
def test_q13_no_sequence_of_events_breaks_the_rules(names: list[str]) -> None:
    walk = [make_job()]
    for name in names:
        walk.append(step(walk[-1], name))
    for before, after in pairwise(walk):
        assert before.status is after.status or after.status in MOVES[before.status]
        assert after.attempts in (before.attempts, before.attempts + 1)
        assert 0 <= after.tries <= after.attempts
        assert (after.worker is None) == (after.lease is None)
        assert after.live or after.worker is None, "an ended job has no owner"
        assert not (after.not_before and after.worker), "who waits is not owned"
        assert not (before.status is Status.SUCCESS and after is not before), "SUCCESS is the end"
        assert len(after.history) <= MAX_HISTORY_EVENTS
        assert after.history[0] == walk[0].history[0], "where it came from is never forgotten"
        assert all(len(e.event) <= MAX_EVENT_CHARS and e.event.isprintable() for e in after.history)
        assert Job.model_validate(after.model_dump() | _inner(after)) == after


def _inner(job: Job) -> dict[str, object]:
    return {name: getattr(job, name) for name, field in Job.model_fields.items() if field.exclude}


@given(st.integers(0, 400))
@settings(max_examples=20)
def test_history_keeps_the_first_event_and_the_newest(rounds: int) -> None:
    job = make_job()
    for number in range(rounds):
        job = moves.prioritised(number + 1, AT)(job)
    assert len(job.history) == min(rounds + 1, MAX_HISTORY_EVENTS)
    assert job.history[0].event == "Job created"
    assert rounds == 0 or job.history[-1].event == f"Priority {rounds}"


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_the_table_alone_says_which_move_is_legal(before: Status, after: Status) -> None:
    if before is after or after in MOVES[before]:
        check_move(before, after)
    else:
        with pytest.raises(IllegalMove):
            check_move(before, after)


@pytest.mark.parametrize("name", sorted(BY_ITS_OWNER.keys() - {"succeeded", "promoting"}))
def test_nothing_leads_out_of_success(name: str) -> None:
    done = BY_ITS_OWNER["succeeded"](claim(make_job()))
    with pytest.raises(IllegalMove):
        BY_ITS_OWNER[name](done)


@pytest.mark.parametrize("name", sorted(BY_ANYBODY.keys() - {"retried"}))
def test_what_people_ask_of_an_ended_job_changes_nothing(name: str) -> None:
    for end in ("succeeded", "failed"):
        ended = BY_ITS_OWNER[end](claim(make_job()))
        assert BY_ANYBODY[name](ended) is ended, "its end also says when it may be forgotten"


@given(st.integers(-5, 10_000), st.floats(0.1, 100), st.floats(0.1, 86_400), st.floats(0, 0.999999))
def test_n1_the_wait_doubles_with_full_jitter_and_stays_within_its_bounds(
    tries: int, base: float, cap: float, roll: float
) -> None:
    wait = moves.backoff_seconds(tries, base_seconds=base, cap_seconds=cap, roll=lambda: roll)
    ceiling = min(cap, base * 2.0 ** min(tries - 1, 32))
    assert ceiling / 10 <= wait <= ceiling <= cap


def test_n1_the_wait_is_random_and_doubles() -> None:
    def most(tries: int) -> float:
        return moves.backoff_seconds(tries, base_seconds=5, cap_seconds=60, roll=lambda: 1.0)

    assert [most(tries) for tries in range(1, 7)] == [5, 10, 20, 40, 60, 60]
    assert len({moves.backoff_seconds(3, base_seconds=5, cap_seconds=60) for _ in range(20)}) > 10


def test_giving_back_refunds_the_try_and_a_reclaim_does_not() -> None:
    job = claim(make_job())
    assert (moves.given_back(AT, "x")(job).tries, moves.given_back(AT, "x")(job).attempts) == (0, 1)
    assert moves.put_off(CLOCK.now(), "x", AT)(job).tries == 1
    assert moves.put_off(CLOCK.now(), "x", AT, refund=True)(job).tries == 0


def test_p8_a_job_that_kills_its_workers_waits_longer_and_at_last_ends() -> None:
    reclaim = moves.reclaimed(CLOCK.now(), max_tries=3, base_seconds=5, cap_seconds=60)
    first = reclaim(claim(make_job()))
    assert (first.status, first.not_before, first.worker) == (Status.PENDING, None, None)
    second = reclaim(claim(first))
    assert second.not_before is not None
    assert second.not_before > AT
    third = reclaim(claim(second))
    assert (third.status, third.result.code) == (Status.FAILED, "crash_loop")


def test_a_job_that_waits_for_a_verdict_keeps_its_place() -> None:
    whole = moves.verifying("whole", 9, AT)(claim(make_job()))
    for back in (moves.given_back(AT, "x"), moves.put_off(CLOCK.now(), "x", AT), BY_ITS_OWNER["reclaimed"]):
        waiting = back(whole)
        assert waiting.status is Status.VERIFYING
        assert claim(waiting).status is Status.VERIFYING


@pytest.mark.parametrize("name", ["given back", "put off", "reclaimed", "promoting"])
def test_q13_a_wish_to_cancel_is_granted_at_the_next_turn(name: str) -> None:
    job = moves.cancel_requested(AT)(claim(make_job()))
    assert job.status is Status.DOWNLOADING
    ended = BY_ITS_OWNER[name](job)
    assert (ended.status, ended.result.code) == (Status.FAILED, "cancelled")


def test_q13_a_cancel_is_too_late_only_until_the_file_turns_out_not_to_be_in_place() -> None:
    lost = BY_ITS_OWNER["reclaimed"](BY_ITS_OWNER["promoting"](claim(make_job())))
    assert lost.promoting, "its file may be in place: nobody has looked"
    assert moves.cancel_requested(AT)(lost) == lost
    again = moves.downloading("Downloading", AT)(claim(lost))
    assert moves.cancel_requested(AT)(again).cancel_requested


def test_a_retry_starts_afresh_but_keeps_the_fence() -> None:
    failed = BY_ITS_OWNER["failed"](moves.paused(AT, pause=True)(claim(make_job())))
    again = moves.retried(AT)(failed)
    assert (again.tries, again.attempts, again.result, again.progress) == (0, 1, Result(), Progress())
    assert not (again.paused or again.cancel_requested or again.promoting)


def test_a_failure_claims_no_place_digest_or_verdict_of_the_file_that_is_not_there() -> None:
    judged = claim(make_job()).model_copy(update={"result": Result(verdict=VERDICT, sha256="a" * 64)})
    failed = moves.failed(Code.CONFLICT, "there is another file", AT)(judged)
    assert failed.result == Result(code="conflict", reason="there is another file")
    assert failed.result.code == "conflict"


def test_t22_what_leaves_the_house_tells_neither_internals_nor_secrets() -> None:
    user, password, token, signature = SECRETS
    url = f"https://{user}:{password}@h.example/x.pt?token={token}&X-Amz-Signature={signature}&v=1#{token}"
    job = claim(make_job(info=make_info("x.pt", download_url=url, mirrors=(url,))))
    document = job.public()
    told = json.dumps(document)
    assert not [secret for secret in SECRETS if secret in told]
    assert document["model_info"]["download_url"].startswith("https://h.example/x.pt?")
    assert set(document) == {
        *("job_id", "status", "added_at", "attempts", "model_info", "history", "kind", "priority", "not_before"),
        *("paused", "machine", "progress", "result"),
    }
    assert WORKER not in told


def test_t22_a_changed_job_is_a_new_one() -> None:
    job = make_job()
    changed = claim(job)
    assert job.attempts == 0
    with pytest.raises(ValueError, match="frozen"):
        changed.status = Status.SUCCESS  # type: ignore[misc]


def _at(boot: str, seconds: float) -> Instant:
    return Instant(boot, seconds)


def test_c1_p10_a_lease_holds_for_its_time_in_its_boot_only() -> None:
    lease = Lease.starting(_at("boot-1", 100.0), 60)
    holds: Callable[[Instant], bool] = lease.holds
    assert holds(_at("boot-1", 100.0))
    assert holds(_at("boot-1", 159.9))
    assert not holds(_at("boot-1", 160.0))
    assert not holds(_at("boot-2", 110.0)), "after a reboot nobody holds anything"
    assert not holds(_at("boot-1", 99.0)), "a lease from the future is void: there is no boot id on this system"


def test_c3_times_sort_as_text() -> None:
    moments = [CLOCK.now() + timedelta(seconds=seconds) for seconds in (0, 0.001, 1, 3600, 86_400)]
    told = [iso(moment) for moment in moments]
    assert told == sorted(told)
    assert {len(text) for text in told} == {24}
    assert told[0] == "2026-01-01T00:00:00.000Z"


def test_a_file_that_is_being_put_in_place_is_never_given_up_for_a_crash_loop() -> None:
    """It may be in its place already; the next owner looks, and needs no fetch for that."""
    promised = moves.promoting(Result(sha256="a" * 64), AT)(claim(make_job(tries=2)))
    back = moves.reclaimed(FakeClock().now(), max_tries=3, base_seconds=1, cap_seconds=1)(promised)
    assert (back.live, back.promoting, back.result.sha256) == (True, True, "a" * 64)
    crashed = moves.reclaimed(FakeClock().now(), max_tries=3, base_seconds=1, cap_seconds=1)(claim(make_job(tries=2)))
    assert crashed.result.code == "crash_loop"
