"""Both ledgers, one contract: what is written here holds for SQL and for the twin in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from download_worker.clock import FakeClock, iso
from download_worker.database import open_engine
from download_worker.errors import BadRequest, Code, IllegalMove, LostClaim
from download_worker.jobs import moves
from download_worker.jobs.job import Claim, Job, Lease, Progress, Result, Status, WorkerId
from download_worker.jobs.ledger import Bars, Beat, Ledger, Order, Pieces, Question, Waiting
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.jobs.sql_ledger import SqlLedger
from tests.jobs import make_info, make_job

ALICE, BOB = WorkerId("worker-1-aaaaaaaaaaaa"), WorkerId("worker-2-bbbbbbbbbbbb")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sql", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    made: Ledger = MemoryLedger() if request.param == "memory" else SqlLedger(open_engine(f"sqlite:///{tmp_path}/l.db"))
    yield made
    made.close()


def claim(ledger: Ledger, clock: FakeClock, worker: WorkerId = ALICE, **bars: frozenset[str]) -> Job | None:
    return ledger.claim(worker, Lease.starting(clock.steady(), 60), clock.now(), Bars(**bars))


def claimed(ledger: Ledger, clock: FakeClock, worker: WorkerId = ALICE) -> Job:
    job = claim(ledger, clock, worker)
    assert job is not None
    return job


def fail(ledger: Ledger, job: Job, clock: FakeClock) -> Job:
    return ledger.change(job.claim, moves.failed(Code.NOT_FOUND, "gone", iso(clock.now())))


def test_a_job_comes_back_as_it_was_written(ledger: Ledger) -> None:
    job = make_job(info=make_info(sha256="a" * 64, size=5, subfolder="x", mirrors=("https://b.example/m",)), priority=3)
    assert not ledger.add(job).deduplicated
    assert ledger.get(job.job_id) == job


def test_a_job_is_found_by_a_beginning_of_its_id_that_only_it_has(ledger: Ledger) -> None:
    one, two = make_job(), make_job()
    ledger.add(one), ledger.add(two)
    assert ledger.get(one.job_id[:8]) == one  # type: ignore[arg-type]
    for missing in ("00000", "nothing-like-it", one.job_id[:3], "%"):
        with pytest.raises(BadRequest) as error:
            ledger.get(missing)  # type: ignore[arg-type]
        assert error.value.code is Code.UNKNOWN_JOB


def test_q3_a_second_live_job_for_one_target_is_answered_with_the_first(ledger: Ledger, clock: FakeClock) -> None:
    first = make_job(info=make_info("a.safetensors"))
    ledger.add(first)
    second = make_job(info=make_info("a.safetensors", download_url="https://elsewhere.example/a"))
    assert ledger.add(second) == (first, True)
    fail(ledger, claimed(ledger, clock), clock)
    assert ledger.add(second) == (second, False), "after its end the target is free again"


def test_a_job_that_is_born_ended_gives_way_to_a_live_one_for_its_target(ledger: Ledger) -> None:
    live = make_job(info=make_info("a.safetensors"))
    ledger.add(live)
    assert ledger.add(make_job(info=make_info("a.safetensors"), status=Status.SUCCESS)) == (live, True)


def test_the_claim_takes_by_priority_then_by_age(ledger: Ledger, clock: FakeClock) -> None:
    low, first, second = make_job(priority=-1), make_job(), make_job()
    for job in (low, first, second):
        ledger.add(job)
    ledger.amend(low.job_id, moves.prioritised(0, "t"))
    ledger.amend(second.job_id, moves.prioritised(5, "t"))
    assert [claimed(ledger, clock).job_id for _ in range(3)] == [second.job_id, low.job_id, first.job_id]
    assert claim(ledger, clock) is None


def test_a_claim_counts_before_the_try_and_gives_the_fence(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job())
    job = claimed(ledger, clock)
    assert (job.status, job.attempts, job.tries, job.worker) == (Status.DOWNLOADING, 1, 1, ALICE)
    assert job.claim == Claim(job.job_id, ALICE, 1)
    assert ledger.get(job.job_id) == job
    assert [h.claim for h in ledger.holdings()] == [job.claim]
    assert ledger.holdings()[0].lease.holds(clock.steady())
    ledger.amend(job.job_id, moves.prioritised(4, "t"))
    assert [(h.status, h.priority) for h in ledger.holdings()] == [(Status.DOWNLOADING, 4)]


def test_a_waiting_job_is_due_when_its_time_has_come_and_not_before(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job())
    job = claimed(ledger, clock)
    until = clock.now() + timedelta(seconds=30)
    ledger.change(job.claim, moves.put_off(until, "later", iso(clock.now())))
    assert ledger.next_due() == until
    assert claim(ledger, clock) is None
    clock.advance(30)
    assert claimed(ledger, clock).attempts == 2
    assert ledger.next_due() is None


def test_a_job_that_waits_for_a_verdict_is_claimed_in_verifying(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job())
    job = claimed(ledger, clock)
    ledger.change(job.claim, moves.verifying("whole", 9, iso(clock.now())))
    ledger.change(job.claim, moves.put_off(clock.now(), "silent", iso(clock.now()), refund=True))
    assert ledger.get(job.job_id).status is Status.VERIFYING
    again = claimed(ledger, clock, BOB)
    assert (again.status, again.attempts, again.tries) == (Status.VERIFYING, 2, 1)


def test_full_hosts_are_passed_over(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job(info=make_info(download_url="https://a.example/1"), priority=9))
    ledger.add(make_job(info=make_info(download_url="https://b.example/2")))
    job = claim(ledger, clock, full_hosts=frozenset({"a.example"}))
    assert job is not None
    assert job.model_info.host == "b.example"
    assert claim(ledger, clock, full_hosts=frozenset({"a.example"})) is None


def test_full_hosts_are_those_where_a_job_begins_whatever_its_mirrors(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job(info=make_info(download_url="https://a.example/1", mirrors=("https://b.example/1",))))
    assert claim(ledger, clock, full_hosts=frozenset({"a.example"})) is None
    assert claim(ledger, clock, full_hosts=frozenset({"b.example", "a.exampl"})) is not None


def test_n11_jobs_of_resting_hosts_wait_but_those_that_have_another_host(ledger: Ledger, clock: FakeClock) -> None:
    a, b, c = ("https://a.example/f", "https://b.example/f", "https://c.example/f")
    plain, mirrored = make_job(info=make_info(download_url=a)), make_job(info=make_info(download_url=a, mirrors=(c, a)))
    for job in (plain, mirrored):
        ledger.add(job)
    everybody = frozenset({"a.example", "b.example", "c.example"})
    for resting in (everybody, everybody - {"b.example"}):
        assert claim(ledger, clock, resting_hosts=resting) is None
    assert ledger.next_in_line(clock.now(), Bars(resting_hosts=everybody)) is None
    found = claim(ledger, clock, resting_hosts=frozenset({"a.example", "b.example"}))
    assert found is not None
    assert found.job_id == mirrored.job_id
    assert claim(ledger, clock, resting_hosts=frozenset({"a.example"})) is None
    assert claim(ledger, clock, resting_hosts=frozenset({"c.example", "example", "a"})) is not None
    ledger.add(make_job(info=make_info(download_url=b)))
    many = frozenset(f"h{number}.example" for number in range(500)) | {"b.example"}
    assert claim(ledger, clock, resting_hosts=many) is None


def test_n11_a_job_whose_file_is_whole_waits_for_no_host(ledger: Ledger, clock: FakeClock) -> None:
    job = make_job(info=make_info(download_url="https://a.example/f"))
    ledger.add(job)
    ledger.change(claimed(ledger, clock).claim, moves.verifying("whole", 5, "t"))
    ledger.amend(job.job_id, moves.prioritised(1, "t"))
    held = ledger.get(job.job_id)
    ledger.change(held.claim, moves.put_off(clock.now(), "the model is silent", "t", refund=True))
    away = frozenset({"a.example"})
    taken = claim(ledger, clock, full_hosts=away, resting_hosts=away)
    assert taken is not None
    ledger.change(taken.claim, moves.downloading("its room is gone", "t"))
    ledger.change(taken.claim, moves.given_back("t", "given back"))
    assert claim(ledger, clock, full_hosts=away, resting_hosts=away) is None


def test_d1_jobs_of_shut_folders_wait_and_no_others(ledger: Ledger, clock: FakeClock) -> None:
    deep, beside = (
        make_job(info=make_info(model_type="vae", subfolder="x")),
        make_job(info=make_info(model_type="loras")),
    )
    ledger.add(deep)
    ledger.add(make_job(info=make_info(model_type="vae_approx")))
    ledger.add(beside)
    shut = frozenset({str(deep.models_root / "vae"), str(beside.models_root / "lor")})
    found = [claim(ledger, clock, shut_folders=shut) for _ in range(3)]
    assert [job and job.model_info.model_type for job in found] == ["vae_approx", "loras", None]
    assert claim(ledger, clock, shut_folders=frozenset({str(deep.models_root)})) is None
    assert claimed(ledger, clock).job_id == deep.job_id


def test_the_next_in_line_is_what_a_claim_would_take_and_stays_where_it_is(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.next_in_line(clock.now()) is None
    first = make_job(info=make_info(download_url="https://a.example/1", mirrors=("https://c.example/1",)), priority=9)
    second = make_job(info=make_info(download_url="https://b.example/1"), priority=3)
    for job in (first, second):
        ledger.add(job)
    assert ledger.next_in_line(clock.now()) == Waiting(9, "a.example", first.job_id)
    assert ledger.next_in_line(clock.now(), above=8) == Waiting(9, "a.example", first.job_id)
    assert ledger.next_in_line(clock.now(), above=9) is None
    full = Bars(full_hosts=frozenset({"a.example"}))
    assert ledger.next_in_line(clock.now(), full) == Waiting(3, "b.example", second.job_id)
    assert claimed(ledger, clock).priority == 9
    job = claimed(ledger, clock)
    assert ledger.next_in_line(clock.now()) is None
    ledger.change(job.claim, moves.put_off(clock.now() + timedelta(seconds=9), "later", "t"))
    assert ledger.next_in_line(clock.now()) is None
    clock.advance(9)
    assert ledger.next_in_line(clock.now()) == Waiting(3, "b.example", job.job_id)
    ledger.pause_queue(True)
    assert ledger.next_in_line(clock.now()) is None


def test_many_jobs_are_amended_at_once_and_those_that_cannot_be_stay_as_they_are(
    ledger: Ledger, clock: FakeClock
) -> None:
    failed = []
    for name in ("a.pt", "b.pt", "c.pt"):
        ledger.add(make_job(info=make_info(name)))
        failed.append(fail(ledger, claimed(ledger, clock), clock))
    ledger.add(standing := make_job(info=make_info("b.pt")))
    unknown = make_job().job_id
    asked = [failed[0].job_id, failed[1].job_id, unknown, standing.job_id, failed[2].job_id]
    amended = ledger.amend_all(asked, moves.retried("t"))
    assert [job.job_id for job in amended] == [failed[0].job_id, failed[2].job_id]
    assert [ledger.get(job.job_id).status for job in amended] == [Status.PENDING] * 2
    assert ledger.get(failed[1].job_id) == failed[1]
    assert ledger.get(standing.job_id) == standing
    assert ledger.counts()[Status.FAILED] == 1
    assert ledger.amend_all([], moves.retried("t")) == []


def test_the_pieces_of_a_file_are_kept_by_its_digest_and_outlive_its_job(ledger: Ledger, clock: FakeClock) -> None:
    digests = bytes(range(256)) * 2
    assert ledger.pieces_of("a" * 64) is None
    for size in (1, 5 * 2**40):
        ledger.keep_pieces("a" * 64, size, digests, clock.now())
    ledger.keep_pieces("b" * 64, 0, b"", clock.now())
    ledger.prune(clock.now() + timedelta(days=9))
    assert ledger.pieces_of("a" * 64) == Pieces(5 * 2**40, digests, 16 * 1024 * 1024, "xxh3_128")
    assert ledger.pieces_of("b" * 64) == Pieces(0, b"")


def test_paused_jobs_and_a_paused_queue_give_nothing(ledger: Ledger, clock: FakeClock) -> None:
    job = make_job()
    ledger.add(job)
    ledger.amend(job.job_id, moves.paused("t", pause=True))
    assert claim(ledger, clock) is None
    assert ledger.unfinished() == 0
    ledger.amend(job.job_id, moves.paused("t", pause=False))
    ledger.pause_queue(True)
    ledger.pause_queue(True)
    assert ledger.queue_paused()
    assert claim(ledger, clock) is None
    ledger.pause_queue(False)
    assert claimed(ledger, clock).job_id == job.job_id


def test_p4_only_the_latest_claim_may_write(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job())
    former = claimed(ledger, clock)
    ledger.change(former.claim, moves.given_back("t", "back"))
    latest = claimed(ledger, clock, BOB)
    for stale in (former.claim, Claim(latest.job_id, ALICE, 2), Claim(latest.job_id, BOB, 1)):
        with pytest.raises(LostClaim):
            ledger.change(stale, moves.succeeded(Result(), "done", "t"))
    assert ledger.get(latest.job_id) == latest
    assert ledger.change(latest.claim, moves.succeeded(Result(path="p"), "done", "t")).status is Status.SUCCESS
    with pytest.raises(LostClaim):
        ledger.change(latest.claim, moves.succeeded(Result(), "done twice", "t"))


def test_an_illegal_move_changes_nothing(ledger: Ledger, clock: FakeClock) -> None:
    ledger.add(make_job())
    job = claimed(ledger, clock)
    done = ledger.change(job.claim, moves.succeeded(Result(), "done", "t"))
    with pytest.raises(IllegalMove):
        ledger.amend(job.job_id, moves.downloading("again", "t"))
    assert ledger.get(job.job_id) == done


def test_c3_jobs_take_their_turn_as_they_came_whatever_the_wall_said(ledger: Ledger, clock: FakeClock) -> None:
    """Between the two the clock was set back, or summer time ended where somebody keeps local time."""
    first = make_job(info=make_info("a.safetensors"), added_at=iso(clock.now()))
    clock.advance(-3600)
    second = make_job(info=make_info("b.safetensors"), added_at=iso(clock.now()))
    ledger.add(first), ledger.add(second)
    assert [job.job_id for job in ledger.jobs()] == [first.job_id, second.job_id]
    assert claimed(ledger, clock).job_id == first.job_id


def test_a_heartbeat_renews_the_lease_notes_progress_and_hears_orders(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(4):
        ledger.add(make_job())
    going, cancelled, paused, lost = (claimed(ledger, clock) for _ in range(4))
    ledger.amend(cancelled.job_id, moves.cancel_requested("t"))
    ledger.amend(paused.job_id, moves.paused("t", pause=True))
    ledger.change(lost.claim, moves.given_back("t", "x"))
    clock.advance(50)
    progress = Progress(bytes=7, total=9, bytes_per_second=1.5, eta_seconds=2.0, connections=1)
    held = (going, cancelled, paused, lost)
    orders = ledger.beat([Beat(job.claim, progress) for job in held], Lease.starting(clock.steady(), 60))
    assert [orders[job.job_id] for job in held] == [Order.GO_ON, Order.CANCEL, Order.PAUSE, Order.LOST]
    assert ledger.get(going.job_id).progress == progress
    clock.advance(50)
    assert all(holding.lease.holds(clock.steady()) for holding in ledger.holdings())
    ledger.pause_queue(True)
    assert ledger.beat([Beat(going.claim, progress)], Lease.starting(clock.steady(), 60))[going.job_id] is Order.PAUSE


def test_q13_cancel_is_at_once_without_an_owner_a_wish_with_one_and_too_late_once_promoting(
    ledger: Ledger, clock: FakeClock
) -> None:
    job = make_job()
    ledger.add(job)
    assert ledger.amend(job.job_id, moves.cancel_requested("t")).result.code == "cancelled"
    ledger.amend(job.job_id, moves.retried("t"))
    owned = claimed(ledger, clock)
    assert ledger.amend(job.job_id, moves.cancel_requested("t")).status is Status.DOWNLOADING
    refused = ledger.change(owned.claim, moves.promoting(Result(sha256="b" * 64), "t"))
    assert (refused.status, refused.result.code) == (Status.FAILED, "cancelled")

    ledger.amend(job.job_id, moves.retried("t"))
    owned = claimed(ledger, clock)
    ledger.change(owned.claim, moves.verifying("whole", 1, "t"))
    ledger.change(owned.claim, moves.promoting(Result(sha256="b" * 64), "t"))
    late = ledger.amend(job.job_id, moves.cancel_requested("t"))
    assert not late.cancel_requested
    assert ledger.change(owned.claim, moves.succeeded(Result(), "in place", "t")).status is Status.SUCCESS


def test_a_retry_needs_a_failed_job_whose_target_is_free(ledger: Ledger, clock: FakeClock) -> None:
    job = make_job(info=make_info("r.safetensors"))
    ledger.add(job)
    with pytest.raises(BadRequest) as error:
        ledger.amend(job.job_id, moves.retried("t"))
    assert error.value.code is Code.WRONG_MOMENT
    fail(ledger, claimed(ledger, clock), clock)
    again = ledger.amend(job.job_id, moves.retried("t"))
    assert (again.status, again.tries, again.attempts, again.result) == (Status.PENDING, 0, 1, Result())
    fail(ledger, claimed(ledger, clock), clock)
    ledger.add(make_job(info=make_info("r.safetensors")))
    with pytest.raises(BadRequest) as error:
        ledger.amend(job.job_id, moves.retried("t"))
    assert error.value.code is Code.WRONG_MOMENT


def test_jobs_lists_running_then_waiting_by_turn_then_the_newest_ended(ledger: Ledger, clock: FakeClock) -> None:
    names = ["old-failed", "new-failed", "running", "late", "first"]
    made = {name: make_job(info=make_info(f"{name}.safetensors")) for name in names}
    for name in ("old-failed", "new-failed"):
        ledger.add(made[name])
        fail(ledger, claimed(ledger, clock), clock)
    ledger.add(made["running"])
    claimed(ledger, clock)
    ledger.add(made["late"]), ledger.add(made["first"])
    ledger.amend(made["first"].job_id, moves.prioritised(1, "t"))
    order = ["running", "first", "late", "new-failed", "old-failed"]

    def listed(question: Question) -> list[str]:
        return [job.model_info.expected_filename.split(".")[0] for job in ledger.jobs(question)]

    assert listed(Question()) == order
    for offset in range(6):
        for limit in range(1, 6):
            assert listed(Question(limit=limit, offset=offset)) == order[offset : offset + limit]
    assert listed(Question(text="FAILED")) == ["new-failed", "old-failed"]
    assert listed(Question(text="%")) == []
    assert listed(Question(statuses=frozenset({Status.PENDING, Status.DOWNLOADING}))) == ["running", "first", "late"]
    assert ledger.counts() == {
        Status.PENDING: 2,
        Status.DOWNLOADING: 1,
        Status.VERIFYING: 0,
        Status.SUCCESS: 0,
        Status.FAILED: 2,
    }
    assert ledger.unfinished() == 3


def test_prune_forgets_only_what_ended_before(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(2):
        ledger.add(make_job())
        fail(ledger, claimed(ledger, clock), clock)
        clock.advance(100)
    ledger.add(make_job())
    assert ledger.prune(clock.now() - timedelta(seconds=150)) == 1
    assert sum(ledger.counts().values()) == 2


def test_the_latest_success_for_a_target_is_found(ledger: Ledger, clock: FakeClock) -> None:
    job = make_job(info=make_info("s.safetensors"))
    ledger.add(job)
    assert ledger.latest_for(job) is None
    done = ledger.change(claimed(ledger, clock).claim, moves.succeeded(Result(sha256="c" * 64), "done", "t"))
    assert ledger.latest_for(make_job(info=make_info("s.safetensors"))) == done
    assert ledger.latest_for(make_job(info=make_info("other.safetensors"))) is None


def test_q1_many_threads_take_each_job_exactly_once(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(40):
        ledger.add(make_job())
    taken: list[Job] = []

    def work(worker: WorkerId) -> None:
        while (job := claim(ledger, clock, worker)) is not None:
            taken.append(job)

    threads = [threading.Thread(target=work, args=(WorkerId(f"worker-{n}-cccccccccccc"),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len({job.job_id for job in taken}) == 40


def test_the_counts_follow_every_way_a_job_can_end_and_come_back(ledger: Ledger, clock: FakeClock) -> None:
    def ended() -> tuple[int, int]:
        counts = ledger.counts()
        return counts[Status.SUCCESS], counts[Status.FAILED]

    ledger.add(make_job(status=Status.SUCCESS))
    assert ended() == (1, 0)
    job = make_job()
    ledger.add(job)
    fail(ledger, claimed(ledger, clock), clock)
    assert ended() == (1, 1)
    ledger.amend(job.job_id, moves.retried("t"))
    assert ended() == (1, 0)
    ledger.change(claimed(ledger, clock).claim, moves.succeeded(Result(), "done", iso(clock.now())))
    assert ended() == (2, 0)
    ledger.prune(clock.now() + timedelta(days=1))
    assert ended() == (0, 0)
