"""`download-worker limits`: what is ordered by hand is kept, shown, and refused when it makes no sense."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from download_worker import wiring
from download_worker.cli import app
from download_worker.command_line import run
from download_worker.jobs import moves
from download_worker.jobs.job import JobId
from download_worker.limits import MAX_HOSTS
from download_worker.pace.orders import Wish, carry_out, read_orders
from download_worker.settings import CONFIG_NAME, load
from tests.jobs import make_job

AT = "2026-01-01T00:00:00.000Z"

Say = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in os.environ if name.startswith("COMFY_DOCTOR_")]:
        monkeypatch.delenv(name)
    mask = os.umask(0)
    yield
    os.umask(mask)
    wiring.close_logs()


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    def command(*words: str, code: int = 0) -> dict[str, Any]:
        assert run(app, "download-worker", ["limits", "--home", str(tmp_path), "--json", *words]) == code
        envelope: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert envelope["exit_code"] == code
        return envelope

    return command


def test_an_order_is_shown_and_kept(say: Say, tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text("[limits]\ntotal='5 MB/s'\nper_job='1 MB/s'\n[limits.hosts]\n'a.b'='2 MB/s'\n")
    assert say()["data"]["total"] == {"bytes_per_second": 5e6, "from": "file"}
    say("--total", "20MiB/s", "--host", "C.D=3 MB/s", "--host", "a.b=unlimited")
    data = say()["data"]
    assert data["total"] == {"bytes_per_second": 20 * 1024 * 1024, "from": "order"}
    assert data["per_job"] == {"bytes_per_second": 1e6, "from": "file"}
    assert data["hosts"] == {
        "a.b": {"bytes_per_second": None, "from": "order"},
        "c.d": {"bytes_per_second": 3e6, "from": "order"},
    }
    assert say("--total", "unlimited")["data"]["hosts"] == data["hosts"], "one order leaves the others as they are"
    envelope = say("--clear", "--host", "e.f=1MB/s")
    assert envelope["data"]["total"]["from"] == "file"
    assert envelope["data"]["hosts"].keys() == {"a.b", "e.f"}
    assert "host e.f: 1 MB/s (order)" in envelope["messages"]


def test_schedules_are_shown(say: Say, tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text("[limits]\nday='08:00-20:00 1 MB/s'\nnight='20:00-08:00 unlimited'\n")
    envelope = say()
    shown = envelope["data"]["schedules"]
    assert shown["day"] | {"open": None} == {"opens": "08:00", "closes": "20:00", "bytes_per_second": 1e6, "open": None}
    assert shown["day"]["open"] is not shown["night"]["open"]
    assert envelope["data"]["total"]["from"] == ("schedule day" if shown["day"]["open"] else "schedule night")
    assert sum("now" in line for line in envelope["messages"]) == 2


def test_a_job_is_named_by_the_beginning_of_its_id_and_forgotten_when_it_is_over(say: Say, tmp_path: Path) -> None:
    job, other = make_job(), make_job()
    with wiring.ledger_of(load(tmp_path)) as ledger:
        ledger.add(job)
        ledger.add(other)
    say("--job", f"{job.job_id[:8]}=1MB/s")
    data = say("--job", f"{other.job_id}=2MB/s")["data"]
    assert {job_id: told["bytes_per_second"] for job_id, told in data["jobs"].items()} == {
        job.job_id: 1e6,
        other.job_id: 2e6,
    }
    with wiring.ledger_of(load(tmp_path)) as ledger:
        ledger.amend(job.job_id, moves.cancel_requested(AT))
    assert say("--total", "5MB/s")["data"]["jobs"].keys() == {other.job_id}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--total", "fast"), "--total “fast”"),
        (("--total", "0"), "--total “0”"),
        (("--host", "a.b"), "--host “a.b” is not of the form"),
        (("--host", "=5MB/s"), "--host “=5MB/s” is not of the form"),
        (("--host", "a/b=5MB/s"), "--host “a/b” is no host"),
        (("--job", "abcd1234"), "--job “abcd1234” is not of the form"),
        (("--job", "abcd1234=5MB/s"), "abcd1234"),
        (("--total", "5kB/s"), "min_bytes_per_second"),
        (("--host", "a.b=9999"), "min_bytes_per_second"),
    ],
)
def test_g5_what_makes_no_sense_is_refused_and_changes_nothing(
    say: Say, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    say("--total", "7MB/s")
    (error,) = say(*words, "--host", "x.y=1MB/s", code=2)["errors"]
    assert told in error["message"]
    assert read_orders(tmp_path / "state").model_dump(exclude_defaults=True) == {"total": "7 MB/s"}


@pytest.mark.parametrize(
    "garbage", ["", "{", "[]", '{"total": "5 pigs"}', '{"more": 1}', '{"hosts": {"a b": "1 MB/s"}}']
)
def test_orders_that_cannot_be_read_are_named_and_can_be_cleared(say: Say, tmp_path: Path, garbage: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "limits.json").write_text(garbage)
    for words in ((), ("--total", "5MB/s")):
        (error,) = say(*words, code=2)["errors"]
        assert str(tmp_path / "state" / "limits.json") in error["message"]
        assert "--clear" in error["hint"]
    assert say("--clear")["data"]["total"]["bytes_per_second"] is None


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX idea")
def test_orders_are_for_our_own_user_only(say: Say, tmp_path: Path) -> None:
    say("--total", "5MB/s")
    assert (tmp_path / "state" / "limits.json").stat().st_mode & 0o777 == 0o600


def test_orders_are_replaced_in_one_step(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash, or a full disk, in the middle leaves the old ones."""
    say("--total", "5MB/s")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert say("--total", "6MB/s", code=3)["errors"][0]["code"] == "disk_full"
    monkeypatch.undo()
    assert say()["data"]["total"]["bytes_per_second"] == 5e6


def test_many_at_once_lose_no_order(tmp_path: Path) -> None:
    settings = load(tmp_path)

    def find(job_id: JobId) -> Any:
        raise AssertionError(job_id)

    def ask(number: int) -> None:
        carry_out(Wish(None, {f"host-{number}.example": 1e6}, {}, False), settings, find)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_orders(settings.state).hosts) == 8


def test_there_is_a_bound(say: Say, tmp_path: Path) -> None:
    many = {f"host-{number}.example": 1e6 for number in range(MAX_HOSTS)}
    carry_out(Wish(None, many, {}, False), load(tmp_path), lambda job_id: make_job())
    assert str(MAX_HOSTS) in say("--host", "one.more=1MB/s", code=2)["errors"][0]["message"]


def test_to_look_makes_nothing(say: Say, tmp_path: Path) -> None:
    say()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
