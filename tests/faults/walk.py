"""One cell of the matrix with the real fetcher, verifiers, rubric and installer; only clock and ledger are twins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

from download_worker import wiring
from download_worker.clock import FakeClock
from download_worker.errors import Interrupted
from download_worker.fetchers.http import HttpFetcher, crew, segments
from download_worker.fetchers.http.tuning import Sample
from download_worker.jobs.job import Job, Lease, WorkerId
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.leash import Leash
from download_worker.process import process
from download_worker.settings import MAX_WAIT_SECONDS, Settings
from download_worker.web.session import Web
from download_worker.workshop import Workshop
from tests.faults.catalogue import Fault
from tests.faults.rules import CHANGED, HUNG, RIGHT, UNREVEALED, WAITING, WRONG
from tests.faults.stage import BYTES, FILE, FILE_BYTES, SHA256, Cell, Hosts, Known, is_another_whole_file
from tests.hub import certificates
from tests.hub.behaviours import eof_mid, s503
from tests.jobs import make_info, make_job

SECONDS_MAX = 12.0
QUESTIONS_MAX = 150
"""Of one host, in all tries of one job: whoever asks more often hammers it."""
WALKS_MAX = 16
TRIES = 4
WORKER = WorkerId("worker-of-the-matrix")
LANES = 4
LANE_BYTES_PER_SECOND = 5_000_000.0
CLAIM_BYTES = 128 * 1024
"""Small, so that a small file has work for several connections."""


class EagerTuner:
    """Wants all the lanes there may be at once, however fast one is; a refusal is heeded."""

    def __init__(self, most: int) -> None:
        self._most = most

    def observe(self, sample: Sample) -> int:
        return self._most

    def refused(self) -> None:
        self._most = max(1, self._most - 1)


@dataclass(frozen=True)
class Ended:
    """How a cell ended: a word of `rules.py` or a code, after so many seconds of the wall, walks and questions."""

    end: str
    told: str
    seconds: float
    walks: int
    questions: int = 0


def play(fault: Fault, cell: Cell, hosts: Hosts, folder: Path) -> Ended:
    """Fetch honestly as far as the cell says, then let the host misbehave, and walk the job to its end."""
    host, path = fault.host(hosts), hosts.fresh_path(fault.name)
    url = host.publish(path, FILE, etag=fault.etag, last_modified=fault.last_modified)
    mirrors = (hosts.other.publish(hosts.fresh_path("mirror"), FILE, etag=fault.etag),) if fault.mirror else ()
    clock = FakeClock()
    ledger = MemoryLedger()
    known: dict[Known, dict[str, Any]] = {Known.DIGEST: {"sha256": SHA256}, Known.SIZE: {"size": FILE_BYTES}}
    models = folder / "models"
    models.mkdir(parents=True)
    job = make_job(models, info=make_info(download_url=url, mirrors=mirrors, **known.get(cell.known, {})))
    ledger.add(job)
    if not cell.fresh:
        host.behave(path, [eof_mid(after_bytes=cell.here_bytes).times(1), s503(retry_after="1").after_request(1)])
        with _workshop(folder, hosts, ledger, clock, segmented=False) as shop:
            _walk(job, shop, clock, Leash())
    host.behave(path, fault.dress(cell, hosts))
    with (
        _workshop(folder, hosts, ledger, clock, segmented=cell.segmented) as shop,
        _several_lanes(hosts) if cell.segmented else nullcontext(),
    ):
        ended = _to_the_end(job, shop, clock)
    return replace(ended, questions=len(host.hits_for(path)))


def _to_the_end(job: Job, shop: Workshop, clock: FakeClock) -> Ended:
    began, leash, walks = monotonic(), Leash(), 0
    with _pulled_after(SECONDS_MAX, leash):
        while ((now := shop.ledger.get(job.job_id)).live) and walks < WALKS_MAX:
            try:
                _walk(now, shop, clock, leash)
            except Interrupted:
                return Ended(HUNG, "", monotonic() - began, walks)
            walks += 1
    after = shop.ledger.get(job.job_id)
    return Ended(_end_of(after), after.result.reason or "", monotonic() - began, walks)


def _walk(job: Job, shop: Workshop, clock: FakeClock, leash: Leash) -> None:
    """One claim, when its time has come."""
    due = shop.ledger.next_due()
    if due is not None and due > clock.now():
        clock.advance((due - clock.now()).total_seconds())
    claimed = shop.ledger.claim(WORKER, Lease.starting(clock.steady(), 60.0), clock.now())
    if claimed is None:  # its host rests
        clock.advance(60.0)
        return
    process(claimed, shop, leash)


def _end_of(job: Job) -> str:
    if job.live:
        return WAITING
    if job.result.code is not None:
        return WRONG if job.target.exists() else job.result.code
    content = job.target.read_bytes()
    if content == BYTES:
        return RIGHT
    if job.model_info.sha256 is not None:
        return WRONG
    if is_another_whole_file(content):
        return CHANGED
    sound = len(content) == len(BYTES) and job.result.proof in ("C", "D")
    return UNREVEALED if sound else WRONG


@contextmanager
def _workshop(
    folder: Path, hosts: Hosts, ledger: MemoryLedger, clock: FakeClock, *, segmented: bool
) -> Iterator[Workshop]:
    """With connections of its own, which end with it."""
    settings = _settings(folder, hosts, segmented=segmented)
    with closing(Web(settings, clock=clock, ssl_context=certificates.trusting())) as web:
        fetcher = HttpFetcher(web, settings, pause_seconds=0.001)
        yield replace(wiring.workshop(settings, ledger, 0o022), clock=clock, fetcher=fetcher)


def _settings(folder: Path, hosts: Hosts, *, segmented: bool) -> Settings:
    given: dict[str, Any] = {
        "home": folder,
        "allow_hosts": hosts.allowed,
        "max_tries": TRIES,
        "connect_timeout_seconds": 2.0,
        "stall_timeout_seconds": 0.25,
        "checkpoint_bytes": 256 * 1024,
        "max_file_bytes": 3 * FILE_BYTES,
        "disk_reserve_bytes": 0,
        "backoff_cap_seconds": MAX_WAIT_SECONDS,
        "min_speed_window_seconds": 0.8,
        "min_bytes_per_second": 10_000,
    }
    return Settings(connections_per_file=LANES if segmented else 1, **given)


@contextmanager
def _several_lanes(hosts: Hosts) -> Iterator[None]:
    """Several connections from the first moment: the hosts are slow enough for them, and nobody measures first."""
    with (
        hosts.throttled(LANE_BYTES_PER_SECOND),
        patch.object(crew, "Tuner", EagerTuner),
        patch.object(segments, "LEAST_BYTES", CLAIM_BYTES),
    ):
        yield


@contextmanager
def _pulled_after(seconds: float, leash: Leash) -> Iterator[None]:
    watchdog = threading.Timer(seconds, leash.pull)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
