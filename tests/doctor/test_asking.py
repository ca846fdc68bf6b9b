"""Asking: politely, side by side, once; what is kept has an age, no secret, and may vanish at any time."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from comfy_doctor.asking import DAY, HOUR, AnswerCache, Asker, cache
from download_worker.clock import FakeClock
from download_worker.errors import Code, GiveUp, Interrupted, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests import canaries
from tests.hub.huggingface import HuggingFace, RepoFile, Repository, Trouble

MODELS = "https://huggingface.co/api/models"
INFO = f"{MODELS}/owner/name"
TREE = f"{MODELS}/owner/name/tree/main?recursive=true"
FILE = "https://huggingface.co/owner/name/resolve/main/vae/ae.safetensors"
NOWHERE = "https://cdn.invalid"
"""A redirect there is never followed: a HEAD stays at home."""


@pytest.fixture
def hub() -> Iterator[HuggingFace]:
    files = [RepoFile.lfs("vae/ae.safetensors", size=335_304_388), RepoFile("config.json", 20)]
    with HuggingFace([Repository("owner/name", files, old_names=("old/name",))], cdn=NOWHERE) as host:
        yield host


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Asking:
    """An Asker whose pauses move the clock and are written down."""

    def __init__(self, hub: HuggingFace, clock: FakeClock, cache: Path | None, **options: Any) -> None:
        self.pauses: list[float] = []
        settings = Settings(hf_endpoint=hub.base, stall_timeout_seconds=5)
        kept = None if cache is None else AnswerCache(cache, clock)

        def pause(leash: Leash, seconds: float) -> None:
            leash.check()
            self.pauses.append(seconds)
            clock.advance(seconds)

        self.asker = Asker(Web(settings, clock=clock), kept, clock, pause=pause, **options)


Make = Callable[..., Asking]


@pytest.fixture
def make(hub: HuggingFace, clock: FakeClock, tmp_path: Path) -> Make:
    return lambda **options: Asking(hub, clock, tmp_path / "answers.db", **options)


def fails(ask: Callable[[], object]) -> TryLater:
    with pytest.raises(TryLater) as caught:
        ask()
    return caught.value


def test_an_answer_is_asked_for_once_until_it_is_too_old(hub: HuggingFace, clock: FakeClock, make: Make) -> None:
    asker = make().asker
    assert asker.json(INFO)["id"] == "owner/name"
    clock.advance(DAY - 1)
    assert make().asker.json(INFO)["id"] == "owner/name", "another process reads what the first one kept"
    assert len(hub.requests) == 1
    clock.advance(2)
    asker.json(INFO)
    assert len(hub.requests) == 2


def test_what_is_missing_is_remembered_for_an_hour(hub: HuggingFace, clock: FakeClock, make: Make) -> None:
    asker = make().asker
    url = f"{MODELS}/owner/name/tree/v9"
    for _ in range(2):
        with pytest.raises(GiveUp) as caught:
            asker.json(url)
        assert caught.value.code is Code.NOT_FOUND
    assert len(hub.requests) == 1
    clock.advance(HOUR + 1)
    hub.add(Repository("owner/name", [RepoFile("a.txt", 1)], revisions=("v9",)))
    assert asker.json(url)[0]["path"] == "a.txt"


def test_a_login_that_is_wanted_is_not_remembered(hub: HuggingFace, make: Make) -> None:
    hub.add(Repository("owner/name", [RepoFile.lfs("vae/ae.safetensors")], gated="auto"))
    asker = make().asker
    assert asker.head(FILE).status == 401
    hub.add(Repository("owner/name", [RepoFile.lfs("vae/ae.safetensors")]))
    assert asker.head(FILE).status == 302


def test_a_head_tells_what_the_host_itself_says_and_stays_at_home(hub: HuggingFace, make: Make) -> None:
    for _ in range(2):
        head = make().asker.head(FILE)
        assert head.status == 302
        assert head.first("x-linked-size") == "335304388"
        assert head.first("x-repo-commit") == Repository("owner/name").sha
    assert [asked.method for asked in hub.requests] == ["HEAD"]


def test_the_hops_of_a_head_are_told_in_order(make: Make) -> None:
    head = make().asker.head("https://huggingface.co/old/name/resolve/main/vae/ae.safetensors")
    assert [hop["location"] for hop in head.hops] == ["/owner/name/resolve/main/vae/ae.safetensors"]
    assert head.first("x-linked-etag") is not None


def test_no_token_and_no_signature_gets_into_the_file(hub: HuggingFace, make: Make, tmp_path: Path) -> None:
    canaries.BOOK.bind(canaries.IN_URL, hub.base)
    make().asker.head(f"{FILE}?token={canaries.IN_URL}")
    make().asker.json(f"{INFO}?token={canaries.IN_URL}")
    with sqlite3.connect(tmp_path / "answers.db") as database:
        rows = database.execute("SELECT key, value FROM answers").fetchall()
    database.close()
    kept = AnswerCache(tmp_path / "answers.db", FakeClock())
    told = json.dumps([[key, kept.read(key, DAY)] for key, _ in rows])
    assert len(rows) == 2 and "x-linked-etag" in told
    assert canaries.WORD not in told


def test_the_answer_of_a_mirror_never_stands_for_that_of_the_host(clock: FakeClock, tmp_path: Path) -> None:
    for _ in ("a mirror", "the host"):
        with HuggingFace([Repository("owner/name")]) as here:
            Asking(here, clock, tmp_path / "answers.db").asker.json(INFO)
            assert len(here.requests) == 1


def test_what_was_told_to_a_stranger_is_not_told_to_who_has_a_token(
    hub: HuggingFace, clock: FakeClock, make: Make, tmp_path: Path, no_tokens: None
) -> None:
    make().asker.json(INFO)
    settings = Settings(hf_endpoint=hub.base, hf_token=SecretStr(canaries.HF))
    asker = Asker(Web(settings, clock=clock), AnswerCache(tmp_path / "answers.db", clock), clock)
    for _ in range(2):
        asker.json(INFO)
    assert [bool(request.headers.get("authorization")) for request in hub.requests] == [False, True]


def test_a_body_is_part_of_the_question(hub: HuggingFace, make: Make) -> None:
    asker = make().asker
    asker.json(INFO, body={"b": 1, "a": [1]})
    asker.json(INFO, body={"a": [1], "b": 1})
    asker.json(INFO, body={"a": [2]})
    assert [asked.method for asked in hub.requests] == ["POST", "POST"]


def test_pages_name_the_one_after_them(hub: HuggingFace, make: Make) -> None:
    hub.add(Repository("owner/name", [RepoFile(f"f{number:04}", 1) for number in range(1500)]))
    first = make().asker.page(TREE)
    assert len(first.body) == 1000 and first.next is not None
    second = make().asker.page(first.next)
    assert len(second.body) == 500 and second.next is None


# What a host asks of us


def test_a_short_pause_is_waited_for(hub: HuggingFace, make: Make) -> None:
    hub.trouble = Trouble(429, {"Retry-After": "7"}, times=1)
    asking = make()
    assert asking.asker.json(INFO)["id"] == "owner/name"
    assert asking.pauses == [7.0]


def test_a_long_pause_is_an_answer_for_everybody_until_it_is_over(
    hub: HuggingFace, clock: FakeClock, make: Make
) -> None:
    hub.window["api"] = (0, 112)
    asking = make()
    assert fails(lambda: asking.asker.json(INFO)).retry_after_seconds == 112
    later = fails(lambda: asking.asker.json(TREE))
    assert later.code is Code.BUSY_HOST and "huggingface.co" in later.message and "112 seconds" in str(later)
    assert len(hub.requests) == 1 and asking.pauses == [], "nobody hammers"
    assert asking.asker.head(FILE).status == 302, "its files are counted apart"
    hub.window["api"] = (500, 300)
    clock.advance(100)
    assert asking.asker.json(INFO)["id"] == "owner/name"
    assert asking.pauses == [pytest.approx(12.0)]


def test_the_last_answer_of_a_window_closes_the_door_too(hub: HuggingFace, make: Make) -> None:
    hub.window["api"] = (1, 200)
    asking = make()
    asking.asker.json(INFO)
    assert fails(lambda: asking.asker.json(TREE)).retry_after_seconds == pytest.approx(200)
    assert len(hub.requests) == 1


def test_patience_is_for_all_pauses_of_a_question_together(hub: HuggingFace, make: Make) -> None:
    hub.trouble = Trouble(503, {"Retry-After": "8"})
    asking = make(patience_seconds=20.0)
    assert fails(lambda: asking.asker.json(INFO)).code is Code.BUSY_HOST
    assert asking.pauses == [8.0, 8.0]


def test_a_host_that_only_ever_asks_for_pauses_costs_no_more_than_a_few_of_them(hub: HuggingFace, make: Make) -> None:
    hub.trouble = Trouble(429, {"Retry-After": "4"})
    asking = make()
    for number in range(200):
        fails(partial(asking.asker.json, f"{INFO}?{number}"))
    assert sum(asking.pauses) < 30
    assert len(hub.requests) < 10


def test_a_host_that_fails_again_and_again_is_left_alone(hub: HuggingFace, clock: FakeClock, make: Make) -> None:
    hub.trouble = Trouble(500)
    asking = make()
    for number in range(6):
        assert fails(lambda number=number: asking.asker.json(f"{INFO}?{number}")).code is Code.SERVER_ERROR  # type: ignore[misc]
    assert len(hub.requests) == 4 and asking.pauses == [1.0, 1.0], "each question a second time, then no more"
    assert "rests" in fails(lambda: asking.asker.json(INFO)).message
    hub.trouble = None
    clock.advance(61)
    assert asking.asker.json(INFO)["id"] == "owner/name"


def test_one_hiccup_is_asked_over(hub: HuggingFace, make: Make) -> None:
    hub.trouble = Trouble(502, times=1)
    asking = make()
    assert asking.asker.json(INFO)["id"] == "owner/name"
    assert asking.pauses == [1.0]


def test_trouble_is_never_kept(hub: HuggingFace, make: Make) -> None:
    for status in (500, 503, 429):
        hub.trouble = Trouble(status, {"Retry-After": "90"})
        fails(lambda: make().asker.head(FILE))
    hub.trouble = None
    assert make().asker.head(FILE).status == 302


def test_an_answer_that_never_ends_is_cut(hub: HuggingFace, make: Make) -> None:
    hub.trouble = Trouble(held=True)
    trouble = fails(lambda: make(question_seconds=0.05).asker.json(INFO))
    assert trouble.code is Code.STALLED and "within 0.05 seconds" in trouble.message


def test_offline_only_what_is_kept_is_told_whatever_its_age(hub: HuggingFace, clock: FakeClock, make: Make) -> None:
    make().asker.json(INFO)
    clock.advance(90 * DAY)
    offline = make(offline=True).asker
    assert offline.json(INFO)["id"] == "owner/name"
    assert "offline" in fails(lambda: offline.json(TREE)).message
    assert len(hub.requests) == 1


def test_offline_an_old_absence_proves_nothing(clock: FakeClock, make: Make) -> None:
    url = f"{MODELS}/owner/name/tree/v9"
    with pytest.raises(GiveUp):
        make().asker.json(url)
    clock.advance(2 * HOUR)
    assert "offline" in fails(lambda: make(offline=True).asker.json(url)).message


# Side by side


def test_side_by_side_keeps_the_order(make: Make) -> None:
    gate = threading.Barrier(4, timeout=10)

    def double(number: int) -> int:
        gate.wait()  # four at once, or this breaks
        return number * 2

    assert make(at_once=4).asker.side_by_side(double, range(8)) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_a_pulled_leash_ends_all(hub: HuggingFace, make: Make) -> None:
    hub.trouble = Trouble(held=True)
    asker, leash = make(at_once=2).asker, Leash()

    def pull() -> None:
        hub.wait_for(lambda each: len(each.requests) >= 2)
        leash.pull()

    puller = threading.Thread(target=pull)
    puller.start()
    with pytest.raises(Interrupted):
        asker.side_by_side(lambda number: asker.json(f"{INFO}?{number}", leash=leash), range(20))
    puller.join()
    assert len(hub.requests) == 2


def test_the_first_failure_ends_what_has_not_begun(make: Make) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError(number)
        threading.Event().wait(0.005)  # long enough for the failure to be noticed

    with pytest.raises(ValueError, match="0"):
        make(at_once=2).asker.side_by_side(work, range(40))
    assert len(begun) < 40


def test_ctrl_c_ends_what_is_under_way(hub: HuggingFace, make: Make) -> None:
    """A person who gives up waits for no silent host, nor for a pause."""
    hub.trouble = Trouble(held=True)
    asker, leash, begun = make().asker, Leash(), threading.Barrier(3)
    probes: list[str] = []

    def ask(number: int) -> object:
        begun.wait(5)
        if number == 0:
            raise KeyboardInterrupt
        if number == 1:
            return asker.json(INFO)
        with pytest.raises(Interrupted):
            leash.wait(20)
        probes.append("let go")
        return None

    now = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asker.side_by_side(ask, range(3), leash)
    assert time.monotonic() - now < 3
    assert probes == ["let go"]
    with pytest.raises(Interrupted):
        asker.json(INFO)


def test_what_several_want_at_once_is_asked_once(hub: HuggingFace, make: Make) -> None:
    asker = make().asker
    assert len(asker.side_by_side(lambda _: asker.json(INFO), range(8))) == 8
    assert len(hub.requests) == 1


# The file


def cache_at(path: Path, **bounds: int) -> AnswerCache:
    return AnswerCache(path, FakeClock(), **bounds)


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "answers.db"
    cache_at(path).write("k", 1)
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    for damage in (b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(damage)
        cache = cache_at(path)
        assert cache.read("k", DAY) is None
        cache.write("k", [1])
        assert cache.read("k", DAY) == [1]


def test_a_table_of_another_shape_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE answers (other TEXT)")
    database.close()
    cache = cache_at(path)
    assert cache.read("k", DAY) is None
    cache.write("k", 1)
    assert cache.read("k", DAY) == 1


def test_a_damaged_row_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    cache = cache_at(path)
    cache.write("k", 1)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET value = ?", (b"junk",))
    database.close()
    assert cache.read("k", DAY) is None


def test_the_file_may_be_deleted_between_two_questions(tmp_path: Path) -> None:
    cache = cache_at(tmp_path / "answers.db")
    cache.write("k", 1)
    (tmp_path / "answers.db").unlink()
    assert cache.read("k", DAY) is None
    cache.write("k", 2)
    assert cache.read("k", DAY) == 2


def test_where_nothing_can_be_written_nothing_is_kept_and_nobody_is_hurt(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "answers.db", tmp_path):
        cache = cache_at(path)
        cache.write("k", 1)
        assert cache.read("k", DAY) is None


def test_a_row_from_the_future_is_not_believed(tmp_path: Path) -> None:
    clock = FakeClock()
    cache = AnswerCache(tmp_path / "answers.db", clock)
    clock.advance(10 * DAY)
    cache.write("k", 1)
    clock.advance(-10 * DAY)
    assert cache.read("k", DAY) is None


def test_the_oldest_rows_make_room(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "answers.db"
    cache = AnswerCache(path, clock, max_rows=5)
    for number in range(8):
        cache.write(str(number), number)
        clock.advance(1)
    assert [cache.read(str(number), DAY) for number in range(8)] == [None, None, None, 3, 4, 5, 6, 7]


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    clock = FakeClock()
    cache = AnswerCache(tmp_path / "answers.db", clock, max_rows=10, max_bytes=3000)
    for number in range(4):
        cache.write(str(number), os.urandom(600).hex())  # at least 600 bytes packed, about 700
        clock.advance(1)
    cache.write("large", os.urandom(5000).hex())
    assert cache.read("large", DAY) is None
    assert cache.read("3", DAY) is not None
    cache.write("4", os.urandom(600).hex())
    assert cache.read("0", DAY) is None and cache.read("4", DAY) is not None


def _write_many(path: str, name: str) -> None:
    cache = AnswerCache(Path(path), FakeClock())
    for number in range(20):
        cache.write(f"{name}{number}", number)


def test_who_does_not_let_go_of_the_file_is_waited_for_once(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BUSY_SECONDS", 0.05)
    kept = AnswerCache(tmp_path / "answers.db", clock)
    kept.write("key", 1)
    with closing(sqlite3.connect(tmp_path / "answers.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        assert [kept.read("key", None) for _ in range(100)] == [None] * 100
        assert time.monotonic() - begun < 1
    assert kept.read("key", None) is None
    clock.advance(cache.LEFT_ALONE_SECONDS)
    assert kept.read("key", None) == 1


@pytest.mark.slow
def test_several_processes_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_write_many, args=(str(path), name)) for name in "ab"]
    for each in others:
        each.start()
    _write_many(str(path), "c")
    for each in others:
        each.join(60)
    cache = cache_at(path)
    assert all(cache.read(f"{name}{number}", DAY) == number for name in "abc" for number in range(20))
