"""N11, an outage: what a thousand queued jobs lose by it (nothing), and how soon they go on when it is over.

Engine, walk and breakers are the real ones; the far side and the clock are the test's.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from download_worker.clock import FakeClock
from download_worker.engines.local import LocalEngine
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.fetchers.fetcher import Inspect
from download_worker.hosts import Hosts
from download_worker.installers.model_file import ModelFileInstaller
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.job import Job, ModelInfo, Status, Verdict
from download_worker.jobs.ledger import Question
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.leash import Leash
from download_worker.owners import Owners
from download_worker.quarantine import Quarantine
from download_worker.room import Fetched, Identity, Room
from download_worker.settings import Settings
from download_worker.verifiers.verifier import Specimen
from download_worker.volumes import LOOK_SECONDS, Disks, Volumes
from download_worker.workshop import Workshop
from tests.jobs import make_info, make_job

PATIENCE_SECONDS = 120.0
TURN_SECONDS = 0.002


class Net:
    """The far side: hosts that are away, or that answer with a trouble of their own."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.everything_away = False
        self.answers: dict[str, Trouble] = {}
        self.asked: list[str] = []
        self.changed = threading.Condition()

    def fetch(
        self, url: str, mirrors: Sequence[str], wanted: ModelInfo, room: Room, leash: Leash, inspect: Inspect
    ) -> Fetched:
        host = url.split("/")[2]
        with self.changed:
            self.asked.append(url)
        if self.everything_away or host in self.away:
            raise TryLater(Code.NO_CONNECTION, f"no way to {host}") from OSError(errno.ENETUNREACH, "unreachable")
        if host in self.answers:
            raise self.answers[host]
        room.part.write_bytes(b"good")
        leash.progress(4, 4, connections=1)
        return Fetched(
            room.part, sha256(b"good").hexdigest(), 4, Identity.of(room.part.stat()), f"https://{host}/", None
        )


class Trusting:
    def foresee(self, wanted: ModelInfo) -> None:
        """Everything may come."""

    def judge(self, specimen: Specimen, evidence: Sequence[Any], leash: Leash) -> Verdict:
        return Verdict(verdict="VERIFIED", reason="fine", by="rules", proof="C")


class Stage:
    def __init__(self, home: Path) -> None:
        (home / "models" / "loras").mkdir(parents=True)
        (home / "staging").mkdir()
        self.home, self.clock, self.ledger, self.bell, self.net = home, FakeClock(), MemoryLedger(), MemoryBell(), Net()
        self.free_bytes = 1 << 40
        self.hosts = Hosts(self.clock, roll=lambda: 1.0)
        disks = Disks(free_bytes=lambda folder: self.free_bytes, takes_bytes=lambda folder: True)
        self.volumes = Volumes(self.clock, reserve_bytes=0, disks=disks)
        settings = Settings(home=home, sweep_seconds=0.02, heartbeat_seconds=0.05, max_tries=3, disk_reserve_bytes=0)
        self.shop = Workshop(
            settings=settings,
            clock=self.clock,
            ledger=self.ledger,
            fetcher=self.net,
            inspect=lambda name: lambda head: None,
            verifiers=[],
            rubric=Trusting(),
            installer=ModelFileInstaller(0o022),
            quarantine=Quarantine(home / "state"),
            hosts=self.hosts,
            volumes=self.volumes,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        engine = LocalEngine(self.shop, self.bell, Owners(self.home / "state" / "workers"))
        thread = threading.Thread(target=engine.run)
        thread.start()
        try:
            yield
        finally:
            engine.stop()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def hand_in(self, number: int, host: str = "a.example", **info: Any) -> list[Job]:
        jobs = [make_job(self.home / "models", info=make_info(download_url=f"https://{host}/f", **info))]
        jobs += [
            make_job(self.home / "models", info=make_info(download_url=f"https://{host}/{n}", **info))
            for n in range(1, number)
        ]
        for job in jobs:
            self.ledger.add(job)
        self.bell.ring(jobs[0])
        return jobs

    def let_pass(self, seconds: float, step: float = 1.0) -> None:
        """Time goes by, with some turns of the engine in each step."""
        pause = threading.Event()
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.bell.wake()
            pause.wait(TURN_SECONDS)

    def done(self) -> int:
        return self.ledger.counts()[Status.SUCCESS]

    def wait_for(self, number: int) -> None:
        """Until so many jobs ended well, while no time of the test's clock passes."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / 0.01)):
            if self.done() >= number:
                return
            pause.wait(0.01)
        raise AssertionError(f"{self.done()} of {number} jobs ended well")

    def tries(self, expected: int) -> set[int]:
        """Of all jobs, as soon as they are as expected: one that is held, or waits to be excused, has more."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / TURN_SECONDS)):
            found = {job.tries for job in self.ledger.jobs(Question(limit=10_000))}
            if found == {expected}:
                break
            pause.wait(TURN_SECONDS)
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def outage_of_ten_minutes(stage: Stage, jobs: int) -> None:
    stage.hand_in(jobs)
    stage.net.everything_away = True
    with stage.running():
        stage.let_pass(600, step=4)
        asked = len(stage.net.asked)
        assert 15 <= asked <= 50, "probes, not a thousand attempts, and no silence either"
        assert stage.done() == 0
        assert stage.tries(0) == {0}, "no try is burnt"
        stage.net.everything_away = False
        waited = 0
        while not stage.done() and waited < 60:
            stage.let_pass(1)
            waited += 1
        assert waited <= 30, "the next probe finds it"
        stage.wait_for(jobs)
    assert stage.tries(1) == {1}
    assert {job.status for job in stage.ledger.jobs(Question(limit=10_000))} == {Status.SUCCESS}


@pytest.mark.slow
def test_n11_ten_minutes_without_a_network_cost_no_job_a_try_and_all_go_on_at_once(stage: Stage) -> None:
    outage_of_ten_minutes(stage, 20)


@pytest.mark.slow
def test_n11_show_5_a_thousand_jobs_and_ten_minutes_without_a_network(stage: Stage) -> None:
    outage_of_ten_minutes(stage, 1000)


def test_n11_a_host_that_refuses_everybody_for_a_while_costs_nobody_a_try(stage: Stage) -> None:
    """Also not the jobs that met it first, before it was known that it fails them all."""
    stage.hand_in(10)
    stage.net.answers["a.example"] = TryLater(Code.SERVER_ERROR, "answered 500")
    with stage.running():
        stage.let_pass(60)
        assert stage.tries(0) == {0}
        del stage.net.answers["a.example"]
        stage.let_pass(30)
        stage.wait_for(10)
    assert stage.tries(1) == {1}


def test_n11_an_outage_of_one_host_keeps_no_other_hosts_jobs_waiting(stage: Stage) -> None:
    stage.hand_in(5, "a.example")
    stage.hand_in(5, "b.example")
    stage.net.away = {"a.example"}
    with stage.running():
        stage.wait_for(5)
        assert stage.ledger.counts()[Status.PENDING] + len(stage.ledger.holdings()) >= 5
        stage.net.away = set()
        stage.let_pass(30)
        stage.wait_for(10)


def test_a_job_with_a_mirror_goes_to_it_at_once_when_its_first_host_is_away(stage: Stage) -> None:
    stage.hand_in(1, mirrors=("https://b.example/f",))
    stage.net.away = {"a.example"}
    with stage.running():
        stage.wait_for(1)
    assert stage.net.asked == ["https://a.example/f", "https://b.example/f"]


def test_jobs_with_mirrors_go_on_while_their_first_host_rests(stage: Stage) -> None:
    stage.hand_in(1)
    stage.net.away = {"a.example"}
    with stage.running():
        stage.let_pass(60)
        stage.hand_in(5, mirrors=("https://b.example/f",))
        stage.wait_for(5)


@pytest.mark.slow
def test_n11_jobs_whose_mirrors_are_away_as_well_lose_no_try(stage: Stage) -> None:
    stage.hand_in(10, mirrors=("https://b.example/f",))
    stage.net.everything_away = True
    with stage.running():
        stage.let_pass(120, step=4)
        assert stage.tries(0) == {0}
        assert len(stage.net.asked) < 100
        stage.net.everything_away = False
        stage.let_pass(30)
        stage.wait_for(10)


@pytest.mark.slow
def test_a_host_that_refuses_for_ever_ends_its_jobs_and_a_drain_with_them(stage: Stage) -> None:
    jobs = stage.hand_in(4)
    stage.net.answers["a.example"] = TryLater(Code.SERVER_ERROR, "answered 500")
    with stage.running():
        stage.let_pass(3600, step=20)
        assert stage.ledger.counts()[Status.FAILED] == 0
        for _ in range(100):
            if stage.ledger.counts()[Status.FAILED] == len(jobs):
                break
            stage.let_pass(600, step=100)
    ended = [stage.ledger.get(job.job_id) for job in jobs]
    assert {(job.status, job.result.code) for job in ended} == {(Status.FAILED, "server_error")}


def test_h16_one_time_that_is_asked_for_is_waited_for_by_all_jobs_of_the_host_once(stage: Stage) -> None:
    stage.hand_in(1)
    stage.net.answers["a.example"] = TryLater(Code.BUSY_HOST, "answered 429", retry_after_seconds=600)
    with stage.running():
        stage.let_pass(5)
        stage.hand_in(20)
        stage.let_pass(590, step=5)
        assert len(stage.net.asked) == 1, "the others did not each collect it"
        assert stage.ledger.counts()[Status.PENDING] == 21
        del stage.net.answers["a.example"]
        stage.let_pass(60)
        stage.wait_for(21)


def test_a_probe_that_finds_no_such_file_ends_the_outage_for_the_others(stage: Stage) -> None:
    stage.hand_in(3)
    stage.net.everything_away = True
    with stage.running():
        stage.let_pass(30)
        stage.net.everything_away = False
        stage.net.answers["a.example"] = GiveUp(Code.NOT_FOUND, "answered 404")
        stage.let_pass(30)
        for _ in range(500):
            if stage.ledger.counts()[Status.FAILED] == 3:
                break
            stage.let_pass(1)
    assert stage.ledger.counts()[Status.FAILED] == 3


@pytest.mark.slow
def test_d1_a_full_volume_keeps_its_jobs_waiting_and_they_go_on_by_themselves(stage: Stage) -> None:
    stage.free_bytes = 0
    jobs = stage.hand_in(5, size=4)
    with stage.running():
        stage.let_pass(120)
        assert stage.net.asked == [], "nobody is asked for what cannot be kept"
        waiting = stage.ledger.jobs()
        assert {(job.status, job.tries) for job in waiting} == {(Status.PENDING, 0)}
        assert sum(job.attempts for job in waiting) <= 3, "those that ran at once; no other was even claimed"
        assert any("is full since" in job.history[-1].event for job in waiting)
        stage.free_bytes = 1 << 30
        stage.let_pass(2 * LOOK_SECONDS)
        stage.wait_for(len(jobs))


def test_d1_a_file_that_is_too_large_for_now_comes_when_there_is_room_and_others_before_it(stage: Stage) -> None:
    stage.free_bytes = 200 * 1024**2
    large = stage.hand_in(1, size=300 * 1024**2)
    with stage.running():
        stage.let_pass(5)
        stage.hand_in(3, size=4)
        stage.wait_for(3)
        assert stage.ledger.get(large[0].job_id).status is Status.PENDING
        stage.free_bytes = 1 << 30
        stage.let_pass(20)
        stage.wait_for(4)
    assert stage.tries(1) == {1}
