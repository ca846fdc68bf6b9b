"""Going on with a file of which some bytes are here: only where it is proven to be the same one, and nothing twice."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, GiveUp, Interrupted
from download_worker.fetchers.http import HttpFetcher, lane
from download_worker.fetchers.http.buffers import Buffer
from download_worker.fetchers.http.part import Part
from download_worker.fetchers.http.part_file import DIRECT_BYTES
from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.room import Fetched, Journal, Room, source_key
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.hub import BEHAVIOURS, Hub, SizedPattern, sha256_of
from tests.hub.behaviours import eof_mid, etag_changed, etag_changed_no_ifrange, no_validator, weak_etag
from tests.journals import journal_of

DATA = SizedPattern(1_000_000)
BYTES = DATA.read(0, DATA.size)
SHA = sha256_of(DATA)
CHANGED = SizedPattern(1_000_000, seed=7)
HERE = 400_000


class Bench:
    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self.room = Room(folder)
        self.url = hub.publish("/m.bin", DATA, etag='"v1"')

    def publish(self, behaviour: Any) -> None:
        self.hub.publish("/m.bin", DATA, etag='"v1"', behaviour=behaviour)

    def has(self, durable: int = HERE, beyond: bytes = b"", content: bytes = BYTES, **values: Any) -> Journal:
        """Some bytes are durable, perhaps more lie behind them."""
        given: dict[str, Any] = {"etag": '"v1"', "total": DATA.size, "durable_bytes": durable} | values
        journal = journal_of(given.pop("source", source_key(self.url)), **given)
        self.room.part.write_bytes(content[:durable] + beyond)
        self.room.note(journal)
        return journal

    def fetch(
        self,
        *,
        leash: Leash | None = None,
        inspect: Any = lambda head: None,
        checkpoint_bytes: int = 64 * 1024,
        **wanted: Any,
    ) -> Fetched:
        settings = Settings(
            home=self.room.folder,
            allow_hosts=("127.0.0.1",),
            stall_timeout_seconds=5.0,
            checkpoint_bytes=checkpoint_bytes,
            disk_reserve_bytes=0,
        )
        fetcher = HttpFetcher(Web(settings), settings, pause_seconds=0.0)
        info = ModelInfo(expected_filename="m.safetensors", model_type="loras", download_url=self.url, **wanted)
        return fetcher.fetch(self.url, (), info, self.room, leash or Leash(), inspect)

    @property
    def ranges(self) -> list[str | None]:
        return [hit.headers.get("range") for hit in self.hub.hits]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Hub() as hub:
        yield Bench(hub, tmp_path)


FROM_HERE = f"bytes={HERE}-"


def test_a_resume_within_a_block_of_the_disk_soon_keeps_to_its_blocks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so may what follows go past the page cache."""
    begins: list[int] = []
    put = Part.put

    def watched(part: Part, buffer: Buffer, at: int, length: int, giver: int) -> None:
        begins.append(at)
        put(part, buffer, at, length, giver)

    monkeypatch.setattr(Part, "put", watched)
    monkeypatch.setattr(lane, "FILL_SECONDS", 30.0)
    bench.has(durable=HERE + 1000)
    assert bench.fetch(sha256=SHA, checkpoint_bytes=16 * 1024 * 1024).sha256 == SHA
    assert begins[0] == HERE + 1000 and len(begins) > 3
    assert all(at % DIRECT_BYTES == 0 for at in begins[2:] if at < DATA.size)


def test_what_is_durable_is_not_fetched_again(bench: Bench) -> None:
    bench.has()
    file = bench.fetch()
    assert (file.sha256, file.resumed_bytes) == (SHA, HERE)
    assert file.path.read_bytes() == BYTES
    assert bench.ranges == [FROM_HERE] and bench.hub.bytes_sent("/m.bin") == DATA.size - HERE


def test_h1_a_host_that_ignores_ranges_starts_over_and_nothing_is_appended(bench: Bench) -> None:
    bench.has()
    bench.publish(BEHAVIOURS["range_ignored"])
    file = bench.fetch()
    assert (file.path.read_bytes(), file.sha256, file.resumed_bytes) == (BYTES, SHA, 0)
    assert bench.ranges == [FROM_HERE]


def test_h2_a_wrong_start_once_costs_no_byte_that_is_here(bench: Bench) -> None:
    bench.has()
    bench.publish(BEHAVIOURS["range_wrong_start"].times(1))
    assert bench.fetch().sha256 == SHA
    assert bench.ranges == [FROM_HERE, FROM_HERE]


def test_h2_a_wrong_start_twice_starts_over(bench: Bench) -> None:
    bench.has()
    bench.publish(BEHAVIOURS["range_wrong_start"])
    file = bench.fetch()
    assert file.path.read_bytes() == BYTES and file.sha256 == SHA
    assert bench.ranges == [FROM_HERE, FROM_HERE, None]


@pytest.mark.parametrize(
    "name", ["range_no_content_range", "range_total_changed", "always_416", "always_416_with_total"]
)
def test_h3_h4_h7_an_answer_that_proves_nothing_starts_over(bench: Bench, name: str) -> None:
    bench.has()
    bench.publish(BEHAVIOURS[name])
    file = bench.fetch()
    assert file.path.read_bytes() == BYTES and file.sha256 == SHA
    assert bench.ranges == [FROM_HERE, None]


@pytest.mark.parametrize(
    ("changed", "ranges"),
    [(etag_changed, [FROM_HERE]), (etag_changed_no_ifrange, [FROM_HERE, None])],
    ids=["if_range_honoured", "if_range_ignored"],
)
def test_h5_a_file_that_was_replaced_is_never_spliced(bench: Bench, changed: Any, ranges: list[str | None]) -> None:
    bench.has()
    bench.publish(changed(data=CHANGED).after_request(0))
    file = bench.fetch()
    assert file.path.read_bytes() == CHANGED.read(0, CHANGED.size)
    assert file.sha256 == sha256_of(CHANGED)
    assert bench.ranges == ranges


def test_h5_a_file_that_is_replaced_between_two_connections_is_never_spliced(bench: Bench) -> None:
    bench.publish([eof_mid(after_bytes=HERE).times(1), etag_changed_no_ifrange(data=CHANGED)])
    assert bench.fetch().sha256 == sha256_of(CHANGED)


@pytest.mark.parametrize(("behaviour", "etag"), [(weak_etag, 'W/"weak"'), (no_validator, None)])
def test_h6_without_a_strong_validator_it_starts_over(bench: Bench, behaviour: Any, etag: str | None) -> None:
    bench.has(etag=etag)
    bench.publish(behaviour)
    assert bench.fetch().sha256 == SHA
    assert bench.ranges == [None]


@pytest.mark.parametrize(("behaviour", "etag"), [(weak_etag, 'W/"weak"'), (no_validator, None)])
def test_h6_with_a_trusted_digest_it_goes_on_and_the_digest_decides(
    bench: Bench, behaviour: Any, etag: str | None
) -> None:
    bench.has(etag=etag)
    bench.publish(behaviour)
    assert bench.fetch(sha256=SHA).sha256 == SHA
    assert bench.ranges == [FROM_HERE] and "if-range" not in bench.hub.hits[0].headers


def test_last_modified_serves_where_there_is_no_etag(bench: Bench) -> None:
    date = "Thu, 01 Jan 2026 00:00:00 GMT"
    bench.has(etag=None, last_modified=date)
    bench.hub.publish("/m.bin", DATA, etag=None, last_modified=date)
    assert bench.fetch().resumed_bytes == HERE
    assert bench.hub.hits[0].headers["if-range"] == date


def test_h7_416_is_believed_when_the_digest_of_what_is_here_agrees(bench: Bench) -> None:
    bench.has(durable=DATA.size, total=None)
    file = bench.fetch(sha256=SHA)
    assert (file.sha256, file.size) == (SHA, DATA.size)
    assert [hit.status for hit in bench.hub.hits] == [416]


@pytest.mark.parametrize("known", [{"sha256": SHA}, {}], ids=["other digest", "no digest"])
def test_h7_416_is_not_believed_without_the_right_digest(bench: Bench, known: dict[str, Any]) -> None:
    spliced = BYTES[:500_000] + CHANGED.read(500_000, DATA.size)
    bench.has(durable=DATA.size, content=spliced, total=None)
    assert bench.fetch(**known).sha256 == SHA
    assert [hit.status for hit in bench.hub.hits] == [416, 200]


def test_h10_a_file_that_is_replaced_by_one_of_another_size_is_refused_when_the_size_is_known(bench: Bench) -> None:
    bench.has()
    bench.hub.publish("/m.bin", SizedPattern(5000), etag='"v2"')
    with pytest.raises(GiveUp) as caught:
        bench.fetch(size=DATA.size)
    assert caught.value.code is Code.SIZE_MISMATCH


# --- what is durable (D17, D18) ---------------------------------------------------------------------------------------


def test_d18_bytes_beyond_the_durable_ones_are_cut_off(bench: Bench) -> None:
    bench.has(beyond=b"\xff" * 300_000)
    file = bench.fetch()
    assert file.path.read_bytes() == BYTES and file.sha256 == SHA
    assert bench.ranges == [FROM_HERE]


def test_d17_a_file_of_the_full_size_is_not_complete_for_that(bench: Bench) -> None:
    bench.has(beyond=b"\0" * (DATA.size - HERE))
    assert bench.room.part.stat().st_size == DATA.size
    assert bench.fetch().sha256 == SHA
    assert bench.ranges == [FROM_HERE]


def test_d18_fewer_bytes_than_the_journal_says_start_over(bench: Bench) -> None:
    bench.has()
    with bench.room.part.open("r+b") as file:
        file.truncate(HERE - 1)
    assert bench.fetch().sha256 == SHA
    assert bench.ranges == [None]


def test_bytes_of_another_source_are_not_gone_on_with(bench: Bench) -> None:
    bench.has(source="another")
    assert bench.fetch().sha256 == SHA
    assert bench.ranges == [None]


def test_a_file_whose_last_byte_is_durable_needs_no_question(bench: Bench) -> None:
    """The worker died between the last checkpoint and its word that the file is whole."""
    bench.has(durable=DATA.size, origin="http://origin.example/m")
    file = bench.fetch()
    assert (file.sha256, file.origin) == (SHA, "http://origin.example/m")
    assert bench.hub.hits == []


def test_a_whole_file_that_was_touched_since_is_digested_anew(bench: Bench) -> None:
    bench.fetch()
    with bench.room.part.open("r+b") as file:
        file.write(b"\xff")
    again = bench.fetch()
    assert again.sha256 != SHA and again.path.read_bytes()[:1] == b"\xff"
    assert len(bench.hub.hits) == 1


def test_the_head_that_is_here_is_looked_at_again(bench: Bench) -> None:
    bench.has()
    heads: list[bytes] = []
    bench.fetch(inspect=heads.append)
    assert heads == [BYTES[: 64 * 1024]]


def test_a_head_of_which_only_a_part_is_here_is_looked_at_when_it_is_whole(bench: Bench) -> None:
    bench.has(durable=1000)
    heads: list[bytes] = []
    bench.fetch(inspect=heads.append)
    assert heads == [BYTES[: 64 * 1024]]


def test_a_head_that_is_refused_on_resume_empties_the_room(bench: Bench) -> None:
    bench.has()

    def refuse(head: bytes) -> None:
        raise GiveUp(Code.HTML, "a page")

    with pytest.raises(GiveUp):
        bench.fetch(inspect=refuse)
    assert not bench.room.part.exists() and bench.room.journal() is None and bench.hub.hits == []


# --- the leash --------------------------------------------------------------------------------------------------------


class PulledAt(Leash):
    """Pulled as soon as so many bytes are told."""

    def __init__(self, done: int) -> None:
        super().__init__()
        self._at = done

    def progress(self, done: int, total: int | None, **more: Any) -> None:
        super().progress(done, total, **more)
        if done >= self._at and not self.pulled:
            self.pull()


def test_an_interrupted_fetch_goes_on_at_the_last_byte_that_was_written(bench: Bench) -> None:
    bench.hub.bytes_per_second = 2_000_000
    with pytest.raises(Interrupted):
        bench.fetch(leash=PulledAt(300_000), checkpoint_bytes=1 << 30)
    journal = bench.room.journal()
    assert journal is not None
    assert 300_000 <= journal.durable_bytes < DATA.size
    assert journal.durable_bytes == bench.room.part.stat().st_size, "what was written is durable"
    file = bench.fetch()
    assert (file.sha256, file.resumed_bytes) == (SHA, journal.durable_bytes)
    assert [hit.first_byte for hit in bench.hub.hits] == [0, journal.durable_bytes]


def test_a_leash_that_was_pulled_before_does_nothing(bench: Bench) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        bench.fetch(leash=leash)
    assert bench.hub.hits == []


def test_a_pull_during_a_body_without_a_length_is_no_end_of_it(bench: Bench) -> None:
    """To cut the line ourselves looks like the end that such a body has."""
    bench.publish([BEHAVIOURS["no_length_close"], BEHAVIOURS["stall_mid"]])
    leash = Leash()

    def pull_when_it_stalls() -> None:
        while leash.read().bytes < DATA.size // 2 - 64 * 1024 and not leash.pulled:
            time.sleep(0.001)
        time.sleep(0.1)  # until the read blocks
        leash.pull()

    puller = threading.Thread(target=pull_when_it_stalls)
    puller.start()
    with pytest.raises(Interrupted):
        bench.fetch(leash=leash)
    puller.join()
    assert bench.room.whole_file() is None
    journal = bench.room.journal()
    assert journal is not None and journal.durable_bytes == DATA.size // 2


def test_a_pull_ends_a_fetch_that_waits_for_a_silent_host(bench: Bench) -> None:
    bench.publish(BEHAVIOURS["stall_mid"])
    with pytest.raises(Interrupted):
        bench.fetch(leash=PulledAt(500_000))
    journal = bench.room.journal()
    assert journal is not None and journal.durable_bytes == 500_000


def test_a_crash_costs_at_most_one_checkpoint(bench: Bench) -> None:
    """Nothing is told to the fetcher: what the journal says while it works is what a kill -9 would leave."""
    lags: list[int] = []

    class Watching(Leash):
        def progress(self, done: int, total: int | None, **more: Any) -> None:
            journal = bench.room.journal()
            lags.append(done - (journal.durable_bytes if journal else 0))

    bench.fetch(leash=Watching())
    assert max(lags) < 64 * 1024
