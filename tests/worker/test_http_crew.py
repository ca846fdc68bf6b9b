"""Several connections and several sources for one file: when they come, what they may do, and who is to blame."""

import heapq
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, GiveUp, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES
from download_worker.fetchers.http import HttpFetcher, crew
from download_worker.fetchers.http.berths import Berths
from download_worker.fetchers.http.buffers import Buffer
from download_worker.fetchers.http.crew import Crew
from download_worker.fetchers.http.lane import Lane
from download_worker.fetchers.http.part import Part
from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.room import Fetched, Room, Span, Stretch, source_key
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.hub import Hub, SizedPattern, sha256_of
from tests.hub.behaviours import (
    always_416,
    bitflip,
    eof_mid,
    html_200,
    range_ignored,
    range_no_content_range,
    s404,
    s503,
    stall_mid,
)
from tests.hub.lanes import busy_403
from tests.journals import journal_of

MIB = 1024 * 1024
DATA = SizedPattern(16 * MIB)
SHA = sha256_of(DATA)
OTHER = SizedPattern(16 * MIB, seed=5)


class Bench:
    """Hosts that send slowly per connection, so that more of them pay."""

    def __init__(self, folder: Path, hubs: Sequence[Hub]) -> None:
        self.room = Room(folder)
        self.hubs = hubs
        self.leash = Leash()

    def fetch(self, url: str, *mirrors: str, known: str | None = SHA, **values: Any) -> Fetched:
        given: dict[str, Any] = {"stall_timeout_seconds": 5.0, "disk_reserve_bytes": 0} | values
        settings = Settings(home=self.room.folder, allow_hosts=("127.0.0.1",), **given)
        wanted = ModelInfo(expected_filename="m.safetensors", model_type="loras", download_url=url, sha256=known)
        fetcher = HttpFetcher(Web(settings), settings, pause_seconds=0.0)
        return fetcher.fetch(url, mirrors, wanted, self.room, self.leash, lambda head: None)

    @property
    def connections(self) -> int:
        return len({hit.connection for hub in self.hubs for hit in hub.hits})

    @property
    def bytes_sent(self) -> int:
        return sum(hit.bytes_sent for hub in self.hubs for hit in hub.hits)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Hub() as one, Hub() as two, Hub() as three:
        bench = Bench(tmp_path, (one, two, three))
        watchdog = threading.Timer(30.0, bench.leash.pull)  # an attempt without an end is a failure, not a hang
        watchdog.start()
        yield bench
        watchdog.cancel()


# --- one source, several connections ----------------------------------------------------------------------------------


def test_a_host_that_throttles_each_connection_is_asked_over_several_of_them(bench: Bench) -> None:
    bench.hubs[0].bytes_per_second = 8 * MIB
    file = bench.fetch(bench.hubs[0].publish("/m.bin", DATA))
    assert (file.sha256, file.size) == (SHA, DATA.size)
    assert bench.connections > 2
    assert bench.bytes_sent < 1.1 * DATA.size


def test_the_first_bytes_of_a_connection_are_handed_over_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the head of the file was looked at, nobody can join: a whole buffer would keep a slow host's lanes away."""
    put, sizes = Part.put, list[int]()

    def told(part: Part, buffer: Buffer, at: int, length: int, giver: int) -> None:
        sizes.append(length)
        put(part, buffer, at, length, giver)

    monkeypatch.setattr(Part, "put", told)
    bench.fetch(bench.hubs[0].publish("/m.bin", DATA), connections_per_file=1)
    assert sizes[0] == HEAD_BYTES < max(sizes)


def test_a_connection_outlives_its_file_also_where_the_end_of_all_is_seen_before_its_own(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "LAST_WORD_SECONDS", 20.0)
    poured, pause = Crew.poured, threading.Event()

    def slowly(*words: Any) -> None:
        pause.wait(0.1)
        poured(*words)

    monkeypatch.setattr(Crew, "poured", slowly)
    small = SizedPattern(100_000)
    url, settings = (
        bench.hubs[0].publish("/s.bin", small),
        Settings(home=tmp_path, allow_hosts=("127.0.0.1",), disk_reserve_bytes=0),
    )
    wanted = ModelInfo(expected_filename="s.safetensors", model_type="loras", download_url=url, sha256=sha256_of(small))
    with closing(Web(settings)) as web:
        fetcher = HttpFetcher(web, settings, pause_seconds=0.0)
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            fetcher.fetch(url, (), wanted, Room(tmp_path / str(number)), bench.leash, lambda head: None)
    assert bench.connections == 1


@pytest.mark.parametrize("left_bytes", [0, 1000])
def test_a_lane_that_read_beyond_its_claim_goes_on_with_a_new_question(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, left_bytes: int
) -> None:
    """Another lane took the back of the claim over while it was being received, and left it again: those bytes are free
    and lie right behind, but the answer is further on already."""
    hand_over, cuts = Crew.hand_over, list[int]()

    def cutting(self: Crew, lane: Lane, buffer: Buffer, filled: int) -> None:
        work = self._assembly._work
        if work is not None and lane.at > 4 * MIB and not cuts:
            cuts.append(lane.at)
            claim = work._claims[lane.number]
            heapq.heappush(work._free, Span(lane.at + left_bytes, claim.end))
            claim.end = lane.at + left_bytes
        hand_over(self, lane, buffer, filled)

    monkeypatch.setattr(Crew, "hand_over", cutting)
    assert bench.fetch(bench.hubs[0].publish("/m.bin", DATA), connections_per_file=1).sha256 == SHA
    assert cuts and len(bench.hubs[0].hits) == 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("eager")
def test_whatever_claims_are_cut_and_left_again_every_byte_comes_to_its_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    hand_over, rng, cuts = Crew.hand_over, random.Random(seed), list[int]()

    def cutting(self: Crew, lane: Lane, buffer: Buffer, filled: int) -> None:
        work = self._assembly._work
        if work is not None and rng.random() < 0.3:
            with work._lock:
                claim = rng.choice(list(work._claims.values()))
                if claim.at < claim.end:
                    cuts.append(rng.randrange(claim.at, min(claim.end, claim.at + MIB)))
                    heapq.heappush(work._free, Span(cuts[-1], claim.end))
                    claim.end = cuts[-1]
        hand_over(self, lane, buffer, filled)

    monkeypatch.setattr(Crew, "hand_over", cutting)
    bench.hubs[0].bytes_per_second = 32 * MIB
    assert bench.fetch(bench.hubs[0].publish("/m.bin", DATA), connections_per_file=4).sha256 == SHA, f"seed {seed}"
    assert len(cuts) > 5


@pytest.mark.slow
def test_the_user_can_forbid_more_than_one_connection(bench: Bench) -> None:
    bench.hubs[0].bytes_per_second = 16 * MIB
    bench.fetch(bench.hubs[0].publish("/m.bin", DATA), connections_per_file=1)
    assert bench.connections == 1


@pytest.mark.slow
def test_h6_without_validator_and_digest_a_file_is_never_split(bench: Bench) -> None:
    bench.hubs[0].bytes_per_second = 16 * MIB
    bench.fetch(bench.hubs[0].publish("/m.bin", DATA, etag=None), known=None)
    assert bench.connections == 1


@pytest.mark.slow
def test_h1_a_host_that_ignores_ranges_keeps_its_one_connection(bench: Bench) -> None:
    bench.hubs[0].bytes_per_second = 12 * MIB
    file = bench.fetch(bench.hubs[0].publish("/m.bin", DATA, behaviour=range_ignored))
    assert file.sha256 == SHA
    assert bench.bytes_sent < 1.2 * DATA.size, "what came over the first connection was not thrown away"


@pytest.mark.slow
def test_n14_what_a_stalled_connection_was_to_bring_is_brought_by_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("download_worker.fetchers.http.crew.IDLE_LANE_SECONDS", 0.5)
    hub = bench.hubs[0]
    hub.bytes_per_second = 8 * MIB
    url = hub.publish("/m.bin", DATA)
    stalls = threading.Timer(0.9, lambda: hub.behave("/m.bin", stall_mid(after_bytes=100_000), times=1))
    stalls.start()
    assert bench.fetch(url, stall_timeout_seconds=60.0).sha256 == SHA
    stalls.join()


# --- several sources --------------------------------------------------------------------------------------------------


def test_show_4_bytes_of_a_dead_host_are_not_fetched_again(bench: Bench) -> None:
    one, two, _ = bench.hubs
    url = one.publish(
        "/m.bin", DATA, behaviour=[eof_mid(after_bytes=int(0.4 * DATA.size)).times(1), s503.after_request(1)]
    )
    file = bench.fetch(url, two.publish("/m.bin", DATA), connections_per_file=1)
    assert file.sha256 == SHA
    assert bench.bytes_sent <= 1.02 * DATA.size
    assert len(file.givers) == 2


def test_without_a_digest_only_the_same_strong_etag_lets_a_mirror_go_on(bench: Bench) -> None:
    one, two, _ = bench.hubs
    dies = [eof_mid(after_bytes=6 * MIB).times(1), s404.after_request(1)]
    url = one.publish("/m.bin", DATA, etag='"same"', behaviour=dies)
    assert bench.fetch(url, two.publish("/m.bin", DATA, etag='"same"'), known=None).sha256 == SHA


def test_without_a_digest_a_mirror_with_another_etag_is_not_mixed_in(bench: Bench) -> None:
    one, two, _ = bench.hubs
    dies = [eof_mid(after_bytes=6 * MIB).times(1), s404.after_request(1)]
    url = one.publish("/m.bin", DATA, etag='"one"', behaviour=dies)
    with pytest.raises(GiveUp) as caught:
        bench.fetch(url, two.publish("/m.bin", DATA, etag='"two"'), known=None)
    assert caught.value.code is Code.NOT_FOUND and caught.value.elsewhere
    journal = bench.room.journal()
    assert journal is not None and journal.durable == (Stretch(0, 6 * MIB, 0),)


def test_show_4_a_lying_mirror_is_found_blamed_and_replaced(bench: Bench) -> None:
    one, two, three = bench.hubs
    dies = [eof_mid(after_bytes=6 * MIB).times(1), s404.after_request(1)]
    url = one.publish("/m.bin", DATA, behaviour=dies)
    liar = two.publish("/m.bin", DATA, behaviour=bitflip(offset=12 * MIB))
    file = bench.fetch(url, liar, three.publish("/m.bin", DATA), connections_per_file=1)
    assert file.sha256 == SHA
    told = bench.leash.read()
    assert told.trouble is not None and str(two.port) in told.trouble
    assert bench.bytes_sent <= 6 * MIB + 2 * 10 * MIB + 0.02 * DATA.size, "only what the liar gave came again"


def test_when_all_of_it_is_from_one_host_a_wrong_digest_is_for_the_verifier(bench: Bench) -> None:
    one, two, _ = bench.hubs
    file = bench.fetch(one.publish("/m.bin", OTHER), two.publish("/m.bin", DATA))
    assert file.sha256 == sha256_of(OTHER)


def test_with_a_digest_bytes_of_another_source_are_gone_on_with(bench: Bench) -> None:
    one, two, _ = bench.hubs
    url, mirror = one.publish("/m.bin", DATA, behaviour=s503), two.publish("/m.bin", DATA)
    bench.room.part.write_bytes(DATA.read(0, 6 * MIB))
    bench.room.note(journal_of(source_key(url), etag='"x"', total=DATA.size, durable_bytes=6 * MIB))
    file = bench.fetch(mirror, url, connections_per_file=1)
    assert (file.sha256, file.resumed_bytes) == (SHA, 6 * MIB)
    assert bench.bytes_sent <= DATA.size - 6 * MIB


def test_when_nobody_is_left_what_is_here_stays_for_later(bench: Bench) -> None:
    one, two, _ = bench.hubs
    dies = [eof_mid(after_bytes=6 * MIB).times(1), s503.after_request(1)]
    with pytest.raises(TryLater) as caught:
        bench.fetch(one.publish("/m.bin", DATA, behaviour=dies), two.publish("/m.bin", DATA, behaviour=s404))
    assert caught.value.code is Code.BUSY_HOST
    journal = bench.room.journal()
    assert journal is not None and journal.durable == (Stretch(0, 6 * MIB, 0),)


# --- what a review found ----------------------------------------------------------------------------------------------


class Eager:
    """Wants all the lanes that there may be, at once."""

    def __init__(self, most: int) -> None:
        self._most = most

    def observe(self, sample: object) -> int:
        return self._most

    def refused(self) -> None:
        """It stays as it is."""


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "Tuner", Eager)


@pytest.mark.usefixtures("eager")
def test_a_refusal_that_is_heard_after_the_last_byte_spoils_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = crew.Crew._judge

    def late(self: crew.Crew, lane: Any) -> None:
        while lane.trouble is not None and not self._assembly.complete:
            time.sleep(0.01)
        real(self, lane)

    monkeypatch.setattr(crew.Crew, "_judge", late)
    bench.hubs[0].bytes_per_second = 32 * MIB
    assert bench.fetch(bench.hubs[0].publish("/m.bin", DATA, behaviour=busy_403), connections_per_file=2).sha256 == SHA


@pytest.mark.usefixtures("eager")
def test_n14_a_connection_that_stalls_gives_its_place_to_another_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "IDLE_LANE_SECONDS", 0.2)
    begun, real = [], Lane.start

    def start(lane: Lane) -> None:
        begun.append(lane.number)
        real(lane)

    monkeypatch.setattr(Lane, "start", start)
    hub = bench.hubs[0]
    hub.bytes_per_second = 12 * MIB
    stalls = stall_mid(after_bytes=100_000).after_request(1).times(1)
    url = hub.publish("/m.bin", DATA, behaviour=[stalls])
    assert bench.fetch(url, connections_per_file=2, stall_timeout_seconds=60.0).sha256 == SHA
    assert begun == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("useless", [s404, s503, range_ignored, html_200])
def test_a_useless_mirror_is_not_asked_again_and_again(bench: Bench, useless: Any) -> None:
    one, two, _ = bench.hubs
    one.bytes_per_second = 16 * MIB
    url = one.publish("/m.bin", DATA, behaviour=busy_403)
    assert bench.fetch(url, two.publish("/m.bin", DATA, behaviour=useless)).sha256 == SHA
    assert len(two.hits) <= 2


@pytest.mark.usefixtures("eager")
def test_lines_that_are_cut_at_once_are_bounded_however_many_there_are_side_by_side(bench: Bench) -> None:
    url = bench.hubs[0].publish("/m.bin", DATA, behaviour=[eof_mid(after_bytes=1024).after_request(1)])
    bench.hubs[0].bytes_per_second = 4 * MIB
    with pytest.raises(TryLater):
        bench.fetch(url)
    assert bench.connections < 60


@pytest.mark.parametrize("useless", [html_200, range_ignored, always_416, range_no_content_range])
def test_one_blip_of_the_leader_lets_no_mirror_destroy_what_is_here(bench: Bench, useless: Any) -> None:
    one, two, _ = bench.hubs
    url = one.publish("/m.bin", DATA, behaviour=[eof_mid(after_bytes=12 * MIB).times(1)])
    mirror = two.publish("/m.bin", SizedPattern(5 * MIB), behaviour=useless)
    assert bench.fetch(url, mirror, connections_per_file=1).sha256 == SHA
    assert one.bytes_sent("/m.bin") < 1.1 * DATA.size


def test_a_system_without_threads_is_for_later_and_no_berth_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Lane, "start", none_left)
    left: list[str] = []
    monkeypatch.setattr(Berths, "leave", lambda self, host: left.append(host))
    with pytest.raises(TryLater) as caught:
        bench.fetch(bench.hubs[0].publish("/m.bin", DATA))
    assert caught.value.code is Code.STORAGE and left == ["127.0.0.1"]


def test_where_there_is_no_thread_for_one_more_lane_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = Lane.start, list[int]()

    def scarce(lane: Lane) -> None:
        if lane.number > 2:
            refused.append(lane.number)
            raise RuntimeError("can't start new thread")
        start(lane)

    monkeypatch.setattr(Lane, "start", scarce)
    bench.hubs[0].bytes_per_second = 8 * MIB
    assert bench.fetch(bench.hubs[0].publish("/m.bin", DATA)).sha256 == SHA
    assert 0 < len(refused) < 10, "it is not tried again and again"


def test_bytes_of_a_liar_that_is_no_source_any_more_are_fetched_again(bench: Bench) -> None:
    url = bench.hubs[0].publish("/m.bin", DATA)
    bench.room.part.write_bytes(OTHER.read(0, 6 * MIB))
    bench.room.note(journal_of("somebody", etag='"x"', total=DATA.size, durable_bytes=6 * MIB))
    assert bench.fetch(url, connections_per_file=1).sha256 == SHA


def test_a_whole_wrong_file_of_another_source_is_not_blamed_on_the_leader(bench: Bench) -> None:
    one, two, _ = bench.hubs
    url, liar = one.publish("/m.bin", DATA), two.publish("/m.bin", OTHER)
    assert bench.fetch(liar).sha256 == sha256_of(OTHER)
    assert bench.fetch(url, liar).sha256 == SHA


def test_a_mirror_that_lied_alone_gives_way_to_the_leader(bench: Bench) -> None:
    one, two, _ = bench.hubs
    url, liar = one.publish("/m.bin", DATA), two.publish("/m.bin", OTHER)
    bench.room.part.write_bytes(OTHER.read(0, DATA.size))
    bench.room.note(journal_of(source_key(liar), etag='"x"', total=DATA.size, durable_bytes=DATA.size))
    assert bench.fetch(url, liar).sha256 == SHA
