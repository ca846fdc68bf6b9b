"""What the hosts send now, and what is waited for, summed from the jobs' own rows."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from download_worker import wiring
from download_worker.cli import app
from download_worker.clock import SystemClock, iso
from download_worker.command_line import run
from download_worker.jobs import moves
from download_worker.jobs.job import Job, Progress, Status, WorkerId
from download_worker.jobs.ledger import Question
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.settings import load
from download_worker.traffic import by_host, waiting_by_host
from tests.jobs import make_info, make_job


def running(url: str, rate: float | None, **progress: object) -> Job:
    told = Progress.model_validate({"bytes_per_second": rate, "connections": 2} | progress)
    job = make_job(info=make_info(download_url=url))
    return job.model_copy(update={"worker": WorkerId("w"), "status": Status.DOWNLOADING, "progress": told})


def test_rates_and_connections_are_summed_by_the_host_that_is_asked() -> None:
    jobs = [
        running("https://a.example/1", 1024.0 * 1024),
        running("https://a.example/2", 512.0 * 1024, retries=1),
        running("https://a.example/3", None, source="b.example"),
    ]
    first, second = by_host(jobs)
    assert first.as_json() == {
        "host": "a.example",
        "jobs": 2,
        "connections": 4,
        "bytes_per_second": 1572864,
        "retries": 1,
    }
    assert str(first) == "a.example: 1.5 MiB/s, 2 jobs, 4 connections, 1 retry"
    assert str(second) == "b.example: 0.0 MiB/s, 1 job, 2 connections"


def test_a_job_that_waits_is_no_traffic() -> None:
    assert by_host([make_job()]) == ()


NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def put_off(url: str, minutes: float, reason: str, at: str = "2026-11-21T11:00:00.000Z") -> Job:
    job = make_job(info=make_info(download_url=url))
    return moves.put_off(NOW + timedelta(minutes=minutes), reason, at, refund=True)(job)


def test_put_off_jobs_are_told_by_host_with_the_first_time_and_the_last_reason() -> None:
    away = "no connection to a.example:443: refused; a.example is away since 11:50"
    jobs = [
        put_off("https://a.example/1", 30, "a.example said nothing"),
        put_off("https://a.example/2", 10, away, at="2026-11-21T11:59:00.000Z"),
        make_job(info=make_info(download_url="https://a.example/3")),
        put_off("https://a.example/4", -1, "it is due by now"),
        put_off("https://b.example/1", 5, "the volume of /models is full since 11:55"),
        make_job(info=make_info(download_url="https://c.example/1")),
    ]
    first, second = waiting_by_host(jobs, NOW)
    assert first.as_json() == {
        "host": "a.example",
        "jobs": 2,
        "in_line": 2,
        "until": "2026-11-21T12:10:00.000Z",
        "reason": away,
    }
    assert str(first) == f"a.example: 2 jobs wait until 2026-11-21T12:10:00.000Z, 2 more in line: {away}"
    assert str(second) == (
        "b.example: 1 job waits until 2026-11-21T12:05:00.000Z: the volume of /models is full since 11:55"
    )


def test_who_runs_is_paused_or_has_ended_waits_for_nothing() -> None:
    waiting = put_off("https://a.example/1", 5, "later")
    others: list[dict[str, Any]] = [{"worker": WorkerId("w")}, {"paused": True}, {"status": Status.FAILED}]
    assert waiting_by_host([waiting.model_copy(update=other) for other in others], NOW) == ()


@pytest.fixture
def own_umask_and_logs() -> Iterator[None]:
    mask = os.umask(0)
    yield
    os.umask(mask)
    wiring.close_logs()


@pytest.mark.usefixtures("own_umask_and_logs")
def test_status_tells_who_waits_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with wiring.ledger_of(load(tmp_path)) as ledger:
        for number, job in enumerate((make_job(tmp_path), put_off("https://models.example/x", 0, "it is away"))):
            later = iso(SystemClock().now() + timedelta(hours=1)) if number else None
            ledger.add(job.model_copy(update={"not_before": later}))
    assert run(app, "download-worker", ["status", "--home", str(tmp_path), "--json"]) == 0
    (waiting,) = json.loads(capsys.readouterr().out)["data"]["waiting"]
    assert (waiting["host"], waiting["jobs"], waiting["in_line"]) == ("models.example", 1, 1)
    assert run(app, "download-worker", ["status", "--home", str(tmp_path)]) == 0
    assert "models.example: 1 job waits until" in capsys.readouterr().out


def test_jobs_beyond_the_first_page_of_a_list_are_counted_too() -> None:
    ledger = MemoryLedger()
    for number in range(Question().limit + 5):
        ledger.add(put_off(f"https://a.example/{number}", 5, "it is away"))
    _, (waiting,) = wiring.traffic_of(ledger, NOW)
    assert waiting.jobs == Question().limit + 5
