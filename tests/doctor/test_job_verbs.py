"""Jobs by hand: what each verb answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_doctor.job_verbs import change, enqueue, filename_in, list_jobs, prioritise
from download_worker.clock import FakeClock
from download_worker.errors import BadRequest, Code
from download_worker.jobs import moves
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Job, Lease, Status, WorkerId
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.report import ExitCode
from tests.jobs import make_info

ROOT = Path("/models")
CLOCK = FakeClock()


class Desk:
    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.counter = Counter(self.ledger, MemoryBell(), CLOCK, lambda url: None)

    def failed(self, name: str) -> Job:
        self.counter.submit(make_info(name), ROOT)
        job = self.ledger.claim(WorkerId("worker-1-aaaaaaaaaaaa"), Lease.starting(CLOCK.steady(), 60), CLOCK.now())
        assert job is not None
        return self.ledger.change(job.claim, moves.failed(Code.NOT_FOUND, "gone", "t"))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_enqueue_answers_with_the_job_and_whether_it_was_there(desk: Desk) -> None:
    info = make_info("x.pt", download_url="https://h.example/x.pt?sig=s3cr3t")
    first, again = (enqueue(desk.counter, info, ROOT, priority=2) for _ in range(2))
    (job,), (same,) = first.data["jobs"], again.data["jobs"]
    assert (job["deduplicated"], same["deduplicated"]) == (False, True)
    assert job["job_id"] == same["job_id"]
    assert (job["status"], job["priority"], first.exit_code) == ("PENDING", 2, ExitCode.OK)
    assert first.messages[0].startswith("queued: ")
    assert again.messages[0].startswith("already there: ")
    assert "s3cr3t" not in json.dumps(first.envelope())
    assert str(ROOT / "loras/x.pt") in first.messages[0]


def test_list_filters_and_counts_all(desk: Desk) -> None:
    desk.failed("a.pt")
    desk.counter.submit(make_info("b.pt"), ROOT)
    everything = list_jobs(desk.counter, (), "", 10)
    assert [job["status"] for job in everything.data["jobs"]] == ["PENDING", "FAILED"]
    assert everything.data["counts"] == {"PENDING": 1, "DOWNLOADING": 0, "VERIFYING": 0, "SUCCESS": 0, "FAILED": 1}
    assert everything.data["queue_paused"] is False
    assert [job["status"] for job in list_jobs(desk.counter, ("failed",), "", 10).data["jobs"]] == ["FAILED"]
    assert len(list_jobs(desk.counter, (), "B.PT", 10).data["jobs"]) == 1
    assert len(list_jobs(desk.counter, (), "", 1).data["jobs"]) == 1
    json.dumps(everything.envelope())


def test_a_status_that_does_not_exist_is_told_with_those_that_do(desk: Desk) -> None:
    with pytest.raises(BadRequest) as refused:
        list_jobs(desk.counter, ("DONE",), "", 10)
    assert refused.value.code is Code.BAD_SETTING
    assert all(status in refused.value.hint for status in Status)


def test_one_job_or_all_that_the_command_means(desk: Desk) -> None:
    failed = [desk.failed("a.pt"), desk.failed("b.pt")]
    shown = change(desk.counter, "show", failed[0].job_id)
    assert (shown.data["jobs"][0]["result"]["code"], shown.messages) == ("not_found", ())
    assert change(desk.counter, "retry", failed[0].job_id).data["jobs"][0]["status"] == "PENDING"
    assert [job["job_id"] for job in change(desk.counter, "retry", None).data["jobs"]] == [failed[1].job_id]
    assert change(desk.counter, "pause", failed[0].job_id).data["jobs"][0]["paused"] is True
    assert change(desk.counter, "resume", failed[0].job_id).data["jobs"][0]["paused"] is False
    assert change(desk.counter, "cancel", failed[0].job_id).data["jobs"][0]["result"]["code"] == "cancelled"
    assert change(desk.counter, "pause", None).data == {"jobs": []}
    assert desk.counter.queue_paused()
    change(desk.counter, "resume", None)
    assert not desk.counter.queue_paused()


def test_what_changed_nothing_says_so(desk: Desk) -> None:
    job_id = desk.failed("a.pt").job_id
    reports = [change(desk.counter, command, job_id) for command in ("cancel", "pause", "resume")]
    for report in (*reports, prioritise(desk.counter, job_id, 7)):
        assert report.exit_code is ExitCode.OK
        assert report.messages == (f"nothing changed: {job_id[:8]} FAILED a.pt: it is FAILED already",)
    waiting = desk.counter.submit(make_info("b.pt"), ROOT).job.job_id
    assert "it is not paused" in change(desk.counter, "resume", waiting).messages[0]
    told = [change(desk.counter, "pause", waiting).messages[0] for _ in range(2)]
    assert told[0].startswith("paused: ") and "nothing changed" in told[1]
    assert change(desk.counter, "cancel", waiting).messages[0].startswith("cancelled: ")


def test_a_cancel_that_a_worker_must_obey_is_not_told_as_done(desk: Desk) -> None:
    job_id = desk.counter.submit(make_info("a.pt"), ROOT).job.job_id
    desk.ledger.claim(WorkerId("worker-1-aaaaaaaaaaaa"), Lease.starting(CLOCK.steady(), 60), CLOCK.now())
    told = [change(desk.counter, "cancel", job_id).messages[0] for _ in range(2)]
    assert told[0].startswith("asked its worker to stop: ")
    assert told[1].startswith("nothing changed: ")


def test_a_job_that_does_not_exist_is_a_bad_request(desk: Desk) -> None:
    for command in ("show", "retry", "cancel", "pause", "resume"):
        with pytest.raises(BadRequest):
            change(desk.counter, command, "no-such-job")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/x.safetensors", "x.safetensors"),
        ("https://h/a/x.pt?download=true#f", "x.pt"),
        ("https://h/a%20b.pt", "a b.pt"),
        ("https://h/%2e%2e%2fx.pt", "../x.pt"),
        ("https://h/", ""),
        ("https://h", ""),
        ("", ""),
        ("http://[::1", ""),
    ],
)
def test_a_name_is_the_last_part_of_the_path_whatever_that_is(url: str, name: str) -> None:
    assert filename_in(url) == name
