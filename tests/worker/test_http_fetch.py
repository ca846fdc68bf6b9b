"""Fetching whole files from a hub that misbehaves: what comes, what is refused, and what is left in the room."""

import hashlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, GiveUp, Refused, Trouble, TryLater
from download_worker.fetchers.fetcher import HEAD_BYTES
from download_worker.fetchers.http import HttpFetcher
from download_worker.fetchers.http.part import SMALL_BYTES
from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.room import Fetched, Identity, Room
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.hub import BEHAVIOURS, Behaviour, Data, Hub, SizedPattern, sha256_of
from tests.hub.behaviours import (
    bitflip,
    chunked_cut,
    chunked_endless,
    dispo_traversal,
    eof_mid,
    html_200,
    no_length_close,
    no_length_cut,
    range_ignored,
    redirect,
    rst_mid,
    s404,
    s429,
    s500,
    s503,
    stall_mid,
)

DATA = SizedPattern(1_000_000)
BYTES = DATA.read(0, DATA.size)
SHA = sha256_of(DATA)


def welcome(head: bytes) -> None:
    """An inspection that finds nothing wrong."""


@dataclass
class Bench:
    """One hub, one room, and a fetcher between the two."""

    hub: Hub
    room: Room
    free_bytes: int = 1 << 40
    heads: list[bytes] = field(default_factory=list)

    def publish(self, behaviour: Any = None, data: Data = DATA, **more: Any) -> str:
        return self.hub.publish("/m.bin", data, behaviour=behaviour, **more)

    def fetch(
        self,
        url: str,
        *,
        size: int | None = None,
        sha256: str | None = None,
        name: str = "m.safetensors",
        leash: Leash | None = None,
        inspect: Any = None,
        file_mode: int | None = None,
        **values: Any,
    ) -> Fetched:
        given: dict[str, Any] = {
            "home": self.room.folder,
            "allow_hosts": ("127.0.0.1",),
            "stall_timeout_seconds": 10.0,
            "checkpoint_bytes": 64 * 1024,
            "disk_reserve_bytes": 0,
        }
        settings = Settings(**(given | values))
        own: dict[str, Any] = {"free_bytes": lambda _: self.free_bytes, "pause_seconds": 0.0, "file_mode": file_mode}
        fetcher = HttpFetcher(Web(settings), settings, **own)
        wanted = ModelInfo(expected_filename=name, model_type="loras", download_url=url, size=size, sha256=sha256)
        return fetcher.fetch(url, (), wanted, self.room, leash or Leash(), inspect or self.heads.append)

    def trouble(self, url: str, **more: Any) -> Trouble:
        with pytest.raises(Trouble) as caught:
            self.fetch(url, **more)
        return caught.value

    @property
    def starts(self) -> list[int]:
        return [hit.first_byte for hit in self.hub.hits]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Hub() as hub:
        yield Bench(hub, Room(tmp_path))


def test_an_honest_file_arrives_whole_digested_and_noted(bench: Bench) -> None:
    url = bench.publish()
    file = bench.fetch(url, size=DATA.size, sha256=SHA)
    assert file.path.read_bytes() == BYTES
    assert (file.sha256, file.size, file.resumed_bytes) == (SHA, DATA.size, 0)
    assert (file.origin, file.content_type) == (url, "application/octet-stream")
    assert file.identity == Identity.of(file.path.stat())
    assert bench.room.whole_file() is not None
    assert len(bench.hub.hits) == 1


def test_a_file_that_is_whole_in_the_room_is_handed_over_without_a_question(bench: Bench) -> None:
    url = bench.publish()
    first = bench.fetch(url)
    again = bench.fetch(url)
    assert (again.sha256, again.size, again.identity, again.origin) == (first.sha256, first.size, first.identity, url)
    assert len(bench.hub.hits) == 1


@pytest.mark.parametrize("size", [5_000, SMALL_BYTES, SMALL_BYTES + 1])
def test_a_small_file_is_flushed_once_with_the_mode_it_is_to_have_and_not_noted(
    bench: Bench, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, int]] = []
    fsync = os.fsync

    def watched(number: int) -> None:
        there = os.fstat(number)
        kind = "folder" if stat.S_ISDIR(there.st_mode) else "file" if there.st_size == size else "journal"
        flushed.append((kind, stat.S_IMODE(there.st_mode)))
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    bench.room = Room(bench.room.folder, fresh=True)
    file = bench.fetch(bench.publish(data=SizedPattern(size)), checkpoint_bytes=1 << 26, file_mode=0o640)
    assert bench.room.whole_file() is not None and file.size == size
    if os.name == "posix":
        assert flushed[0] == ("file", 0o640)
    noted = Room(bench.room.folder).whole_file() is not None
    assert (noted, len(flushed)) == ((True, 3) if size > SMALL_BYTES else (False, 1))


def test_a_file_of_another_source_is_not_taken_for_this_one(bench: Bench) -> None:
    bench.fetch(bench.publish())
    other = bench.hub.publish("/other.bin", SizedPattern(5000, seed=9))
    assert bench.fetch(other).path.read_bytes() == SizedPattern(5000, seed=9).read(0, 5000)


def test_progress_is_told_while_it_goes(bench: Bench) -> None:
    leash = Leash()
    bench.fetch(bench.publish(), leash=leash)
    told = leash.read()
    assert (told.bytes, told.total, told.source, told.retries) == (DATA.size, DATA.size, "127.0.0.1", 0)


def test_nobody_else_can_read_the_part_file(bench: Bench) -> None:
    file = bench.fetch(bench.publish())
    if os.name == "posix":
        assert file.path.stat().st_mode & 0o777 == 0o600


# --- the line breaks (N1, N5–N7, H9, H17) -----------------------------------------------------------------------------


def test_n1_a_closed_port_is_asked_once_and_left_to_the_ledger(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    trouble = bench.trouble(f"http://127.0.0.1:{port}/m.bin")
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION


def test_n1_a_reset_at_once_is_left_to_the_ledger(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(BEHAVIOURS["rst_now"]))
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION
    assert len(bench.hub.hits) == 1


@pytest.mark.parametrize("cut", [rst_mid, eof_mid, stall_mid], ids=["n5_rst", "n6_fin", "n7_stall"])
def test_n5_n6_n7_a_broken_line_is_gone_on_with_where_it_broke(bench: Bench, cut: Behaviour) -> None:
    url = bench.publish(cut(after_bytes=300_000).times(2), etag='"v1"')
    file = bench.fetch(url, stall_timeout_seconds=0.5)
    assert file.path.read_bytes() == BYTES and file.sha256 == SHA
    assert bench.starts == [0, 300_000, 600_000], "every byte was asked for once"
    assert [hit.headers.get("if-range") for hit in bench.hub.hits] == [None, '"v1"', '"v1"']


def test_h9_a_cut_chunked_body_is_gone_on_with(bench: Bench) -> None:
    file = bench.fetch(bench.publish(BEHAVIOURS["chunked_cut"].times(1)))
    assert file.sha256 == SHA and bench.starts == [0, 500_000]


@pytest.mark.parametrize(("ranges", "questions", "code"), [(True, 20, Code.CUT_SHORT), (False, 5, Code.LYING_SERVER)])
def test_h9_chunks_that_are_cut_every_time_are_asked_for_so_often_and_no_more(
    bench: Bench, ranges: bool, questions: int, code: Code
) -> None:
    worn = [chunked_cut(after_bytes=1000), *([] if ranges else [range_ignored])]
    assert bench.trouble(bench.publish(worn), sha256=SHA).code is code
    assert len(bench.hub.hits) <= questions
    assert bench.starts == ([number * 1000 for number in range(questions)] if ranges else [0] * len(bench.hub.hits))


def test_h17_a_burst_of_server_errors_is_left_to_the_ledger(bench: Bench) -> None:
    url = bench.publish(s500.times(1))
    assert bench.trouble(url).code is Code.SERVER_ERROR
    assert bench.fetch(url).sha256 == SHA


def test_a_server_error_on_the_way_is_a_blip(bench: Bench) -> None:
    url = bench.publish([eof_mid(after_bytes=300_000).times(1), s500.after_request(1).times(1)])
    assert bench.fetch(url).sha256 == SHA
    assert len(bench.hub.hits) == 3


def test_connections_are_bounded_however_much_each_of_them_brings(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(eof_mid(after_bytes=1000)))
    assert isinstance(trouble, TryLater) and trouble.code is Code.CUT_SHORT
    assert len(bench.hub.hits) == 20
    journal = bench.room.journal()
    assert journal is not None and journal.durable_bytes == 20_000


def test_fruitless_connections_end_sooner(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(eof_mid(after_bytes=0)))
    assert trouble.code is Code.CUT_SHORT and len(bench.hub.hits) == 5


def test_a_host_that_can_never_give_it_is_not_asked_for_whole_files_again_and_again(bench: Bench) -> None:
    """`length_long` without a known size: it claims twice as much as there is, and has no range beyond the end."""
    trouble = bench.trouble(bench.publish(BEHAVIOURS["length_long"]))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.LYING_SERVER and trouble.elsewhere
    assert sum(hit.status == 200 for hit in bench.hub.hits) <= 4


# --- how long it is (H8, H10–H12, H26) --------------------------------------------------------------------------------


def test_h8_silence_at_the_end_is_enough_where_the_size_the_digest_or_the_file_itself_proves_it(bench: Bench) -> None:
    url = bench.publish(no_length_close)
    for known in ({"size": DATA.size}, {"sha256": SHA}):
        assert bench.fetch(url, name="m.ckpt", **known).sha256 == SHA
        bench.room.empty()
    assert bench.fetch(url, name="m.safetensors").sha256 == SHA


def test_h8_silence_at_the_end_is_not_enough_where_nothing_proves_it(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(no_length_close), name="m.ckpt")
    assert isinstance(trouble, GiveUp) and trouble.code is Code.LYING_SERVER
    assert bench.room.part.stat().st_size == 0


@pytest.mark.parametrize("known", [{"size": DATA.size}, {"sha256": SHA}])
def test_h8_a_silent_cut_is_found_out_and_gone_on_with(bench: Bench, known: dict[str, Any]) -> None:
    url = bench.publish(no_length_cut(after_bytes=300_000).times(1))
    assert bench.fetch(url, name="m.ckpt", **known).sha256 == SHA
    assert bench.starts == [0, 300_000]


def test_h8_silent_cuts_are_bounded_however_much_each_of_them_brings(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(no_length_cut(after_bytes=1000)), size=DATA.size)
    assert isinstance(trouble, TryLater) and trouble.code is Code.CUT_SHORT
    assert bench.starts == [number * 1000 for number in range(20)]


def test_h8_h28_a_host_that_has_other_bytes_ends_with_their_digest_and_not_in_a_loop(bench: Bench) -> None:
    url = bench.publish([no_length_close, BEHAVIOURS["range_ignored"]])
    file = bench.fetch(url, name="m.ckpt", sha256="00" * 32)
    assert file.sha256 == SHA
    assert len(bench.hub.hits) == 2


@pytest.mark.parametrize("name", ["length_short", "length_long", "length_zero"])
def test_h10_another_size_than_expected_is_refused_before_the_first_byte(bench: Bench, name: str) -> None:
    trouble = bench.trouble(bench.publish(BEHAVIOURS[name]), size=DATA.size)
    assert isinstance(trouble, GiveUp) and trouble.code is Code.SIZE_MISMATCH and trouble.elsewhere
    assert bench.room.part.stat().st_size == 0 and bench.heads == []


@pytest.mark.parametrize("name", ["length_negative", "length_garbage", "two_lengths", "te_and_cl"])
def test_h11_a_contradictory_length_is_a_protocol_error(bench: Bench, name: str) -> None:
    trouble = bench.trouble(bench.publish(BEHAVIOURS[name]))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.LYING_SERVER
    assert bench.room.part.stat().st_size == 0


def test_h12_an_encoded_body_is_refused(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(BEHAVIOURS["gzip_encoded"]))
    assert isinstance(trouble, GiveUp) and trouble.code is Code.LYING_SERVER
    assert bench.hub.hits[0].headers["accept-encoding"] == "identity"
    assert bench.room.part.stat().st_size == 0


@pytest.mark.parametrize(("known", "code"), [({"size": 200_000}, Code.SIZE_MISMATCH), ({}, Code.TOO_LARGE)])
def test_h26_an_endless_body_is_left_at_the_limit(bench: Bench, known: dict[str, int], code: Code) -> None:
    url = bench.publish(chunked_endless(size=5_000_000), SizedPattern(200_000))
    trouble = bench.trouble(url, max_file_bytes=500_000, **known)
    assert isinstance(trouble, GiveUp) and trouble.code is code
    assert bench.room.part.stat().st_size <= known.get("size", 500_000)


def test_h26_a_body_that_is_one_byte_longer_is_not_taken(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(no_length_close), size=DATA.size - 1)
    assert trouble.code is Code.SIZE_MISMATCH
    assert bench.room.part.stat().st_size <= DATA.size - 1


def test_h29_exactly_the_declared_bytes_are_used(bench: Bench) -> None:
    assert bench.fetch(bench.publish(BEHAVIOURS["extra_bytes_keepalive"])).sha256 == SHA


# --- what is refused at the door (H14–H16, H18–H20, T18) --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("s401", GiveUp, Code.AUTH),
        ("s403", GiveUp, Code.AUTH),
        ("s404", GiveUp, Code.NOT_FOUND),
        ("s410", GiveUp, Code.NOT_FOUND),
        ("s451", GiveUp, Code.NOT_FOUND),
        ("s204", GiveUp, Code.LYING_SERVER),
        ("s304", GiveUp, Code.LYING_SERVER),
        ("s416", GiveUp, Code.LYING_SERVER),
        ("s429", TryLater, Code.BUSY_HOST),
        ("s503", TryLater, Code.BUSY_HOST),
        ("s502", TryLater, Code.SERVER_ERROR),
        ("redirect_no_location", GiveUp, Code.REDIRECTS),
        ("redirect_bad", GiveUp, Code.REDIRECTS),
        ("http09", TryLater, Code.LYING_SERVER),
        ("header_bomb", GiveUp, Code.LYING_SERVER),
    ],
)
def test_h14_h15_h16_h17_h19_h23_h24_one_question_is_enough(
    bench: Bench, name: str, kind: type[Trouble], code: Code
) -> None:
    trouble = bench.trouble(bench.publish(BEHAVIOURS[name]))
    assert (type(trouble), trouble.code) == (kind, code)
    assert len(bench.hub.hits) == 1


def test_h16_the_job_waits_and_not_the_worker(bench: Bench) -> None:
    for behaviour, seconds in ((s429, 1.0), (BEHAVIOURS["s429_huge"], 3600.0), (BEHAVIOURS["s429_garbage"], None)):
        trouble = bench.trouble(bench.publish(behaviour))
        assert isinstance(trouble, TryLater) and trouble.retry_after_seconds == seconds


def test_h16_a_host_that_becomes_busy_on_the_way_is_obeyed_and_the_bytes_are_kept(bench: Bench) -> None:
    url = bench.publish([eof_mid(after_bytes=300_000).times(1), s503(retry_after="5").after_request(1)])
    trouble = bench.trouble(url)
    assert isinstance(trouble, TryLater) and (trouble.code, trouble.retry_after_seconds) == (Code.BUSY_HOST, 5.0)
    journal = bench.room.journal()
    assert journal is not None and journal.durable_bytes == 300_000


def test_h18_a_redirect_loop_is_final(bench: Bench) -> None:
    assert bench.trouble(bench.publish(BEHAVIOURS["redirect_loop"])).code is Code.REDIRECTS


def test_h21_a_signed_link_serves_the_next_connection_too(bench: Bench) -> None:
    """It is remembered in memory only, and asked for anew when it has run out."""
    bench.hub.publish("/signed.bin", DATA, behaviour=eof_mid(after_bytes=300_000).times(1))
    url = bench.publish(redirect(to="/signed.bin"))
    file = bench.fetch(url)
    assert file.sha256 == SHA and file.origin == bench.hub.url("/signed.bin")
    assert [hit.path for hit in bench.hub.hits] == ["/m.bin", "/signed.bin", "/signed.bin"]


def test_t18_a_private_address_is_refused(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(), allow_hosts=())
    assert isinstance(trouble, Refused) and bench.hub.connections_seen == 0


# --- the content (H13, H25, H28) --------------------------------------------------------------------------------------


def test_h13_the_head_is_shown_before_anything_beyond_it_is_written(bench: Bench) -> None:
    sizes: list[int] = []

    def look(head: bytes) -> None:
        assert head == BYTES[:HEAD_BYTES]
        sizes.append(bench.room.part.stat().st_size)

    bench.fetch(bench.publish(), inspect=look)
    assert len(sizes) == 1 and sizes[0] <= HEAD_BYTES


def test_h13_a_body_shorter_than_the_head_is_shown_too(bench: Bench) -> None:
    bench.fetch(bench.publish(html_200))
    assert len(bench.heads) == 1 and bench.heads[0].startswith(b"<!DOCTYPE html>")


def refuse(head: bytes) -> None:
    raise GiveUp(Code.HTML, "a page", elsewhere=True)


@pytest.mark.parametrize("data", [DATA, SizedPattern(500)])
def test_h13_what_is_refused_leaves_nothing_behind_and_is_not_read_on(bench: Bench, data: SizedPattern) -> None:
    big = SizedPattern(1 << 30) if data is DATA else data
    trouble = bench.trouble(bench.publish(data=big), inspect=refuse)
    assert trouble.code is Code.HTML
    assert not bench.room.part.exists() and bench.room.journal() is None
    bench.hub.wait_for(lambda hub: hub.hits[-1].ended is not None)
    assert bench.hub.bytes_sent("/m.bin") < 64 << 20


def test_h25_the_name_in_content_disposition_is_ignored(bench: Bench) -> None:
    file = bench.fetch(bench.publish(dispo_traversal))
    assert file.path == bench.room.part
    assert sorted(path.name for path in bench.room.folder.iterdir()) == ["journal.json", "part"]


def test_h28_a_flipped_bit_is_reported_by_the_digest_of_the_very_bytes(bench: Bench) -> None:
    file = bench.fetch(bench.publish(bitflip), size=DATA.size, sha256=SHA)
    assert file.sha256 != SHA
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()


# --- the disk (D1, D4, D6) --------------------------------------------------------------------------------------------


def test_d1_too_little_space_is_found_before_the_first_byte(bench: Bench) -> None:
    bench.free_bytes = DATA.size + 999
    trouble = bench.trouble(bench.publish(), disk_reserve_bytes=1000)
    assert isinstance(trouble, TryLater) and trouble.code is Code.DISK_FULL
    assert bench.room.part.stat().st_size == 0
    bench.free_bytes += 1
    assert bench.fetch(bench.publish(), disk_reserve_bytes=1000).sha256 == SHA


def test_d1_only_the_remaining_bytes_need_space(bench: Bench) -> None:
    url = bench.publish([eof_mid(after_bytes=600_000).times(1), s503.after_request(1).times(1)])
    bench.trouble(url)
    bench.free_bytes = 400_000
    assert bench.fetch(url).sha256 == SHA


def test_d1_space_that_goes_while_a_file_comes_stops_it_and_keeps_what_is_here(bench: Bench) -> None:
    def fill_up(head: bytes) -> None:
        bench.free_bytes = 10

    url = bench.publish()
    trouble = bench.trouble(url, inspect=fill_up, disk_reserve_bytes=11)
    assert isinstance(trouble, TryLater) and trouble.code is Code.DISK_FULL
    journal = bench.room.journal()
    assert journal is not None and 0 < journal.durable_bytes < DATA.size
    bench.free_bytes = 1 << 40
    assert bench.fetch(url).sha256 == SHA
    assert bench.starts == [0, journal.durable_bytes]


def test_d4_a_flush_that_fails_is_never_taken_for_one_that_worked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("download_worker.fetchers.http.part_file._flush_data", broken)
    trouble = bench.trouble(bench.publish())
    assert isinstance(trouble, GiveUp) and trouble.code is Code.STORAGE
    journal = bench.room.journal()
    assert journal is not None and journal.durable_bytes == 0


def test_a_source_without_the_file_leaves_the_room_usable_for_the_next(bench: Bench) -> None:
    trouble = bench.trouble(bench.publish(s404))
    assert isinstance(trouble, GiveUp) and trouble.elsewhere
    assert bench.fetch(bench.hub.publish("/mirror.bin", DATA)).sha256 == SHA
