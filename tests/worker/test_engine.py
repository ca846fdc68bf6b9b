"""The engine: claims, heartbeats, orders, recovery and stopping, with the twins of ledger and bell."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from download_worker.clock import FakeClock
from download_worker.engines import local
from download_worker.engines.local import LocalEngine
from download_worker.errors import Code, LostClaim, TryLater
from download_worker.jobs import moves
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.job import Job, JobId, Lease, Result, Status, WorkerId
from download_worker.jobs.ledger import Holding
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.leash import Leash
from download_worker.owners import Owners
from download_worker.quarantine import Quarantine
from download_worker.settings import Settings
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
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    bell: MemoryBell = field(default_factory=MemoryBell)
    started: dict[JobId, Job] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    let_go: threading.Event = field(default_factory=threading.Event)

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
            sweep_seconds=0.05,
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

            def at(self) -> str:
                return "2026-01-01T00:00:00.000Z"

        monkeypatch.setattr(local, "process", self.process)
        shop = cast(Workshop, Shop(self.settings, self.clock, self.ledger, Quarantine(self.home / "state")))
        engine = LocalEngine(shop, self.bell, self.owners)
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
