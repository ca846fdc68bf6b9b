"""Both bells, one contract: what is written here holds between processes and for the twin in memory."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from download_worker.jobs.bell import Bell, MemoryBell
from download_worker.jobs.job import Event, JobId
from download_worker.jobs.persist_queue import PersistQueueBell
from tests.jobs import make_info, make_job

LONG_SECONDS = 20.0


@pytest.fixture(params=["persist-queue", "memory"])
def bell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bell]:
    made: Bell = MemoryBell() if request.param == "memory" else PersistQueueBell(tmp_path / "queue")
    yield made
    made.close()


def heard_ids(bell: Bell, **options: Any) -> list[JobId]:
    return [ring.job_id for ring in bell.heard(**options)]


def ready_to_wait(bell: Bell) -> None:
    """The first wait may return at once; after it and a hearing there is nothing left that ends one early."""
    bell.wait(0.0)
    bell.heard()
    bell.wait(0.0)


def seconds_of_waiting(bell: Bell, seconds: float) -> float:
    began = time.monotonic()
    bell.wait(seconds)
    return time.monotonic() - began


def test_a_silent_bell_is_heard_as_nothing(bell: Bell) -> None:
    assert bell.heard() == ()


def test_rings_are_heard_once_and_in_order(bell: Bell) -> None:
    jobs = [make_job() for _ in range(5)]
    assert [bell.ring(job) for job in jobs] == [True] * 5
    assert heard_ids(bell) == [job.job_id for job in jobs]
    assert bell.heard() == ()


def test_one_job_may_ring_twice(bell: Bell) -> None:
    job = make_job()
    bell.ring(job)
    bell.ring(job)
    rings = bell.heard()
    assert [ring.job_id for ring in rings] == [job.job_id] * 2
    assert len({ring.ring_id for ring in rings}) == 2


def test_a_hearing_is_bounded_and_the_rest_ends_the_next_wait(bell: Bell) -> None:
    ready_to_wait(bell)
    jobs = [make_job() for _ in range(5)]
    for job in jobs:
        bell.ring(job)
    bell.wait(LONG_SECONDS)
    first = heard_ids(bell, limit=3)
    assert len(first) == 3
    assert seconds_of_waiting(bell, LONG_SECONDS) < LONG_SECONDS / 2
    assert first + heard_ids(bell) == [job.job_id for job in jobs]


def test_a_ring_from_another_thread_ends_the_wait(bell: Bell) -> None:
    ready_to_wait(bell)
    job = make_job()
    threading.Timer(0.05, bell.ring, [job]).start()
    assert seconds_of_waiting(bell, LONG_SECONDS) < LONG_SECONDS / 2
    assert heard_ids(bell) == [job.job_id]


def test_a_ring_before_the_wait_ends_it_too(bell: Bell) -> None:
    ready_to_wait(bell)
    bell.ring(make_job())
    assert seconds_of_waiting(bell, LONG_SECONDS) < LONG_SECONDS / 2


def test_wake_ends_the_wait_without_a_ring(bell: Bell) -> None:
    ready_to_wait(bell)
    threading.Timer(0.05, bell.wake).start()
    assert seconds_of_waiting(bell, LONG_SECONDS) < LONG_SECONDS / 2
    assert bell.heard() == ()


def test_wake_may_be_called_by_a_signal_handler(bell: Bell) -> None:
    """A handler runs in the waiting thread, between any two lines of whatever it is doing: so wake it at every one."""
    ready_to_wait(bell)

    def handler(_frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line":
            bell.wake()
        return handler

    def wait_with_signals() -> None:
        sys.settrace(handler)
        bell.wait(LONG_SECONDS)
        sys.settrace(None)

    waiter = threading.Thread(target=wait_with_signals, daemon=True)
    waiter.start()
    waiter.join(LONG_SECONDS / 2)
    assert not waiter.is_alive()


def test_waiting_ends_by_itself_and_not_before_without_a_reason(bell: Bell) -> None:
    """What hearing itself writes (acks, tidying) must not end the wait after it: that would be busy polling."""
    ready_to_wait(bell)
    bell.ring(make_job())
    bell.wait(LONG_SECONDS)
    assert len(bell.heard()) == 1
    assert seconds_of_waiting(bell, 0.4) >= 0.4


def test_a_foreign_ring_is_kept_aside_and_never_heard_again(bell: Bell) -> None:
    bell.ring(make_job())
    (ring,) = bell.heard()
    assert bell.aside_count() == 0
    bell.set_aside(ring, "the ledger knows no such job")
    assert bell.aside_count() == 1
    assert bell.heard() == ()


def test_a_job_with_a_long_story_still_rings(bell: Bell) -> None:
    told = tuple(Event(timestamp="2026-01-01T00:00:00.000Z", event="é" * 500) for _ in range(100))
    job = make_job(history=told, info=make_info(mirrors=("https://mirror.example/" + "x" * 5000,)))
    assert bell.ring(job)
    assert heard_ids(bell) == [job.job_id]
    assert bell.aside_count() == 0


def test_many_threads_ring_and_every_job_is_heard(bell: Bell) -> None:
    jobs = [make_job() for _ in range(24)]
    threads = [
        threading.Thread(target=lambda part=part: [bell.ring(job) for job in part]) for part in (jobs[::2], jobs[1::2])
    ]
    for thread in threads:
        thread.start()
    heard: set[JobId] = set()
    deadline = time.monotonic() + LONG_SECONDS
    while len(heard) < len(jobs) and time.monotonic() < deadline:
        heard.update(heard_ids(bell))
        bell.wait(0.05)
    for thread in threads:
        thread.join()
    assert heard == {job.job_id for job in jobs}


def test_closing_ends_a_wait_and_silences_the_bell(bell: Bell) -> None:
    ready_to_wait(bell)
    threading.Timer(0.05, bell.close).start()
    assert seconds_of_waiting(bell, LONG_SECONDS) < LONG_SECONDS / 2
    bell.close()
    assert bell.ring(make_job()) is False
    assert bell.heard() == ()
    assert seconds_of_waiting(bell, LONG_SECONDS) < LONG_SECONDS / 2
