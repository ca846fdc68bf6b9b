"""What the ledger's questions cost, at a hundred and at a hundred thousand ended jobs: medians in µs.

`python -m tests.bench` shows them. For orientation; the tests assert on query plans and on work, never on time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from download_worker.clock import FakeClock
from download_worker.database import open_engine
from download_worker.jobs import moves
from download_worker.jobs.job import Lease, Progress, Status, WorkerId
from download_worker.jobs.ledger import Beat, Question
from download_worker.jobs.sql_ledger import SqlLedger
from tests.jobs import make_job
from tests.worker.test_sql_ledger import fill

SIZES = (100, 100_000)
ROUNDS = 50
WAITING = 200
WORKER = WorkerId("worker-1-aaaaaaaaaaaa")


def median_us(ask: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1e6


def measured(folder: Path, size: int) -> dict[str, float]:
    engine = open_engine(f"sqlite:///{folder}/{size}.db")
    ledger, clock = SqlLedger(engine), FakeClock()
    lease = Lease.starting(clock.steady(), 60)
    fill(engine, size)
    for _ in range(WAITING):
        ledger.add(make_job())

    def claim_and_give_back() -> None:
        job = ledger.claim(WORKER, lease, clock.now())
        assert job is not None
        ledger.change(job.claim, moves.given_back("t", "back"))

    held = ledger.claim(WORKER, lease, clock.now())
    assert held is not None
    beats = [Beat(held.claim, Progress(bytes=1))]
    failed = Question(statuses=frozenset({Status.FAILED}))
    asked: dict[str, Callable[[], object]] = {
        "add": lambda: ledger.add(make_job()),
        "claim + give back": claim_and_give_back,
        "heartbeat": lambda: ledger.beat(beats, lease),
        "list, first page": ledger.jobs,
        "list, failed": lambda: ledger.jobs(failed),
        "list, search in vain": lambda: ledger.jobs(Question(text="no such name")),
        "counts": ledger.counts,
        "holdings": ledger.holdings,
        "next due": ledger.next_due,
    }
    found = {name: median_us(ask) for name, ask in asked.items()}
    ledger.close()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns = [measured(Path(folder), size) for size in SIZES]
    sys.stdout.write(f"{'median µs':24}" + "".join(f"{size:>12,}" for size in SIZES) + f"{'ratio':>9}\n")
    for name in columns[0]:
        few, many = (column[name] for column in columns)
        sys.stdout.write(f"{name:24}{few:12,.0f}{many:12,.0f}{many / few:9.1f}\n")
