"""The walk of one job, with rooms that do what the test says; the ledger is the real twin in memory."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from download_worker.clock import FakeClock, iso
from download_worker.errors import Code, GiveUp, Interrupted, LostClaim, Refused, Trouble, TryLater
from download_worker.fetchers.fetcher import Inspect
from download_worker.hosts import Hosts
from download_worker.installers.installer import Installed
from download_worker.installers.model_file import ModelFileInstaller
from download_worker.jobs import moves
from download_worker.jobs.job import Claim, Job, Lease, ModelInfo, Status, Verdict, WorkerId
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.leash import Leash
from download_worker.process import process
from download_worker.quarantine import Quarantine
from download_worker.room import Fetched, Identity, Room, source_key
from download_worker.settings import Settings
from download_worker.verifiers.verifier import Evidence, Rejected, Specimen
from download_worker.volumes import Volumes
from download_worker.workshop import Workshop
from tests.jobs import make_info, make_job
from tests.journals import journal_of

WORKER = WorkerId("worker-1-aaaaaaaaaaaa")
GOOD, BAD = b"good bytes", b"bad bytes"


class Sources:
    """A fetcher: what each URL gives, or raises."""

    def __init__(self, **gives: bytes | Trouble | Exception) -> None:
        self.gives = gives
        self.asked: list[str] = []

    def fetch(
        self, url: str, mirrors: Sequence[str], wanted: ModelInfo, room: Room, leash: Leash, inspect: Inspect
    ) -> Fetched:
        whole = room.whole_file()
        if whole is not None and whole.identity is not None:
            return Fetched(room.part, str(whole.sha256), whole.identity.size, whole.identity, "x", None)
        self.asked.append(url)
        given = self.gives[url.rpartition("/")[2]]
        if isinstance(given, Exception):
            raise given
        inspect(given)
        room.part.write_bytes(given)
        identity, digest = Identity.of(room.part.stat()), sha256(given).hexdigest()
        room.note(journal_of(source_key(url), durable_bytes=len(given), sha256=digest, identity=identity))
        return Fetched(room.part, digest, len(given), identity, url, None)


class Contents:
    """A verifier: only GOOD is good."""

    name = "contents"

    def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
        if specimen.file.path.read_bytes() != GOOD:
            raise Rejected(Code.HASH_MISMATCH, "not the bytes that were announced")
        return Evidence(self.name, {})


class Judge:
    """A rubric that does what it is told."""

    def __init__(self, *troubles: Trouble) -> None:
        self.troubles = list(troubles)

    def foresee(self, wanted: ModelInfo) -> None:
        if wanted.expected_filename.endswith(".ckpt"):
            raise Rejected(Code.REJECTED_BY_RUBRIC, "nobody vouches for it")

    def judge(self, specimen: Specimen, evidence: Sequence[Evidence], leash: Leash) -> Verdict:
        if self.troubles:
            raise self.troubles.pop(0)
        return Verdict(verdict="VERIFIED", reason="all is well", by="rules", proof="C")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_shop(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Workshop]]:
    (tmp_path / "staging").mkdir()

    def make(fetcher: Sources, rubric: Judge | None = None, **settings: Any) -> Workshop:
        times = {"backoff_base_seconds": 10, "backoff_cap_seconds": 100, "max_tries": 3}
        values: dict[str, Any] = {"home": tmp_path, **times}
        return Workshop(
            settings=Settings(**(values | settings)),
            clock=clock,
            ledger=MemoryLedger(),
            fetcher=fetcher,
            inspect=lambda name: lambda head: None,
            verifiers=[Contents()],
            rubric=rubric or Judge(),
            installer=ModelFileInstaller(0o022),
            quarantine=Quarantine(tmp_path / "state", clock=clock),
        )

    yield make


def hand_in(shop: Workshop, root: Path, name: str = "m.safetensors", **info: Any) -> Job:
    (root / "models").mkdir(exist_ok=True)
    job = make_job(root / "models", info=make_info(name, download_url="https://a.example/one", **info))
    shop.ledger.add(job)
    return job


def walk(shop: Workshop, leash: Leash | None = None) -> Job:
    job = shop.ledger.claim(WORKER, Lease.starting(shop.clock.steady(), 60), shop.clock.now())
    assert job is not None
    process(job, shop, leash or Leash())
    return shop.ledger.get(job.job_id)


def failures(root: Path) -> list[dict[str, object]]:
    log = root / "state" / "verification_failures.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_good_file_ends_in_place_and_leaves_nothing_in_staging(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(Sources(one=GOOD))
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.result.proof, job.worker) == (Status.SUCCESS, "C", None)
    assert job.target.read_bytes() == GOOD
    assert job.result.path == str(job.target)
    assert list((tmp_path / "staging").iterdir()) == []
    words = [event.event.split()[0] for event in job.history]
    assert words == ["Job", "Downloading", "Verifying", "Verified", "In"]


def test_a_good_file_costs_three_writes_after_its_claim(
    make_shop: Callable[..., Workshop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verifying, the promise, the end: each of them durable. That it is downloaded is said by the claim itself."""
    shop = make_shop(Sources(one=GOOD))
    hand_in(shop, tmp_path)
    written: list[tuple[Status, bool]] = []
    change = shop.ledger.change

    def noting(claim: Claim, move: moves.Move) -> Job:
        after = change(claim, move)
        written.append((after.status, after.promoting))
        return after

    monkeypatch.setattr(shop.ledger, "change", noting)
    walk(shop)
    assert written == [(Status.VERIFYING, False), (Status.VERIFYING, True), (Status.SUCCESS, True)]


def test_every_source_that_is_asked_is_told_once(make_shop: Callable[..., Workshop], tmp_path: Path) -> None:
    shop = make_shop(Sources(one=GiveUp(Code.NOT_FOUND, "gone", elsewhere=True), two=GOOD))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    told = [event.event.split()[2] for event in walk(shop).history if event.event.startswith("Downloading")]
    assert told == ["https://a.example/one", "https://b.example/two"]


def test_the_first_source_is_told_again_where_another_one_was_asked_before_it(
    make_shop: Callable[..., Workshop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = "https://a.example/one", "https://b.example/two"
    monkeypatch.setattr("download_worker.process.in_order", lambda *_: [two, one])
    shop = make_shop(Sources(one=GOOD, two=GiveUp(Code.NOT_FOUND, "gone", elsewhere=True)))
    hand_in(shop, tmp_path, mirrors=(two,))
    told = [event.event.split()[2] for event in walk(shop).history if event.event.startswith("Downloading")]
    assert told == [one, two, one]


def test_a_file_that_is_there_with_the_right_digest_is_success_without_a_request(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    fetcher = Sources(one=GOOD)
    shop = make_shop(fetcher)
    job = hand_in(shop, tmp_path, sha256=sha256(GOOD).hexdigest())
    job.target.parent.mkdir()
    job.target.write_bytes(GOOD)
    assert walk(shop).status is Status.SUCCESS
    assert fetcher.asked == []


def test_d14_other_bytes_at_the_target_are_a_named_conflict_and_stay(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(Sources(one=GOOD))
    job = hand_in(shop, tmp_path)
    job.target.parent.mkdir()
    job.target.write_bytes(b"somebody's own model")
    ended = walk(shop)
    assert (ended.status, ended.result.code) == (Status.FAILED, "conflict")
    assert job.target.read_bytes() == b"somebody's own model"


def test_a_rejected_file_is_gone_with_its_room_and_leaves_one_line(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(Sources(one=BAD))
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.result.code) == (Status.FAILED, "hash_mismatch")
    assert job.result.verdict is not None
    assert job.result.verdict.verdict == "REJECTED"
    assert not job.target.exists()
    assert list((tmp_path / "staging").iterdir()) == []
    assert [(line["job_id"], line["code"]) for line in failures(tmp_path)] == [(job.job_id, "hash_mismatch")]


def test_a_file_that_no_bytes_could_prove_is_refused_before_a_request(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    fetcher = Sources(one=GOOD)
    shop = make_shop(fetcher)
    hand_in(shop, tmp_path, "m.ckpt")
    job = walk(shop)
    assert (job.status, job.result.code) == (Status.FAILED, "rejected_by_rubric")
    assert fetcher.asked == []


def test_h28_after_a_wrong_file_the_next_source_is_tried_once(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(Sources(one=BAD, two=GOOD))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).status is Status.SUCCESS
    assert len(failures(tmp_path)) == 1


def test_h15_a_source_without_the_file_is_left_for_the_next(make_shop: Callable[..., Workshop], tmp_path: Path) -> None:
    fetcher = Sources(one=GiveUp(Code.NOT_FOUND, "404", elsewhere=True), two=GOOD)
    shop = make_shop(fetcher)
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).status is Status.SUCCESS
    assert len(fetcher.asked) == 2


def test_t18_a_source_whose_address_is_refused_is_left_for_the_next(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    """A filter in the resolver leads one name to a private address; the others are as good as ever."""
    shop = make_shop(Sources(one=Refused(Code.REFUSED_ADDRESS, "not public"), two=GOOD))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).status is Status.SUCCESS


def test_t18_a_refused_address_is_final_when_nobody_else_is_left(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(
        Sources(one=GiveUp(Code.NOT_FOUND, "404", elsewhere=True), two=Refused(Code.REFUSED_ADDRESS, "no"))
    )
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    job = walk(shop)
    assert (job.status, job.result.code) == (Status.FAILED, "refused_address")


@pytest.mark.parametrize(
    "never", [GiveUp(Code.NOT_FOUND, "404", elsewhere=True), Refused(Code.REFUSED_ADDRESS, "not public")]
)
def test_h28_a_source_that_may_help_later_counts_for_more_than_one_that_never_will(
    make_shop: Callable[..., Workshop], tmp_path: Path, never: Trouble
) -> None:
    shop = make_shop(Sources(one=TryLater(Code.SERVER_ERROR, "500"), two=never))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    job = walk(shop)
    assert (job.status, job.tries) == (Status.PENDING, 1)


def test_h14_a_missing_token_is_final_and_asks_nobody_else(make_shop: Callable[..., Workshop], tmp_path: Path) -> None:
    fetcher = Sources(one=GiveUp(Code.AUTH, "401"), two=GOOD)
    shop = make_shop(fetcher)
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).result.code == "auth"
    assert len(fetcher.asked) == 1


def test_n1_a_passing_trouble_puts_the_job_off_with_growing_patience_until_its_tries_are_used_up(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = make_shop(Sources(one=TryLater(Code.NO_CONNECTION, "refused")))
    hand_in(shop, tmp_path)
    for number, most in ((1, 10), (2, 20)):
        job = walk(shop)
        assert (job.status, job.attempts, job.tries) == (Status.PENDING, number, number)
        assert job.not_before is not None
        assert iso(clock.now()) < job.not_before <= iso(clock.now().replace(second=most))
        clock.advance(most)
        clock.wall = clock.wall.replace(second=0)
        shop.ledger.amend(job.job_id, lambda job: job.model_copy(update={"not_before": None}))
    job = walk(shop)
    assert (job.status, job.result.code, job.attempts) == (Status.FAILED, "no_connection", 3)


def test_h16_retry_after_is_obeyed_up_to_the_cap(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    for asked, waited in ((50.0, 50), (1e9, 100)):
        busy = TryLater(Code.BUSY_HOST, "429", retry_after_seconds=asked)
        busy.beyond = True
        shop = replace(make_shop(Sources(one=busy)), hosts=Hosts(clock))
        hand_in(shop, tmp_path)
        job = walk(shop)
        due = shop.ledger.next_due()
        assert due is not None
        assert (due - clock.now()).total_seconds() == waited
        assert (job.status, job.tries) == (Status.PENDING, 1)
        assert shop.hosts.resting() == frozenset(), "where a redirect led is not the host that was asked"


def test_d1_a_full_disk_burns_no_try(make_shop: Callable[..., Workshop], tmp_path: Path) -> None:
    full = TryLater(Code.DISK_FULL, "no space")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    shop = make_shop(Sources(one=full), max_tries=1)
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.tries, job.attempts) == (Status.PENDING, 0, 1)
    assert shop.volumes.shut_folders() == {str(job.target.parent)}, "and no other job is claimed for that volume"


@pytest.mark.parametrize("max_tries", [1, 3])
@pytest.mark.parametrize("code", [Code.STORAGE, Code.DATABASE_BUSY])
def test_d8_a_machine_that_is_short_of_something_burns_no_try_however_often(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock, code: Code, max_tries: int
) -> None:
    short = TryLater(code, "too many files are open")
    shop = make_shop(Sources(one=short), max_tries=max_tries)
    hand_in(shop, tmp_path)
    for number in range(1, 5):
        job = walk(shop)
        assert (job.status, job.tries, job.attempts) == (Status.PENDING, 0, number)
        assert job.not_before is not None and job.not_before > iso(clock.now()), "it is no busy loop"
        clock.advance(100)


def test_d6_a_proven_file_that_may_not_be_put_in_place_is_kept_for_the_retry(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    class Forbidden(ModelFileInstaller):
        def install(self, job: Job, file: Fetched, leash: Leash) -> Installed:
            raise GiveUp(Code.PERMISSION, "not allowed")

    fetcher = Sources(one=GOOD)
    shop = make_shop(fetcher)
    hand_in(shop, tmp_path)
    job = walk(replace(shop, installer=Forbidden(0o022)))
    assert (job.status, job.result.code) == (Status.FAILED, Code.PERMISSION)
    shop.ledger.amend(job.job_id, moves.retried(job.added_at))
    assert walk(shop).status is Status.SUCCESS
    assert len(fetcher.asked) == 1, "nobody was asked for it again"


def test_c2_no_wait_is_longer_than_the_longest_that_the_ledger_believes(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    busy = TryLater(Code.BUSY_HOST, "429", retry_after_seconds=1e6)
    shop = replace(make_shop(Sources(one=busy)), hosts=Hosts(clock))
    hand_in(shop, tmp_path)
    assert walk(shop).not_before == iso(clock.now() + shop.settings.longest_wait)


def test_l1_a_silent_model_holds_the_job_in_verifying_and_costs_no_second_download(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    silence = TryLater(Code.NO_VERDICT, "no answer")
    fetcher = Sources(one=GOOD)
    shop = make_shop(fetcher, Judge(silence, silence), max_tries=1)
    hand_in(shop, tmp_path)
    for _ in range(2):
        job = walk(shop)
        assert (job.status, job.worker) == (Status.VERIFYING, None)
        assert not job.target.exists()
        clock.advance(1000)
    assert walk(shop).status is Status.SUCCESS
    assert len(fetcher.asked) == 1


def test_l1_with_the_policy_fail_a_silent_model_ends_the_job_and_never_passes_it(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(Sources(one=GOOD), Judge(TryLater(Code.NO_VERDICT, "no answer")), no_verdict="fail")
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.result.code) == (Status.FAILED, "no_verdict")
    assert not job.target.exists()


def test_p11_a_fault_of_ours_fails_the_job_and_goes_no_further(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    shop = make_shop(Sources(one=ZeroDivisionError("secret details")))
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.result.code) == (Status.FAILED, "internal")
    assert "secret details" not in str(job.public())


def test_a_cancel_before_the_last_moment_leaves_no_file(make_shop: Callable[..., Workshop], tmp_path: Path) -> None:
    shop = make_shop(Sources(one=GOOD))

    class CancellingJudge(Judge):
        def judge(self, specimen: Specimen, evidence: Sequence[Evidence], leash: Leash) -> Verdict:
            shop.ledger.amend(specimen.job_id, moves.cancel_requested("t"))
            return super().judge(specimen, evidence, leash)

    shop = replace(shop, rubric=CancellingJudge())
    job = hand_in(shop, tmp_path)
    with pytest.raises(LostClaim):
        walk(shop)
    ended = shop.ledger.get(job.job_id)
    assert (ended.status, ended.result.code) == (Status.FAILED, "cancelled")
    assert not job.target.exists()
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_death_between_placing_and_recording_is_mended_without_a_request(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    fetcher = Sources(one=GOOD)
    shop = make_shop(fetcher)

    class DyingInstaller(ModelFileInstaller):
        def install(self, job: Job, file: Fetched, leash: Leash) -> Installed:
            super().install(job, file, leash)
            raise Interrupted

    job = hand_in(shop, tmp_path)
    with pytest.raises(Interrupted):
        walk(replace(shop, installer=DyingInstaller(0o022)))
    dead = shop.ledger.get(job.job_id)
    assert dead.promoting
    late = shop.ledger.amend(job.job_id, moves.cancel_requested("t"))
    assert not late.cancel_requested, "the file is in place: a cancel comes too late"
    shop.ledger.change(dead.claim, moves.reclaimed(clock.now(), max_tries=9, base_seconds=1, cap_seconds=1))
    ended = walk(shop)
    assert (ended.status, ended.result.proof) == (Status.SUCCESS, "C")
    assert len(fetcher.asked) == 1
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_claim_that_was_lost_while_the_model_thought_leaves_the_next_owners_room_alone(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = make_shop(Sources(one=BAD))
    former = hand_in(shop, tmp_path)

    class SlowContents(Contents):
        def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
            """Meanwhile the lease runs out and somebody else goes on with the bytes."""
            shop.ledger.change(shop.ledger.get(former.job_id).claim, moves.given_back("t", "lease over"))
            other = shop.ledger.claim(WorkerId("worker-2-b"), Lease.starting(clock.steady(), 60), clock.now())
            assert other is not None
            room = tmp_path / "staging" / former.job_id / "2"
            room.mkdir()
            (room / "part").write_bytes(b"the next owner's bytes")
            return super().examine(specimen, leash)

    with pytest.raises(LostClaim):
        walk(replace(shop, verifiers=[SlowContents()]))
    assert (tmp_path / "staging" / former.job_id / "2" / "part").exists()


def test_a_staging_that_cannot_be_cleared_does_not_decide_the_job(
    make_shop: Callable[..., Workshop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    shop = make_shop(Sources(one=GOOD))
    hand_in(shop, tmp_path)
    monkeypatch.setattr("shutil.rmtree", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    assert walk(shop).status is Status.SUCCESS
    assert [path.name for path in (tmp_path / "staging").glob("*/*/*")]


def test_a_source_that_keeps_failing_half_way_is_left_for_a_mirror_in_the_end(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    class HalfWay(Sources):
        def fetch(
            self, url: str, mirrors: Sequence[str], wanted: ModelInfo, room: Room, leash: Leash, inspect: Inspect
        ) -> Fetched:
            if url.endswith("one"):
                self.asked.append(url)
                room.part.write_bytes(b"half")
                room.note(journal_of(source_key(url), durable_bytes=4))
                raise TryLater(Code.CUT_SHORT, "cut")
            return super().fetch(url, mirrors, wanted, room, leash, inspect)

    fetcher = HalfWay(two=GOOD)
    shop = make_shop(fetcher, max_tries=9)
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    for _ in range(2):
        assert walk(shop).status is Status.PENDING
        clock.advance(1000)
    assert walk(shop).status is Status.SUCCESS
    assert [url[-3:] for url in fetcher.asked] == ["one", "one", "one", "two"]


def unreachable() -> TryLater:
    trouble = TryLater(Code.NO_CONNECTION, "no way to it")
    trouble.__cause__ = TimeoutError("timed out")
    return trouble


def test_n11_a_host_that_is_away_burns_no_try_and_the_job_says_since_when(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = replace(make_shop(Sources(one=unreachable()), max_tries=1), hosts=Hosts(clock))
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.tries, job.not_before) == (Status.PENDING, 0, "2026-01-01T00:00:01.000Z")
    assert "a.example is away since 2026-01-01T00:00:00.000Z, next try at" in job.history[-1].event


def test_n11_a_job_whose_hosts_are_all_away_waits_for_the_first_probe_of_them(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = make_shop(Sources(one=unreachable(), two=unreachable()), max_tries=1)
    shop = replace(shop, hosts=Hosts(clock))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    job = walk(shop)
    assert (job.status, job.tries) == (Status.PENDING, 0)
    assert job.not_before == "2026-01-01T00:00:01.000Z"


def test_n11_a_source_that_is_away_is_asked_last(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    fetcher = Sources(one=GOOD, two=GOOD)
    shop = replace(make_shop(fetcher), hosts=Hosts(clock))
    shop.hosts.failed(make_job(), unreachable(), "a.example")
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).status is Status.SUCCESS
    assert fetcher.asked == ["https://b.example/two"]
    assert shop.hosts.away("a.example"), "the mirror's answer says nothing about it"


def test_n11_a_file_that_came_ends_the_rest_of_its_host_and_one_that_was_there_does_not(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    silence = TryLater(Code.NO_VERDICT, "no answer")
    shop = replace(make_shop(Sources(one=GOOD), Judge(silence)), hosts=Hosts(clock))
    hand_in(shop, tmp_path)
    shop.hosts.failed(make_job(), unreachable(), "a.example")
    assert walk(shop).status is Status.VERIFYING
    assert not shop.hosts.away("a.example")
    shop.hosts.failed(make_job(), unreachable(), "a.example")
    clock.advance(1000)
    shop.hosts.failed(make_job(), unreachable(), "a.example")
    assert walk(shop).status is Status.SUCCESS
    assert shop.hosts.away("a.example")


def test_h16_when_the_host_asks_for_time_all_its_jobs_wait_and_no_try_is_lost(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = make_shop(Sources(one=TryLater(Code.BUSY_HOST, "429", retry_after_seconds=50)))
    shop = replace(shop, hosts=Hosts(clock))
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.tries, job.not_before) == (Status.PENDING, 0, "2026-01-01T00:00:50.000Z")
    assert shop.hosts.resting() == {"a.example"}


def test_h16_it_is_the_host_whose_source_failed_that_rests_and_not_the_leaders(
    make_shop: Callable[..., Workshop], tmp_path: Path, clock: FakeClock
) -> None:
    """A mirror that helps may be what ends an attempt; its trouble names it."""
    busy = TryLater(Code.BUSY_HOST, "429", retry_after_seconds=50)
    busy.host = "b.example"
    shop = replace(make_shop(Sources(one=busy, two=busy)), hosts=Hosts(clock))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).status is Status.PENDING
    assert shop.hosts.resting() == {"b.example"}


def test_d12_nothing_is_made_below_an_empty_mount_point(make_shop: Callable[..., Workshop], tmp_path: Path) -> None:
    class Gone(Volumes):
        def check_mounted(self, job: Job) -> None:
            raise TryLater(Code.UNMOUNTED, "the volume is not mounted")

    shop = replace(make_shop(Sources(one=GOOD), max_tries=1), volumes=Gone())
    hand_in(shop, tmp_path)
    job = walk(shop)
    assert (job.status, job.tries, job.not_before) == (Status.PENDING, 0, "2026-01-01T00:00:05.000Z")
    assert "is not mounted since" in job.history[-1].event
    assert list((tmp_path / "models").iterdir()) == list((tmp_path / "staging").iterdir()) == []


def test_d1_a_size_that_only_a_host_told_and_that_does_not_fit_is_tried_elsewhere_and_counts(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    too_much = TryLater(Code.DISK_FULL, "190000000000 more bytes are needed")
    fetcher = Sources(one=too_much, two=GOOD)
    shop = replace(make_shop(fetcher), volumes=Volumes(reserve_bytes=0))
    hand_in(shop, tmp_path, mirrors=("https://b.example/two",))
    assert walk(shop).status is Status.SUCCESS
    alone = replace(make_shop(Sources(one=too_much), max_tries=1), volumes=Volumes(reserve_bytes=0))
    hand_in(alone, tmp_path, "other.safetensors")
    job = walk(alone)
    assert (job.status, job.result.code) == (Status.FAILED, "disk_full")


def test_d1_a_file_that_does_not_fit_for_now_is_asked_for_nowhere(
    make_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    fetcher = Sources(one=GOOD)
    shop = replace(make_shop(fetcher), volumes=Volumes(reserve_bytes=0))
    hand_in(shop, tmp_path, size=1 << 60)
    job = walk(shop)
    assert (job.status, job.tries) == (Status.PENDING, 0)
    assert "do not fit" in job.history[-1].event
    assert fetcher.asked == []
