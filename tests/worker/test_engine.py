"""The engine: claims, heartbeats, orders, recovery and stopping, with the twins of ledger and bell."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from loguru import logger

from download_worker import housekeeping, volumes
from download_worker.anchor import LedgerLost
from download_worker.ballast import Ballast
from download_worker.clock import FakeClock
from download_worker.database import open_engine
from download_worker.engines import errands, local
from download_worker.engines.errands import Errands
from download_worker.engines.local import LocalEngine
from download_worker.errors import Code, Interrupted, LostClaim, TryLater
from download_worker.hosts import Hosts
from download_worker.jobs import moves
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.job import Job, JobId, Lease, Result, Status, WorkerId
from download_worker.jobs.ledger import NO_BARS, Bars, Holding
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.jobs.sql_ledger import SqlLedger
from download_worker.leash import Leash
from download_worker.owners import Owners
from download_worker.quarantine import Quarantine
from download_worker.settings import Settings
from download_worker.volumes import Volumes
from download_worker.workshop import Workshop
from tests.jobs import make_info, make_job

PATIENCE_SECONDS = 10.0


@dataclass
class Bench:
    """A worker whose `process` is the test's: it reports each job it was given and waits for what becomes of it."""

    home: Path
    jobs: int = 3
    jobs_per_host: int = 3
    heartbeat_seconds: float = 0.01
    sweep_seconds: float = 0.05
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    bell: MemoryBell = field(default_factory=MemoryBell)
    started: dict[JobId, Job] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hosts = Hosts(self.clock, roll=lambda: 1.0)
        self.volumes = Volumes(self.clock, reserve_bytes=0)
        self.ballast = Ballast(self.home / "state" / "ballast", 4096)

    @property
    def dead(self) -> WorkerId:
        """A worker of this home that does not live any more."""
        with self.owners.enrol() as worker:
            return worker

    @property
    def owners(self) -> Owners:
        return Owners(self.home / "state" / "workers")

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.home,
            jobs=self.jobs,
            jobs_per_host=self.jobs_per_host,
            heartbeat_seconds=self.heartbeat_seconds,
            lease_seconds=60,
            sweep_seconds=self.sweep_seconds,
            max_tries=3,
            backoff_base_seconds=0.001,
            backoff_cap_seconds=0.002,
        )

    def process(self, job: Job, shop: Workshop, leash: Leash) -> Job:
        with self.changed:
            self.started[job.job_id] = job
            self.changed.notify_all()
        while not self.let_go.wait(0.005):
            leash.check()
        return self.ledger.change(job.claim, moves.succeeded(Result(), "done", "t"))

    @contextmanager
    def running(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
        @dataclass
        class Shop:
            settings: Settings
            clock: FakeClock
            ledger: MemoryLedger
            quarantine: Quarantine
            hosts: Hosts
            volumes: Volumes

            def at(self) -> str:
                return "2026-01-01T00:00:00.000Z"

        monkeypatch.setattr(local, "process", self.process)
        quarantine = Quarantine(self.home / "state")
        shop = cast(Workshop, Shop(self.settings, self.clock, self.ledger, quarantine, self.hosts, self.volumes))
        engine = LocalEngine(shop, self.bell, self.owners, self.ballast)
        thread = threading.Thread(target=engine.run)
        thread.start()
        try:
            yield engine
        finally:
            engine.stop()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def hand_in(self, **changes: Any) -> Job:
        job = make_job(self.home / "models", **changes)
        self.ledger.add(job)
        self.bell.ring(job)
        return job

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Poll a condition that another thread brings about; time never decides whether it passes."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / 0.005)):
            if holds():
                return
            pause.wait(0.005)
        raise AssertionError("it did not come to pass")

    def status(self, job: Job) -> Status:
        return self.ledger.get(job.job_id).status


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "models").mkdir()
    return Bench(tmp_path)


def test_a_ring_starts_a_job_and_its_end_is_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.let_go.set()
    with bench.running(monkeypatch):
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)


def test_a_job_whose_ring_was_lost_is_found_by_the_sweep(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.let_go.set()
    with bench.running(monkeypatch):
        job = make_job(bench.home / "models")
        bench.ledger.add(job)
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)


def test_no_more_jobs_run_at_once_than_allowed_nor_from_one_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.jobs, bench.jobs_per_host = 3, 2
    same = [bench.hand_in(info=make_info(download_url=f"https://one.example/{n}")) for n in range(4)]
    other = bench.hand_in(info=make_info(download_url="https://two.example/x"))
    with bench.running(monkeypatch):
        bench.wait_until(lambda: len(bench.started) == 3)
        assert other.job_id in bench.started
        assert sum(job.job_id in bench.started for job in same) == 2
        bench.let_go.set()
        bench.wait_until(lambda: bench.ledger.unfinished() == 0)


def test_not_every_end_of_a_job_is_a_reason_to_look_at_what_others_hold(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.sweep_seconds = 2 * PATIENCE_SECONDS
    looks: list[None] = []
    look = bench.ledger.holdings

    def counted() -> Sequence[Holding]:
        looks.append(None)
        return look()

    def lasting(job: Job, shop: Workshop, leash: Leash) -> Job:
        bench.let_go.wait(
            0.01
        )  # longer than it takes to find that its place is taken: so each end is a turn of its own
        return bench.ledger.change(job.claim, moves.succeeded(Result(), "done", "t"))

    monkeypatch.setattr(bench.ledger, "holdings", counted)
    monkeypatch.setattr(bench, "process", lasting)
    bench.jobs = 1
    jobs = [bench.hand_in() for _ in range(20)]
    with bench.running(monkeypatch):
        bench.wait_until(lambda: all(bench.status(job) is Status.SUCCESS for job in jobs))
        assert 0 < len(looks) <= 4
        seen = len(looks)
        bench.clock.advance(local.LOOK_ROUND_SECONDS)
        bench.bell.wake()
        bench.wait_until(lambda: len(looks) > seen)


def test_a_look_that_was_left_out_is_made_up_for_soon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.running(monkeypatch) as engine:
        engine.stop()
    bench.sweep_seconds = 60.0
    engine._look_at = bench.clock.steady().seconds + 0.25
    assert engine._patience_seconds(looked=False) <= 0.25
    bench.clock.advance(9.0)
    assert engine._patience_seconds(looked=False) == 0


def test_a_ring_for_an_unknown_job_is_set_aside_and_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.let_go.set()
    with bench.running(monkeypatch):
        bench.bell.ring(make_job(bench.home))
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
        bench.wait_until(lambda: bench.bell.aside_count() == 1)


def test_p3_stopping_gives_back_what_runs_and_burns_no_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: job.job_id in bench.started)
    back = bench.ledger.get(job.job_id)
    assert (back.status, back.worker, back.tries, back.attempts) == (Status.PENDING, None, 0, 1)


def test_a_cancel_reaches_a_running_job_and_clears_its_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.hand_in()
    hall = bench.home / "staging" / job.job_id
    hall.mkdir(parents=True)
    with bench.running(monkeypatch):
        bench.wait_until(lambda: job.job_id in bench.started)
        bench.ledger.amend(job.job_id, moves.cancel_requested("t"))
        bench.wait_until(lambda: bench.status(job) is Status.FAILED)
    assert bench.ledger.get(job.job_id).result.code == Code.CANCELLED
    assert not hall.exists()


def test_a_pause_gives_a_running_job_back_and_a_resume_takes_it_up_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: job.job_id in bench.started)
        bench.ledger.amend(job.job_id, moves.paused("t", pause=True))
        bench.wait_until(lambda: bench.status(job) is Status.PENDING)
        bench.let_go.set()
        bench.ledger.amend(job.job_id, moves.paused("t", pause=False))
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
    assert bench.ledger.get(job.job_id).tries == 1


def held_by(bench: Bench, worker: WorkerId, job: Job) -> Job:
    claimed = bench.ledger.claim(worker, Lease.starting(bench.clock.steady(), 60), bench.clock.now())
    assert claimed is not None
    assert claimed.job_id == job.job_id
    return claimed


def test_a_job_of_a_dead_owner_is_taken_up_before_its_lease_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.hand_in()
    dead = held_by(bench, bench.dead, job)
    bench.let_go.set()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
    with pytest.raises(LostClaim):
        bench.ledger.change(dead.claim, moves.succeeded(Result(), "done twice", "t"))


def test_p4_a_living_owner_keeps_its_job_until_its_lease_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.let_go.set()
    with bench.owners.enrol() as stopped:
        job = bench.hand_in()
        held_by(bench, stopped, job)
        other = bench.hand_in()
        with bench.running(monkeypatch):
            bench.wait_until(lambda: bench.status(other) is Status.SUCCESS)
            assert bench.ledger.get(job.job_id).worker == stopped
            bench.clock.advance(61)
            bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)


def test_p10_a_reboot_voids_every_lease(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.let_go.set()
    with bench.owners.enrol() as namesake:
        job = bench.hand_in()
        held_by(bench, namesake, job)
        bench.clock.reboot()
        with bench.running(monkeypatch):
            bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)


def test_p8_a_job_that_kills_its_workers_ends_in_a_crash_loop_and_the_queue_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.let_go.set()
    poison = bench.hand_in(priority=5)
    for _ in range(3):  # three workers die of it
        held_by(bench, bench.dead, poison)
        bench.clock.advance(1)
        if _ < 2:
            bench.ledger.change(
                bench.ledger.get(poison.job_id).claim,
                moves.reclaimed(bench.clock.now(), max_tries=3, base_seconds=0.001, cap_seconds=0.002),
            )
            bench.clock.advance(1)
    innocent = bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: bench.status(innocent) is Status.SUCCESS)
        bench.wait_until(lambda: bench.status(poison) is Status.FAILED)
    assert bench.ledger.get(poison.job_id).result.code == Code.CRASH_LOOP


def test_a_cancelled_job_of_a_dead_owner_ends_cancelled_and_its_room_is_cleared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.hand_in()
    held_by(bench, bench.dead, job)
    bench.ledger.amend(job.job_id, moves.cancel_requested("t"))
    hall = bench.home / "staging" / job.job_id
    hall.mkdir(parents=True)
    with bench.running(monkeypatch):
        bench.wait_until(lambda: bench.status(job) is Status.FAILED)
        bench.wait_until(lambda: not hall.exists())
    assert bench.ledger.get(job.job_id).result.code == Code.CANCELLED


def test_at_start_the_rooms_of_ended_and_unknown_jobs_are_cleared_and_others_stay(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = bench.hand_in(paused=True)
    unknown = JobId("ffffffff-0000-4000-8000-000000000000")
    staging = bench.home / "staging"
    for name in (waiting.job_id, unknown):
        (staging / name).mkdir(parents=True)
        os.utime(staging / name, (0, 0))
    with bench.running(monkeypatch):
        bench.wait_until(lambda: not (staging / unknown).exists())
    assert (staging / waiting.job_id).exists()


def test_drain_ends_when_nothing_is_left_and_says_whether_all_went_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.let_go.set()
    bench.hand_in()
    monkeypatch.setattr(local, "process", bench.process)
    with bench.running(monkeypatch) as engine:
        engine.stop()
    shop = engine._shop
    assert LocalEngine(shop, bench.bell, Owners(bench.home / "w")).run(drain=True)
    paused = bench.hand_in(paused=True)
    assert not LocalEngine(shop, bench.bell, Owners(bench.home / "w")).run(drain=True), "a paused job was left behind"
    assert bench.status(paused) is Status.PENDING


def test_the_rooms_of_a_job_that_was_cancelled_while_nobody_had_it_go_with_its_ring(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.hand_in(paused=True)
    hall = bench.home / "staging" / job.job_id
    with bench.running(monkeypatch):
        bench.wait_until(lambda: bench.bell.heard() == ())
        (hall / "0").mkdir(parents=True)
        bench.bell.ring(bench.ledger.amend(job.job_id, moves.cancel_requested("t")))
        bench.wait_until(lambda: not hall.exists())


def test_a_busy_ledger_at_the_start_does_not_end_the_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [TryLater(Code.DATABASE_BUSY, "locked")] * 3

    class BusyLedger(MemoryLedger):
        def prune(self, ended_before: datetime) -> int:
            if busy:
                raise busy.pop()
            return super().prune(ended_before)

        def holdings(self) -> Sequence[Holding]:
            if busy:
                raise busy.pop()
            return super().holdings()

    monkeypatch.setattr(local, "SHORT_OF_LEDGER_SECONDS", 0.01)
    bench.ledger = BusyLedger()
    bench.let_go.set()
    with bench.running(monkeypatch):
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)


def test_drain_does_not_say_well_when_a_job_failed_in_its_hands_or_was_taken_back_for_the_last_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.let_go.set()

    def fail(job: Job, shop: Workshop, leash: Leash) -> Job:
        return bench.ledger.change(job.claim, moves.failed(Code.NOT_FOUND, "gone", "t"))

    with bench.running(monkeypatch) as engine:
        engine.stop()
    monkeypatch.setattr(local, "process", fail)
    bench.hand_in()
    assert not LocalEngine(engine._shop, bench.bell, bench.owners).run(drain=True)
    assert LocalEngine(engine._shop, bench.bell, bench.owners).run(drain=True), "old failures are not counted again"


# priority


def running_jobs(bench: Bench) -> set[JobId]:
    return {job.job_id for job in bench.ledger.jobs() if job.worker is not None}


def test_a_more_urgent_job_takes_the_place_of_the_least_urgent_one_which_loses_no_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.jobs = 2
    low, middle = bench.hand_in(priority=-1), bench.hand_in(priority=5)
    with bench.running(monkeypatch):
        bench.wait_until(lambda: running_jobs(bench) == {low.job_id, middle.job_id})
        urgent = bench.hand_in(priority=9)
        bench.wait_until(lambda: running_jobs(bench) == {middle.job_id, urgent.job_id})
        back = bench.ledger.get(low.job_id)
        assert (back.status, back.tries, back.not_before) == (Status.PENDING, 0, None)
        assert "Makes way" in back.history[-1].event
        bench.let_go.set()
        bench.wait_until(lambda: bench.ledger.unfinished() == 0)
    assert bench.ledger.get(low.job_id).tries == 1


def test_several_urgent_jobs_get_their_places_one_right_after_the_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody looks round while the one that makes way has not left yet."""
    bench.sweep_seconds = 2 * PATIENCE_SECONDS
    monkeypatch.setattr(local, "LOOK_ROUND_SECONDS", 2 * PATIENCE_SECONDS)
    looks: list[None] = []
    look, walk = bench.ledger.holdings, bench.process

    def counted() -> Sequence[Holding]:
        looks.append(None)
        return look()

    def lingering(job: Job, shop: Workshop, leash: Leash) -> Job:
        try:
            return walk(job, shop, leash)
        except Interrupted:
            seen = len(looks)
            bench.bell.wake()
            bench.wait_until(lambda: len(looks) > seen)
            raise

    monkeypatch.setattr(bench.ledger, "holdings", counted)
    monkeypatch.setattr(bench, "process", lingering)
    for _ in range(3):
        bench.hand_in(priority=0)
    with bench.running(monkeypatch):
        bench.wait_until(lambda: len(bench.started) == 3)
        urgent = {bench.hand_in(priority=9).job_id for _ in range(2)}
        bench.wait_until(lambda: urgent <= running_jobs(bench))
        bench.let_go.set()
        bench.wait_until(lambda: bench.ledger.unfinished() == 0)


def test_an_urgent_job_that_could_not_stay_throws_nobody_out_a_second_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.jobs = 1
    starts: list[JobId] = []
    waits = threading.Event()

    def process(job: Job, shop: Workshop, leash: Leash) -> Job:
        starts.append(job.job_id)
        if job.priority:
            return bench.ledger.change(job.claim, moves.put_off(bench.clock.now(), "no room", "t", refund=True))
        while not waits.wait(0.005):
            leash.check()
        return bench.ledger.change(job.claim, moves.succeeded(Result(), "done", "t"))

    monkeypatch.setattr(bench, "process", process)
    low = bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: starts == [low.job_id])
        urgent = bench.hand_in(priority=9)
        bench.wait_until(lambda: urgent.job_id in starts)
        bench.clock.advance(1)
        bench.ledger.amend(urgent.job_id, moves.paused("t", pause=True))
        bench.wait_until(lambda: starts[-1] == low.job_id)
        bench.ledger.amend(urgent.job_id, moves.paused("t", pause=False))
        before = len(starts)
        for _ in range(20):
            bench.bell.wake()
            threading.Event().wait(0.01)
        assert len(starts) == before
        waits.set()
        bench.wait_until(lambda: bench.status(low) is Status.SUCCESS)
        bench.ledger.amend(urgent.job_id, moves.cancel_requested("t"))


def test_p8_where_the_system_gives_no_more_threads_the_job_waits_and_the_worker_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SHORT_OF_LEDGER_SECONDS", 0.01)
    start, refused = threading.Thread.start, threading.Event()

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith("job-") and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    bench.let_go.set()
    job = bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
    assert refused.is_set()
    assert bench.ledger.get(job.job_id).tries == 1


def test_p8_of_many_jobs_without_a_thread_no_more_than_one_is_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker would find the others with their lease run out, and count that as their try."""
    monkeypatch.setattr(local, "SHORT_OF_LEDGER_SECONDS", 0.01)
    start, refused = threading.Thread.start, list[int]()

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith("job-"):
            refused.append(len(bench.ledger.holdings()))
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    for _ in range(5):
        bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: len(refused) > 10)
    assert set(refused) == {1}


def test_n11_a_try_is_excused_also_where_its_end_is_recorded_only_afterwards(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def putting_off(job: Job, shop: Workshop, leash: Leash) -> Job:
        with bench.changed:
            bench.started[job.job_id] = job
        assert bench.let_go.wait(PATIENCE_SECONDS)
        later = bench.clock.now() + timedelta(hours=1)
        return bench.ledger.change(job.claim, moves.put_off(later, "no answer", "t"))

    monkeypatch.setattr(bench, "process", putting_off)
    with bench.running(monkeypatch):
        job = bench.hand_in()
        bench.wait_until(lambda: job.job_id in bench.started)
        bench.hosts._excused = frozenset({job.job_id})
        bench.bell.wake()
        bench.wait_until(lambda: not bench.hosts._excused)
        bench.let_go.set()
        bench.wait_until(lambda: bench.ledger.get(job.job_id).attempts == 2)
        bench.wait_until(lambda: bench.ledger.get(job.job_id).not_before is not None)
    assert bench.ledger.get(job.job_id).tries == 1


def test_a_job_of_equal_priority_waits_for_its_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.jobs = 1
    first = bench.hand_in(priority=5)
    with bench.running(monkeypatch):
        bench.wait_until(lambda: first.job_id in bench.started)
        second = bench.hand_in(priority=5)
        bench.hand_in(priority=4)
        for _ in range(20):
            bench.bell.wake()
            threading.Event().wait(0.005)
        assert running_jobs(bench) == {first.job_id}
        assert bench.ledger.get(first.job_id).attempts == 1
        bench.ledger.amend(second.job_id, moves.prioritised(6, "t"))
        bench.bell.wake()
        bench.wait_until(lambda: running_jobs(bench) == {second.job_id})


def test_a_running_job_that_was_made_more_urgent_keeps_its_place(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.jobs = 2
    one, two = bench.hand_in(), bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: len(bench.started) == 2)
        bench.ledger.amend(two.job_id, moves.prioritised(9, "t"))
        urgent = bench.hand_in(priority=5)
        bench.wait_until(lambda: running_jobs(bench) == {two.job_id, urgent.job_id})
    assert bench.ledger.get(one.job_id).attempts == 1


def test_a_job_that_is_being_verified_does_not_make_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.jobs = 1
    nearly_done = bench.hand_in()
    with bench.running(monkeypatch):
        bench.wait_until(lambda: nearly_done.job_id in bench.started)
        bench.ledger.change(bench.ledger.get(nearly_done.job_id).claim, moves.verifying("v", 1, "t"))
        bench.hand_in(priority=9)
        for _ in range(20):
            bench.bell.wake()
            threading.Event().wait(0.005)
        assert running_jobs(bench) == {nearly_done.job_id}


def test_an_urgent_job_of_a_full_host_takes_a_place_at_that_host_and_at_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.jobs, bench.jobs_per_host = 2, 1
    elsewhere = bench.hand_in(info=make_info(download_url="https://two.example/x"), priority=-9)
    here = bench.hand_in(info=make_info(download_url="https://one.example/x"))
    with bench.running(monkeypatch):
        bench.wait_until(lambda: len(bench.started) == 2)
        urgent = bench.hand_in(info=make_info(download_url="https://one.example/y"), priority=1)
        bench.wait_until(lambda: running_jobs(bench) == {elsewhere.job_id, urgent.job_id})
    assert bench.ledger.get(here.job_id).status is Status.PENDING


# the ledger itself


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps an open file where it is")
def test_q9_a_worker_whose_ledger_is_gone_says_so_and_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.home / "doctor.db"
    bench.ledger = cast(MemoryLedger, SqlLedger(open_engine(f"sqlite:///{path}")))
    job = bench.hand_in()
    told: list[Exception] = []
    run = LocalEngine.run

    def run_and_tell(engine: LocalEngine, *, drain: bool = False) -> bool:
        try:
            return run(engine, drain=drain)
        except LedgerLost as lost:
            told.append(lost)
            return False

    monkeypatch.setattr(LocalEngine, "run", run_and_tell)
    with bench.running(monkeypatch):
        bench.wait_until(lambda: job.job_id in bench.started)
        path.unlink()
        bench.wait_until(lambda: bool(told))
    assert str(path) in str(told[0])
    bench.ledger.close()


def test_d2_a_job_whose_end_could_not_be_recorded_loses_no_try_and_the_ballast_makes_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [TryLater(Code.DISK_FULL, "no space left for the ledger")] * 5

    def process(job: Job, shop: Workshop, leash: Leash) -> Job:
        if full:
            raise full.pop()
        return bench.process(job, shop, leash)

    bench.let_go.set()
    with bench.running(monkeypatch):
        monkeypatch.setattr(local, "process", process)
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
    assert bench.ledger.get(job.job_id).tries == 1
    assert not (bench.home / "state" / "ballast").exists()


def test_d2_a_full_ledger_stops_no_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [TryLater(Code.DISK_FULL, "no space left for the ledger")] * 3

    class FullLedger(MemoryLedger):
        def claim(self, worker: WorkerId, lease: Lease, now: datetime, bars: Bars = NO_BARS) -> Job | None:
            if full:
                raise full.pop()
            return super().claim(worker, lease, now, bars)

    monkeypatch.setattr(local, "SHORT_OF_LEDGER_SECONDS", 0.01)
    bench.ledger = FullLedger()
    bench.let_go.set()
    with bench.running(monkeypatch):
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
        assert not bench.ballast.path.exists()
        bench.clock.advance(local.BALLAST_BACK_SECONDS)
        bench.bell.wake()
        bench.wait_until(bench.ballast.path.exists)  # for the next time


def test_an_answer_is_heard_while_its_download_still_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that wait for a host go on with the first bytes of its probe, not with the last ones."""
    away = TryLater(Code.NO_CONNECTION, "no way")
    away.__cause__ = TimeoutError()
    bench.hosts.failed(make_job(info=make_info(download_url="https://one.example/0")), away, "one.example")
    leashes: list[Leash] = []

    def noting(job: Job, shop: Workshop, leash: Leash) -> Job:
        leashes.append(leash)
        leash.progress(0, 100, connections=1)
        return bench.process(job, shop, leash)

    jobs = [bench.hand_in(info=make_info(download_url=f"https://one.example/{n}")) for n in range(2)]
    with bench.running(monkeypatch):
        monkeypatch.setattr(local, "process", noting)
        bench.clock.advance(1)
        bench.wait_until(lambda: len(bench.started) == 1)
        assert bench.hosts.resting() == {"one.example"}
        threading.Event().wait(0.05)
        leashes[0].progress(50, 100, connections=1)
        bench.wait_until(lambda: len(bench.started) == 2)
    assert set(bench.started) == {job.job_id for job in jobs}


def test_n11_d1_the_worker_wakes_for_the_next_probe_and_the_next_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench.running(monkeypatch) as engine:
        engine.stop()
    assert engine._patience_seconds(looked=True) == bench.settings.sweep_seconds
    bench.volumes.refused(make_job(bench.home / "models"), TryLater(Code.UNMOUNTED, "gone"))
    bench.clock.advance(volumes.LOOK_SECONDS - 0.01)
    assert 0 < engine._patience_seconds(looked=True) <= 0.011
    away = TryLater(Code.NO_CONNECTION, "no way")
    away.__cause__ = TimeoutError()
    bench.hosts.failed(make_job(), away, "one.example")
    bench.clock.advance(0.999)
    assert bench.volumes.shut_folders() == frozenset()
    assert 0 < engine._patience_seconds(looked=True) <= 0.0011
    bench.clock.advance(0.5)
    assert engine._patience_seconds(looked=True) == 0, "it became due after jobs were offered: nobody has looked since"
    engine._bars()
    assert engine._patience_seconds(looked=True) == bench.settings.sweep_seconds, "it was offered, and no job wanted it"


@pytest.fixture
def hung_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Whatever is cleared or tidied waits for this."""
    answers = threading.Event()
    clear_up, tidy = housekeeping.clear_up, housekeeping.tidy

    def hangs(then: Callable[..., None]) -> Callable[..., None]:
        def hang(*words: Any) -> None:
            assert answers.wait(4 * PATIENCE_SECONDS)
            then(*words)

        return hang

    monkeypatch.setattr(errands, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(local, "clear_up", hangs(clear_up))
    monkeypatch.setattr(local, "tidy", hangs(tidy))
    yield answers
    answers.set()


def test_d10_a_disk_that_hangs_while_it_is_cleared_up_stops_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hung_disk: threading.Event
) -> None:
    bench.let_go.set()
    unknown = bench.home / "staging" / "ffffffff-0000-4000-8000-000000000000"
    unknown.mkdir(parents=True)
    os.utime(unknown, (0, 0))
    with bench.running(monkeypatch):
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
        assert unknown.exists()
        hung_disk.set()
        bench.wait_until(lambda: not unknown.exists())


def test_d10_a_cancelled_job_on_a_hung_disk_stops_nobody_and_ends_when_the_disk_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hung_disk: threading.Event
) -> None:
    cancelled = bench.hand_in()
    held_by(bench, bench.dead, cancelled)
    bench.ledger.amend(cancelled.job_id, moves.cancel_requested("t"))
    paused = bench.hand_in(paused=True)
    bench.bell.ring(bench.ledger.amend(paused.job_id, moves.cancel_requested("t")))
    hall = bench.home / "staging" / cancelled.job_id
    hall.mkdir(parents=True)
    bench.let_go.set()
    with bench.running(monkeypatch):
        job = bench.hand_in()
        bench.wait_until(lambda: bench.status(job) is Status.SUCCESS)
        assert bench.ledger.get(cancelled.job_id).live, "its staging goes first"
        hung_disk.set()
        bench.wait_until(lambda: not bench.ledger.get(cancelled.job_id).live)
    assert not hall.exists()


def test_an_errand_that_hangs_is_not_sent_twice_and_a_fault_in_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "PATIENCE_SECONDS", 0.01)
    answers, sent = threading.Event(), []

    def hang() -> None:
        sent.append("hang")
        assert answers.wait(PATIENCE_SECONDS)

    def fail() -> None:
        sent.append("fail")
        raise KeyError

    sender = Errands()
    assert not sender.run("one", hang, patience_seconds=0.01)
    assert not sender.run("one", hang, patience_seconds=0.01)
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    assert sender.run("another", fail, patience_seconds=PATIENCE_SECONDS)
    logger.remove(sink)
    assert "ERROR" in lines[0] and "another" in lines[0]
    assert sent == ["hang", "fail"]
    answers.set()
    while not sender.run("one", hang, patience_seconds=PATIENCE_SECONDS):
        pass
    assert sent == ["hang", "fail", "hang"]
