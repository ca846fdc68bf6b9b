"""D8: without a descriptor nothing is forgotten, nobody is blamed, and what could not be opened is opened later."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from download_worker.clock import FakeClock, SystemClock
from download_worker.database import open_engine, reading, writing
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.fetchers.http.buffers import Pool
from download_worker.fetchers.http.part import opened
from download_worker.fetchers.http.part_file import PartFile
from download_worker.jobs.job import JobId
from download_worker.jobs.persist_queue import PersistQueueBell
from download_worker.jobs.queue_folder import QueueFolder
from download_worker.leash import Leash
from download_worker.mounts import Mounts
from download_worker.pace.orders import ORDERS_NAME
from download_worker.pace.shared import Hearing
from download_worker.room import Identity, Journal, Room, Stretch, Version, entered
from download_worker.settings import Settings, load
from download_worker.verifiers.rubric import model, prompt
from download_worker.verifiers.rubric.judge import ModelRubric
from download_worker.web.session import Web
from tests import descriptors
from tests.mountpoints import mounted_at

JOB = JobId("0c2b6e1e-0000-4000-8000-000000000008")
NOTED = Journal(total=10, versions=(Version("a"),), durable=(Stretch(0, 6, 0),))


def later(trouble: BaseException) -> bool:
    return isinstance(trouble, TryLater) and trouble.code is Code.STORAGE


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Of a first claim that is over; six bytes are durable in it."""
    with entered(tmp_path / "staging", JOB, 1) as room:
        room.part.write_bytes(b"durable and not")
        room.note(NOTED)
    return room


# Rooms


def test_d8_a_journal_that_cannot_be_opened_is_not_none(room: Room) -> None:
    with descriptors.none_left(), pytest.raises(TryLater) as caught:
        room.journal()
    assert later(caught.value)
    assert room.journal() == NOTED


@pytest.fixture
def no_journal_opens(room: Room, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Each time the last descriptor was taken just before."""
    path_open = Path.open

    def narrow(path: Path, *words: Any, **named: Any) -> Any:
        if path.name == "journal.json":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return path_open(path, *words, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", narrow)
        yield patched


def test_d8_bytes_stay_when_nobody_can_see_whether_there_are_any(
    tmp_path: Path, no_journal_opens: pytest.MonkeyPatch
) -> None:
    with no_journal_opens.context() as patched:
        patched.setattr("download_worker.room._advance", lambda folder: (0, int(folder.name)))
        with entered(tmp_path / "staging", JOB, 2) as own:
            pass
    no_journal_opens.undo()
    assert own.journal() == NOTED


def test_d8_a_takeover_that_cannot_look_chooses_and_removes_nothing(
    tmp_path: Path, no_journal_opens: pytest.MonkeyPatch
) -> None:
    (tmp_path / "staging" / JOB / "2").mkdir()  # a later owner had no byte
    with pytest.raises(TryLater) as caught, entered(tmp_path / "staging", JOB, 3):
        pytest.fail("nobody can enter")
    assert later(caught.value)
    no_journal_opens.undo()
    with entered(tmp_path / "staging", JOB, 3) as own:
        assert own.journal() == NOTED


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [(errno.EIO, GiveUp, Code.STORAGE), (errno.EROFS, GiveUp, Code.STORAGE), (errno.ESTALE, TryLater, Code.UNMOUNTED)],
)
def test_d4_d7_a_disk_that_fails_when_a_room_is_looked_at_or_emptied_is_told(
    room: Room, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Trouble], word: Code
) -> None:
    room.note(replace(NOTED, total=6, sha256="0" * 64, identity=Identity(1, 2, 3)))
    room.part.write_bytes(b"durabl")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(kind) as caught:
        room.empty()
    assert caught.value.code is word
    monkeypatch.setattr(Identity, "of", fail)
    with pytest.raises(kind) as caught:
        room.whole_file()
    assert caught.value.code is word


def test_d9_what_a_network_volume_says_only_when_a_file_is_closed_is_told(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = PartFile.close

    def over_quota(file: PartFile) -> None:
        close(file)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(PartFile, "close", over_quota)
    attempt = opened(room, Pool(), lambda head: None, lambda: 1 << 40, checkpoint_bytes=1 << 20, reserve_bytes=0)
    with pytest.raises(TryLater) as caught, attempt as part:
        part.clear()
    assert caught.value.code is Code.DISK_FULL


# Mounts, ledger, bell


def test_d8_d12_what_was_mounted_is_not_forgotten_because_nobody_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk" / "loras"
    disk.mkdir(parents=True)
    mounted_at(monkeypatch, disk.parent)
    mounts = Mounts(tmp_path / "state")
    mounts.check(disk)
    mounted_at(monkeypatch)
    with descriptors.none_left():
        with pytest.raises(TryLater) as caught:
            mounts.check(disk)
        assert later(caught.value)
        assert not mounts.is_there(disk)
    assert json.loads((tmp_path / "state" / "mounts.json").read_text()) == {str(disk): str(disk.parent)}


def test_d8_a_ledger_that_sqlite_cannot_open_now_is_for_later(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'doctor.db'}")
    engine.dispose()  # every connection is made anew
    for asking in (reading, writing):
        with descriptors.none_left(), pytest.raises(TryLater) as caught, asking(engine):
            pytest.fail("nobody can open it")
        assert later(caught.value) and "ulimit -n" in caught.value.hint
    with reading(engine):
        pass
    engine.dispose()


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[PersistQueueBell]:
    bell = PersistQueueBell(tmp_path / "queue", call_seconds=0.05, lock_seconds=0.01, clock=FakeClock())
    yield bell
    bell.close()


def test_d4_the_wait_for_a_ring_outlives_a_disk_that_fails(
    bell: PersistQueueBell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would claim another job if this got out: the engine's loop waits here."""
    bell.open()
    bell.wait(0.0)  # the watch begins
    bell.heard()

    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(QueueFolder, "identity", stale)
        began = monotonic()
        bell.wait(20.0)
        assert monotonic() - began < 10.0, "what cannot be told is looked at"
    monkeypatch.setattr("download_worker.jobs.queue_watch.Watch.alive", stale)
    bell.wait(0.0)


def test_the_wait_for_a_ring_outlives_a_system_without_threads(
    bell: PersistQueueBell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    assert not bell.wait(0.0), "nobody called, and nothing was raised"


# What is read before anything else, or now and then


def test_d8_a_worker_does_not_start_without_the_name_of_this_boot() -> None:
    """It would take the leases of all others for those of another boot, and their jobs away from them."""
    with descriptors.none_left(), pytest.raises(OSError, match="Too many open files"):
        SystemClock()


def test_d8_a_file_of_settings_that_cannot_be_opened_now_is_not_a_wrong_one(tmp_path: Path) -> None:
    with descriptors.none_left(), pytest.raises(TryLater) as caught:
        load(tmp_path)
    assert later(caught.value)


def test_d8_limits_that_could_not_be_read_are_read_the_next_time(tmp_path: Path) -> None:
    hearing = Hearing(load(tmp_path))
    now = FakeClock().now()
    hearing.in_force(now)
    (tmp_path / "comfy_doctor.toml").write_text('[limits]\nper_job = "1 MiB"\n')
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / ORDERS_NAME).write_text('{"total": 5000000.0}')
    with descriptors.none_left():
        before = hearing.in_force(now)
    assert math.isinf(before.per_job) and math.isinf(before.total)
    after = hearing.in_force(now)
    assert (after.per_job, after.total) == (1024.0 * 1024, 5_000_000.0)


# The rubric, the web


def settings(**values: object) -> Settings:
    return Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",), **values)  # type: ignore[arg-type]


def test_d8_certificates_that_cannot_be_read_now_are_no_fault_of_the_file() -> None:
    model._trusted.cache_clear()
    asked = model.LanguageModel(settings(llm_model="m", openai_base_url="http://127.0.0.1:9/v1"), FakeClock())
    with descriptors.none_left(), pytest.raises(TryLater) as caught:
        asked.ask([], Leash(), monotonic() + 20)
    assert later(caught.value)


def test_certificates_that_are_not_there_let_the_file_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(environment: bool) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "cacert.pem")

    monkeypatch.setattr(model, "_trusted", missing)
    asked = model.LanguageModel(settings(llm_model="m", openai_base_url="http://127.0.0.1:9/v1"), FakeClock())
    with pytest.raises(TryLater, match="cacert") as caught:
        asked.ask([], Leash(), monotonic() + 20)
    assert caught.value.code is Code.NO_VERDICT


def test_d8_the_prompt_and_the_client_are_loaded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt.versioned_prompt.cache_clear()
    with descriptors.none_left(), pytest.raises(TryLater) as caught:
        prompt.versioned_prompt()
    assert later(caught.value)
    monkeypatch.setitem(sys.modules, "download_worker.verifiers.rubric.model", None)
    with pytest.raises(TryLater) as caught:
        _ = ModelRubric(settings(llm_model="m"))._model
    assert later(caught.value)


def test_d8_a_host_is_not_asked_without_the_login_that_could_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password planted-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    web = Web(settings(use_netrc=True))
    with web.route("https://127.0.0.1:9/m") as route:
        origin = route.way.start.origin
        with descriptors.none_left(), pytest.raises(TryLater) as caught:
            web.authorization(origin)
        assert later(caught.value)
        assert "Authorization" in web.authorization(origin)
        netrc.write_text("machine 127.0.0.1 login\n")
        assert web.authorization(origin) == {}
