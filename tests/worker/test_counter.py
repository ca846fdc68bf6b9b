"""The counter: what the doctor may ask for, what is refused and how, and that a lost ring loses no job."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from download_worker.clock import FakeClock
from download_worker.database import open_engine
from download_worker.errors import BadRequest, Code, Refused, Trouble, TryLater
from download_worker.jobs import counter as counter_module
from download_worker.jobs import moves
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import MAX_MIRRORS, MAX_PRIORITY, Counter
from download_worker.jobs.job import Job, JobId, Lease, ModelInfo, Result, Status, WorkerId
from download_worker.jobs.ledger import Ledger, Question
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.jobs.sql_ledger import SqlLedger
from download_worker.settings import Settings
from download_worker.web.origins import check_url
from tests import canaries
from tests.jobs import make_info

WORKER = WorkerId("worker-1-aaaaaaaaaaaa")
DATA = b"the very bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()


class Deaf(MemoryBell):
    """A bell that cannot be rung now."""

    def ring(self, job: Job) -> bool:
        return False


class House:
    def __init__(self, ledger: Ledger, bell: MemoryBell, root: Path) -> None:
        self.ledger, self.bell, self.root = ledger, bell, root
        self.clock = FakeClock()
        self.counter = Counter(ledger, bell, self.clock, lambda url: check_url(url, Settings()))

    def submit(self, info: ModelInfo | None = None, **options: int) -> Job:
        return self.counter.submit(info or make_info(), self.root, **options).job

    def claim(self) -> Job:
        job = self.ledger.claim(WORKER, Lease.starting(self.clock.steady(), 60), self.clock.now())
        assert job is not None
        return job

    def fail_next(self) -> Job:
        return self.ledger.change(self.claim().claim, moves.failed(Code.NOT_FOUND, "gone", "t"))

    def place(self, info: ModelInfo, data: bytes = DATA) -> Path:
        path = self.root / info.model_type / info.expected_filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def rung(self) -> list[str]:
        return [ring.job_id for ring in self.bell.heard()]


@pytest.fixture(params=["sql", "memory"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    sql = request.param == "sql"
    ledger: Ledger = SqlLedger(open_engine(f"sqlite:///{tmp_path}/l.db")) if sql else MemoryLedger()
    yield House(ledger, MemoryBell(), tmp_path / "models")
    ledger.close()


def refusal(house: House, **changes: object) -> Trouble:
    with pytest.raises(Trouble) as refused:
        house.counter.submit(make_info(**changes), house.root)  # type: ignore[arg-type]
    assert sum(house.ledger.counts().values()) == 0, "what is refused makes no job"
    assert house.rung() == []
    return refused.value


def test_a_job_is_written_and_then_rung_for(house: House) -> None:
    job = house.submit(make_info("x.pt", size=9), priority=4)
    assert house.ledger.get(job.job_id) == job
    assert (job.status, job.priority, job.attempts, job.progress.total) == (Status.PENDING, 4, 0, 9)
    assert job.models_root.is_absolute()
    assert [event.event for event in job.history] == ["Job created"]
    assert house.rung() == [job.job_id]


def test_q3_a_live_job_for_the_same_target_is_answered_as_it_stands(house: House) -> None:
    first = house.submit(make_info("x.pt"))
    house.rung()
    again = house.counter.submit(make_info("x.pt", download_url="https://other.example/x.pt"), house.root)
    assert again == (first, True)
    assert house.rung() == []
    assert house.submit(make_info("x.pt", model_type="vae")) != first, "another folder is another target"
    assert house.submit(make_info("x.pt", subfolder="sub")) != first
    assert house.submit(make_info("x.pt", model_type="LoRA")) == first, "its folder has more than one name"


def test_q15_a_ring_that_is_lost_loses_no_job(tmp_path: Path) -> None:
    house = House(MemoryLedger(), Deaf(), tmp_path)
    job = house.submit()
    assert house.claim().job_id == job.job_id
    assert house.counter.cancel(job.job_id).cancel_requested


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"sha256": "abc"}, BadRequest, Code.BAD_DIGEST),
        ({"sha256": "g" * 64}, BadRequest, Code.BAD_DIGEST),
        ({"sha256": "a" * 64 + "\n"}, BadRequest, Code.BAD_DIGEST),
        ({"sha256": "\x1b" * 500}, BadRequest, Code.BAD_DIGEST),
        ({"size": -1}, BadRequest, Code.BAD_DIGEST),
        ({"download_url": "not a url"}, BadRequest, Code.BAD_URL),
        ({"download_url": "file:///etc/passwd"}, BadRequest, Code.BAD_URL),
        ({"download_url": "http://[::1"}, BadRequest, Code.BAD_URL),
        ({"download_url": ""}, BadRequest, Code.BAD_URL),
        ({"mirrors": ("https://fine.example/x", "ftp://x")}, BadRequest, Code.BAD_URL),
        ({"mirrors": ("https://m.example/x",) * (MAX_MIRRORS + 1)}, BadRequest, Code.BAD_URL),
        ({"download_url": "https://127.0.0.1/x.pt"}, Refused, Code.REFUSED_ADDRESS),
        ({"name": "x.py"}, Refused, Code.UNSAFE_NAME),
        ({"name": "../x.pt"}, Refused, Code.UNSAFE_NAME),
        ({"subfolder": "../../custom_nodes"}, Refused, Code.UNSAFE_NAME),
        ({"model_type": "../../custom_nodes"}, Refused, Code.UNKNOWN_FOLDER),
    ],
)
def test_t14_t15_t18_what_policy_refuses_and_what_is_malformed_make_no_job(
    house: House, changes: dict[str, object], kind: type[Trouble], code: Code
) -> None:
    changes = {"download_url": "https://models.example/x.pt"} | changes
    refused = refusal(house, **changes)
    assert type(refused) is kind
    assert refused.code is code


def test_t22_a_token_is_neither_kept_nor_shown_when_a_url_is_refused(house: House) -> None:
    token, password = canaries.IN_URL, canaries.PASSWORD
    kept = house.submit(make_info("x.pt", download_url=f"https://h.example/x.pt?%54oken={token}&a=1", mirrors=()))
    assert kept.model_info.download_url == "https://h.example/x.pt?a=1"
    mirrored = house.submit(make_info("y.pt", mirrors=(f"https://h.example/y?access_token={token}&sig=stays",)))
    assert mirrored.model_info.mirrors == ("https://h.example/y?sig=stays",)
    with pytest.raises(BadRequest) as refused:
        house.submit(make_info("z.pt", download_url=f"https://user:{password}@h.example/z.pt?token={token}"))
    assert canaries.WORD not in f"{refused.value}"


def test_what_is_kept_is_canonical(house: House) -> None:
    info = make_info("x.pt", model_type="unet", subfolder="a\\b", sha256="AB" * 32)
    kept = house.submit(info).model_info
    assert (kept.model_type, kept.subfolder, kept.sha256) == ("diffusion_models", "a/b", "ab" * 32)


@pytest.mark.parametrize("upper", [False, True])
def test_d14_a_file_in_place_with_the_right_digest_is_answered_without_work(house: House, upper: bool) -> None:
    info = make_info("x.pt", sha256=DIGEST.upper() if upper else DIGEST)
    path = house.place(info)
    added = house.counter.submit(info, house.root)
    assert added.deduplicated
    assert (added.job.status, added.job.result.path, added.job.result.proof) == (Status.SUCCESS, str(path), "B")
    assert added.job.progress.bytes == len(DATA)
    assert house.rung() == []
    assert house.counter.submit(info, house.root) == added, "asked again, it is the same answer"
    assert house.ledger.counts()[Status.SUCCESS] == 1


def test_d15_the_disk_is_asked_and_not_the_ledger(house: House) -> None:
    info = make_info("x.pt", sha256=DIGEST)
    path = house.place(info)
    assert house.submit(info).status is Status.SUCCESS
    path.write_bytes(b"flipped")
    assert house.submit(info).status is Status.PENDING, "the bytes have changed"
    house.fail_next()
    path.unlink()
    assert house.submit(info).status is Status.PENDING, "the file is gone"


def test_a_former_success_from_the_same_url_vouches_for_its_file(house: House) -> None:
    info = make_info("x.pt")
    house.place(info)
    assert house.submit(info).status is Status.PENDING, "nobody knows its digest"
    done = house.ledger.change(house.claim().claim, moves.succeeded(Result(sha256=DIGEST, proof="D"), "done", "t"))
    assert house.counter.submit(info, house.root) == (done, True)
    other = info.model_copy(update={"download_url": "https://elsewhere.example/x.pt"})
    assert house.submit(other).status is Status.PENDING, "another URL is another wish"


@pytest.mark.parametrize("fault", ["folder", "unreadable"])
def test_d6_a_file_that_cannot_be_read_is_the_workers_to_explain(
    house: House, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make_info("x.pt", sha256=DIGEST)
    if fault == "folder":
        (house.root / "loras/x.pt").mkdir(parents=True)
    else:
        house.place(info)

        def forbid(path: Path, *_: object) -> str:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(counter_module, "sha256_of", forbid)
    assert house.submit(info).status is Status.PENDING


def test_a_retry_rings_again_and_is_for_failed_jobs_only(house: House) -> None:
    job = house.submit()
    with pytest.raises(BadRequest) as refused:
        house.counter.retry(job.job_id)
    assert refused.value.code is Code.WRONG_MOMENT
    house.fail_next()
    house.rung()
    assert house.counter.retry(job.job_id[:8]).status is Status.PENDING
    assert house.rung() == [job.job_id]


def test_all_failed_jobs_are_retried_but_those_whose_target_is_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "PAGE_JOBS", 2)
    failed = []
    for number in range(5):
        house.submit(make_info(f"m{number}.pt"))
        failed.append(house.fail_next())
    standing = house.submit(make_info("m2.pt"))
    retried = house.counter.retry_failed()
    assert {job.job_id for job in retried} == {job.job_id for job in failed} - {failed[2].job_id}
    assert house.ledger.get(failed[2].job_id).status is Status.FAILED
    assert house.ledger.get(standing.job_id) == standing
    assert house.counter.retry_failed() == ()


def test_of_two_failed_jobs_for_one_target_only_the_newer_is_retried(house: House) -> None:
    house.submit(make_info("x.pt"))
    house.fail_next()
    newer = house.submit(make_info("x.pt"))
    house.fail_next()
    assert [job.job_id for job in house.counter.retry_failed()] == [newer.job_id]


def test_what_a_person_has_cancelled_is_not_retried_with_the_failed_ones(house: House) -> None:
    cancelled = house.counter.cancel(house.submit().job_id)
    house.submit()
    failed = house.fail_next()
    assert [job.job_id for job in house.counter.retry_failed()] == [failed.job_id]
    assert house.counter.get(cancelled.job_id).status is Status.FAILED
    assert house.counter.retry(cancelled.job_id).status is Status.PENDING, "by its own name it is"


def test_a_queue_that_goes_on_rings_for_a_job_that_waits_in_verifying(house: House) -> None:
    house.submit()
    claim = house.claim().claim
    house.ledger.change(claim, moves.verifying("v", 1, "t"))
    house.ledger.change(claim, moves.put_off(house.clock.now(), "no verdict", "t"))
    house.counter.pause_queue()
    house.rung()
    house.counter.resume_queue()
    assert len(house.rung()) == 1


@pytest.mark.parametrize(
    ("source", "proof"), [("manual", "B"), ("huggingface", "A"), ("embedded", "D"), ("agent", "D")]
)
def test_the_digest_of_a_file_in_place_is_worth_what_its_source_is(house: House, source: str, proof: str) -> None:
    info = make_info(sha256=DIGEST, source=source)
    house.place(info)
    assert house.submit(info).result.proof == proof


def test_q7_a_job_that_fails_again_at_once_is_retried_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is quicker than we are must not keep `retry --failed` going for ever."""
    for number in range(3):
        house.submit(make_info(f"m{number}.pt"))
        house.fail_next()
    amend_all = house.ledger.amend_all

    def amend_and_fail_at_once(job_ids: Sequence[JobId], move: moves.Move) -> Sequence[Job]:
        amended = amend_all(job_ids, move)
        for job in amended:
            house.fail_next()
            assert job.attempts < 3, "retried again and again"
        return amended

    monkeypatch.setattr(house.ledger, "amend_all", amend_and_fail_at_once)
    monkeypatch.setattr(counter_module, "PAGE_JOBS", 2)
    assert len(house.counter.retry_failed()) == 3


def test_many_failed_jobs_are_retried_in_few_transactions_and_with_few_rings(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "PAGE_JOBS", 2)
    for number in range(5):
        house.submit(make_info(f"m{number}.pt"))
        house.fail_next()
    house.rung()
    batches: list[int] = []
    amend_all = house.ledger.amend_all

    def count(job_ids: Sequence[JobId], move: moves.Move) -> Sequence[Job]:
        batches.append(len(job_ids))
        return amend_all(job_ids, move)

    monkeypatch.setattr(house.ledger, "amend_all", count)
    assert len(house.counter.retry_failed()) == 5
    assert batches == [2, 2, 1]
    assert len(house.rung()) == 3


def test_d12_nothing_is_handed_in_for_a_volume_that_is_not_there(house: House) -> None:
    def gone(root: Path, folder: Path) -> None:
        raise TryLater(Code.UNMOUNTED, f"the volume of {folder} is not mounted")

    counter = Counter(house.ledger, MemoryBell(), house.clock, lambda url: None, gone)
    with pytest.raises(TryLater) as refused:
        counter.submit(make_info("x.pt"), house.root)
    assert str(house.root / "loras") in refused.value.message
    assert house.ledger.jobs() == []


def test_pause_resume_cancel_and_the_queue(house: House) -> None:
    one, two = house.submit(), house.submit()
    house.rung()
    assert house.counter.pause(one.job_id).paused
    assert house.rung() == []
    assert not house.counter.resume(one.job_id).paused
    assert house.rung() == [one.job_id]
    assert house.counter.cancel(one.job_id).status is Status.FAILED
    assert house.counter.cancel(one.job_id).status is Status.FAILED, "twice is once"
    assert house.rung() == [one.job_id, one.job_id], "so that a worker clears its bytes away"
    house.counter.pause_queue()
    assert house.counter.queue_paused()
    house.counter.resume_queue()
    assert not house.counter.queue_paused()
    assert house.rung() == [two.job_id], "somebody has to hear that it goes on"


def test_bounds_on_what_people_type(house: House) -> None:
    job = house.submit(priority=-MAX_PRIORITY)
    assert house.counter.prioritise(job.job_id, MAX_PRIORITY).priority == MAX_PRIORITY
    for number in (MAX_PRIORITY + 1, 2**70, -(2**70)):
        with pytest.raises(BadRequest):
            house.counter.prioritise(job.job_id, number)
        with pytest.raises(BadRequest):
            house.submit(priority=number)
    for days in (float("nan"), float("inf"), 1e300, -1e300):
        with pytest.raises(BadRequest):
            house.counter.prune(days)
    assert house.ledger.get(job.job_id).priority == MAX_PRIORITY


def test_prune_forgets_the_job_and_keeps_the_file(house: House) -> None:
    info = make_info("x.pt", sha256=DIGEST)
    path = house.place(info)
    house.submit(info)
    live = house.submit()
    house.clock.advance(86_400 * 2)
    assert house.counter.prune(3) == 0
    assert house.counter.prune(1) == 1
    assert path.exists()
    assert [job.job_id for job in house.counter.jobs(Question())] == [live.job_id]


@pytest.mark.parametrize("job_id", ["", "1", "nothing-like-it", "%", "' OR 1=1 --", "\0", "x" * 100_000])
def test_a_job_that_does_not_exist_is_a_bad_request(house: House, job_id: str) -> None:
    house.submit()
    for ask in (house.counter.get, house.counter.retry, house.counter.cancel, house.counter.pause):
        with pytest.raises(BadRequest) as refused:
            ask(job_id)
        assert refused.value.code is Code.UNKNOWN_JOB
        assert len(refused.value.message) < 200


def test_a_relative_root_is_kept_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    house = House(MemoryLedger(), MemoryBell(), Path("models"))
    assert house.submit().models_root == Path(os.getcwd()) / "models"  # noqa: PTH109 - what it must equal
