"""Housekeeping at start: what no job can come back to goes; what anybody may still need stays."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from loguru import logger

from download_worker import housekeeping
from download_worker.clock import FakeClock, iso
from download_worker.errors import Code
from download_worker.housekeeping import clear_up
from download_worker.jobs import moves
from download_worker.jobs.job import Job, JobId, Lease, Result, WorkerId
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.room import STAGING_BESIDE_MODELS, entered
from download_worker.settings import Settings
from download_worker.workshop import Workshop
from tests.jobs import make_job
from tests.journals import journal_of

WORKER = WorkerId("worker-1-aaaaaaaaaaaa")


class House:
    def __init__(self, home: Path) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger()
        self.settings = Settings(home=home, keep_days=30)
        self.models = home / "models"
        self.pruned: list[object] = []
        quarantine = SimpleNamespace(prune=self.pruned.append)
        parts: dict[str, Any] = {"settings": self.settings, "clock": self.clock, "ledger": self.ledger}
        self.shop = cast(Workshop, SimpleNamespace(**parts, quarantine=quarantine))

    def job(self) -> Job:
        return self.ledger.add(make_job(self.models, job_id=str(uuid.uuid4()))).job

    def ended(self, move: Callable[[str], moves.Move]) -> Job:
        self.job()
        job = self.ledger.claim(WORKER, Lease.starting(self.clock.steady(), 60), self.clock.now())
        assert job is not None
        return self.ledger.change(job.claim, move(iso(self.clock.now())))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def of_long_ago(hall: Path) -> Path:
    """Nobody has touched it for longer than `keep_days`; the fake clock stands at the first of January 2026."""
    os.utime(hall, (0, 0))
    return hall


def leave_something(staging: Path, job_id: str) -> Path:
    with entered(staging, JobId(job_id), 1) as room:
        room.part.write_bytes(b"bytes")
        room.note(journal_of("source", durable_bytes=5))
    return staging / job_id


def test_d19_rooms_of_jobs_that_are_over_or_unknown_go_and_all_others_stay(house: House) -> None:
    gone = {
        "success": house.ended(lambda at: moves.succeeded(Result(), "done", at)).job_id,
        "cancelled": house.ended(moves.cancelled).job_id,
        "rejected": house.ended(lambda at: moves.failed(Code.HASH_MISMATCH, "x", at)).job_id,
        "unknown and old": str(uuid.uuid4()),
    }
    stay = {
        "may be retried": house.ended(lambda at: moves.failed(Code.NO_CONNECTION, "x", at)).job_id,
        "waits": house.job().job_id,
        "unknown: another home's, perhaps": str(uuid.uuid4()),
        "no room of ours": "notes",
    }
    halls = {name: leave_something(house.settings.staging, job_id) for name, job_id in (gone | stay).items()}
    (house.settings.staging / "a file").touch()
    of_long_ago(halls["unknown and old"])
    clear_up(house.shop)
    assert {name for name, hall in halls.items() if hall.exists()} == stay.keys()
    assert (house.settings.staging / "a file").exists()
    clear_up(house.shop)


def test_d19_nobody_is_cleared_out_while_at_work(house: House) -> None:
    """A staging folder beside models may be shared with another home, whose jobs this ledger does not know."""
    theirs = JobId(str(uuid.uuid4()))
    with entered(house.settings.staging, theirs, 3) as room:
        room.part.write_bytes(b"bytes")
        room.note(journal_of("source", durable_bytes=5))
        of_long_ago(house.settings.staging / theirs)
        clear_up(house.shop)
        assert room.part.read_bytes() == b"bytes"
    of_long_ago(house.settings.staging / theirs)
    clear_up(house.shop)
    assert not (house.settings.staging / theirs).exists()


def test_d19_staging_beside_models_is_cleared_as_well(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.job()
    beside = house.models / STAGING_BESIDE_MODELS
    monkeypatch.setattr(housekeeping, "staging_for", lambda *_: beside)
    left = of_long_ago(leave_something(beside, str(uuid.uuid4())))
    clear_up(house.shop)
    assert not left.exists()
    assert not beside.exists(), "nothing of ours stays under a model folder"


def test_old_jobs_and_rejected_files_are_forgotten(house: House) -> None:
    house.ended(moves.cancelled)
    house.clock.advance(29 * 86_400)
    clear_up(house.shop)
    assert sum(house.ledger.counts().values()) == 1
    house.clock.advance(2 * 86_400)
    clear_up(house.shop)
    assert sum(house.ledger.counts().values()) == 0
    assert len(house.pruned) == 2


@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_d4_d6_a_folder_that_cannot_be_cleared_is_told_and_stops_nothing(
    house: House, fault: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_long_ago(leave_something(house.settings.staging, str(uuid.uuid4())))
    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]), level="WARNING")

    def fail(_: Path) -> object:
        raise fault

    monkeypatch.setattr(Path, "iterdir", fail)
    clear_up(house.shop)
    logger.remove(sink)
    assert len(told) == 1
    assert str(house.settings.staging) in told[0]


def test_without_any_staging_there_is_nothing_to_do(house: House) -> None:
    clear_up(house.shop)
    assert not house.settings.staging.exists()
