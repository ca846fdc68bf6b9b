"""Rows of FAULTS.md that are no behaviour of a host: the way to it, this machine's limits, its disk and its clock."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from download_worker.clock import FakeClock, SystemClock
from download_worker.errors import Code, Refused, TryLater
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Job, Lease, Status, WorkerId
from download_worker.jobs.ledger import Beat, Order
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.jobs.moves import reclaimed
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web
from download_worker.workshop import Workshop
from tests.faults.catalogue import FAULTS
from tests.faults.rules import RIGHT
from tests.faults.stage import FILE_BYTES, Cell, Hosts, Known, Stage
from tests.faults.walk import play
from tests.jobs import make_info, make_job
from tests.worker.test_engine import Bench

BY_NAME = {fault.name: fault for fault in FAULTS}
FRESH = Cell(0.0, Known.NOTHING)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Stage() as hosts:
        yield hosts


# --- the network ---


@pytest.mark.slow
def test_n9_a_throttled_line_is_slow_and_not_stalled(hosts: Hosts, tmp_path: Path) -> None:
    """1 Mbit/s against a stall timeout that is five pieces long: one question brings it all."""
    asked = len(hosts.plain.hits)
    hosts.plain.bytes_per_second = 1_000_000
    try:
        ended = play(BY_NAME["honest"], FRESH, hosts, tmp_path)
    finally:
        hosts.plain.bytes_per_second = None
    assert (ended.end, len(hosts.plain.hits) - asked) == (RIGHT, 1)
    assert ended.seconds > FILE_BYTES / 1_000_000 * 0.8


def test_n10_on_a_bad_line_hardly_a_byte_comes_twice(hosts: Hosts, tmp_path: Path) -> None:
    asked = len(hosts.plain.hits)
    assert play(BY_NAME["ragged"], FRESH, hosts, tmp_path).end == RIGHT
    hits = hosts.plain.hits[asked:]
    assert len(hits) > 1
    assert sum(hit.bytes_sent for hit in hits) < 1.2 * FILE_BYTES


def test_h27_no_fault_makes_us_ask_for_a_head(hosts: Hosts, tmp_path: Path) -> None:
    """Cloudflare's R2 refuses HEAD, Civitai answers it with 401: only the answer to GET counts."""
    asked = len(hosts.plain.hits)
    for name in ("head_refused", "head_lies"):
        assert play(BY_NAME[name], Cell(0.5, Known.SIZE), hosts, tmp_path / name).end == RIGHT
    assert {hit.method for hit in hosts.plain.hits[asked:]} == {"GET"}


# --- the limits of this machine ---


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
def test_d8_no_job_leaves_a_file_or_a_thread_open_however_it_ends(hosts: Hosts, tmp_path: Path) -> None:
    names = ("honest", "rst_mid", "s404", "html_200", "length_short", "redirect_loop", "gzip_encoded", "s401")
    play(BY_NAME["honest"], FRESH, hosts, tmp_path / "first")
    hosts.plain.wait_for(lambda hub: all(hit.ended for hit in hub.hits))
    before, threads = open_files(), threading.active_count()
    for name in names:
        play(BY_NAME[name], FRESH, hosts, tmp_path / name)
    patience = threading.Event()
    for _ in range(200):  # the hub closes its side in threads of its own
        if open_files() <= before and threading.active_count() <= threads:
            return
        patience.wait(0.01)
    raise AssertionError(f"{open_files() - before} files and {threading.active_count() - threads} threads are left")


def test_d8_too_many_open_files_are_for_later(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def no_more(family: int = -1, *rest: Any, **named: Any) -> socket.socket:
        if family in (socket.AF_INET, socket.AF_INET6):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(family, *rest, **named)

    monkeypatch.setattr("socket.socket", no_more)
    settings = Settings(home=tmp_path, allow_hosts=("127.0.0.1",))
    with pytest.raises(TryLater) as caught, Web(settings).open_stream(hosts.plain.url("/m")):
        pass
    assert caught.value.code is Code.STORAGE


# --- the disk ---


class Hanging(Bench):
    """A worker one of whose jobs sits in a system call that does not return: it heeds no leash."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, jobs=2)
        self.disk_answers = threading.Event()

    def process(self, job: Job, shop: Workshop, leash: Leash) -> Job:
        if "hangs" in job.model_info.expected_filename:
            with self.changed:
                self.started[job.job_id] = job
            self.disk_answers.wait(30)
        return super().process(job, shop, leash)


def test_d10_a_disk_that_hangs_holds_up_its_job_only_and_nobody_takes_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    bench = Hanging(tmp_path)
    bench.let_go.set()
    with bench.running(monkeypatch):
        stuck = bench.hand_in(info=make_info("hangs.safetensors"))
        bench.wait_until(lambda: stuck.job_id in bench.started)
        for number in range(3):
            other = bench.hand_in(info=make_info(f"goes-{number}.safetensors"))
            bench.wait_until(lambda other=other: bench.status(other) is Status.SUCCESS)  # type: ignore[misc]
            bench.clock.advance(40.0)  # of a lease of 60
            bench.wait_until(
                lambda: _lease_of(bench, stuck).holds(bench.clock.steady()._replace(seconds=_in(bench, 30)))
            )
        held = bench.ledger.get(stuck.job_id)
        assert (held.status, held.attempts) == (Status.DOWNLOADING, 1)
        bench.disk_answers.set()
        bench.wait_until(lambda: bench.status(stuck) is Status.SUCCESS)
        assert bench.ledger.get(stuck.job_id).attempts == 1


def _lease_of(bench: Bench, job: Job) -> Lease:
    lease = bench.ledger.get(job.job_id).lease
    assert lease is not None
    return lease


def _in(bench: Bench, seconds: float) -> float:
    return bench.clock.steady().seconds + seconds


HOSTILE_NAMES = (
    "x" * 300 + ".safetensors",
    "CON.safetensors",
    "com1.safetensors",
    "a/b.safetensors",
    "a\\b.safetensors",
    "a:b.safetensors",
    "a\0.safetensors",
    "a\n.safetensors",
    "trailing .safetensors.",
    "..",
)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_d11_a_name_that_some_file_system_cannot_have_is_refused_with_a_reason_and_leaves_no_job(
    name: str, tmp_path: Path
) -> None:
    """Too long, reserved on Windows, or not one name: refused when it is handed in, not when its bytes are there."""
    ledger = MemoryLedger()
    counter = Counter(ledger, MemoryBell(), FakeClock(), lambda url: None)
    with pytest.raises(Refused) as caught:
        counter.submit(make_info(name), tmp_path)
    assert caught.value.code is Code.UNSAFE_NAME and caught.value.message
    assert not ledger.has_live_jobs()


# --- the clock ---

SLEEPER, RIVAL = WorkerId("worker-that-slept"), WorkerId("worker-elsewhere")


def asleep_with_a_job() -> tuple[MemoryLedger, FakeClock, Job]:
    """The machine was suspended for an hour in the middle of a job: boot time went on, heartbeats did not."""
    clock, ledger = FakeClock(), MemoryLedger()
    ledger.add(make_job(Path("/models")))
    job = ledger.claim(SLEEPER, Lease.starting(clock.steady(), 60.0), clock.now())
    assert job is not None
    clock.advance(3600.0)
    return ledger, clock, job


def test_c4_after_a_suspend_the_heart_beats_on_and_the_job_stays() -> None:
    ledger, clock, job = asleep_with_a_job()
    beaten = Lease.starting(clock.steady(), 60.0)
    assert ledger.beat([Beat(job.claim, job.progress)], beaten) == {job.job_id: Order.GO_ON}
    assert [holding.lease.holds(clock.steady()) for holding in ledger.holdings()] == [True]


def test_c4_at_worst_the_job_is_leased_once_more_and_who_slept_lets_go() -> None:
    ledger, clock, job = asleep_with_a_job()
    assert [holding.lease.holds(clock.steady()) for holding in ledger.holdings()] == [False]
    ledger.change(job.claim, reclaimed(clock.now(), max_tries=3, base_seconds=1.0, cap_seconds=2.0))
    again = ledger.claim(RIVAL, Lease.starting(clock.steady(), 60.0), clock.now())
    assert again is not None and again.attempts == 2
    beaten = Lease.starting(clock.steady(), 60.0)
    assert ledger.beat([Beat(job.claim, job.progress)], beaten) == {job.job_id: Order.LOST}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to make a time namespace")
def test_c4_the_steady_clock_counts_what_a_suspend_takes() -> None:
    """A namespace whose boot lies an hour further back is what a machine sees that slept for an hour."""
    told = "from download_worker.clock import SystemClock; print(SystemClock().steady().seconds)"
    shifted = ["unshare", "-T", "--boottime", "3600", sys.executable, "-c", told]
    ended = subprocess.run(shifted, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode != 0:
        pytest.skip(f"no time namespace here: {ended.stderr.strip()[-200:]}")
    assert 3590 < float(ended.stdout) - SystemClock().steady().seconds < 3660
